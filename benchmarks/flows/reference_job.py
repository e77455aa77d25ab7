"""The reference job as one flow run: the product's own flows, put together as `release` does, for one environment."""

from typing import Any

from prefect import State, flow

from flows.batch_inference import batch_inference
from flows.create_data import create_data
from flows.train import train
from lifecycle.core.names import Environment


@flow(name="reference-job", persist_result=True, result_serializer="json")
def reference_job(source: str, data_version: str, model_params: dict[str, Any] | None = None) -> str:
    """Table → dataset version → training → gate → registration → promotion → predictions, in dev."""
    create_data.fn("fsa", data_version, source, text_column="Sentence", label_column="Sentiment")
    answer = train.fn("fsa", data_version, "sentiment", model_params=model_params)
    admission = answer.data if isinstance(answer, State) else answer
    if admission.refused:
        raise RuntimeError(admission.message)
    batch_inference.fn("sentiment", Environment.DEV, input=source, text_column="Sentence")
    return admission.message
