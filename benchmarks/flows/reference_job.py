"""The reference job as one flow run: the product's own flows, put together as `release` does, for one environment."""

from typing import Any

from prefect import flow

from flows import batch_inference, create_data, train
from flows.flow_requests import DatasetRequest, InferenceRequest, TrainingRequest
from lifecycle.core.names import Environment


@flow(name="reference-job", persist_result=True, result_serializer="json")
def reference_job(source: str, data_version: str, model_params: dict[str, Any] | None = None) -> str:
    """Table → dataset version → training → gate → registration → promotion → predictions, in dev."""
    create_data.run(
        DatasetRequest(
            data_name="fsa", data_version=data_version, source=source, text_column="Sentence", label_column="Sentiment"
        )
    )
    admission = train.run(
        TrainingRequest(data_name="fsa", data_version=data_version, model_name="sentiment", params=model_params)
    ).value
    if admission.refused:
        raise RuntimeError(admission.message)
    batch_inference.run(
        InferenceRequest(model_name="sentiment", env=Environment.DEV, input=source, text_column="Sentence")
    )
    return admission.message
