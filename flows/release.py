"""The whole way: raw table → dataset → dev → staging → prod → first batch in production."""

from typing import cast

from prefect import State, flow
from prefect.states import Completed

from flows.batch_inference import batch_inference
from flows.create_data import create_data
from flows.promote import promote
from flows.train import train
from lifecycle.core.names import Environment, ModelType
from lifecycle.core.parameters import Columns, Delimiter, Flag, Format, Fraction, Location, Name, Params
from lifecycle.data import delta
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from tasks import approvals, compute
from tasks.outcomes import Admission, Release


@flow(
    name="release",
    flow_run_name="release {model_name} on {data_name} {data_version}",
    persist_result=True,
    result_serializer="json",
)
def release(
    source: Location,
    data_name: Name,
    data_version: Name,
    model_name: Name,
    text_column: str = "text",
    label_column: str = "label",
    test_size: Fraction = 0.2,
    holdout: Flag = True,
    holdout_size: Fraction = 0.2,
    stratify: Columns | None = None,
    model_type: ModelType = ModelType.LOGISTIC_REGRESSION,
    model_params: Params | None = None,
    seed: int = 0,
    source_format: Format | None = None,
    encoding: str = "utf-8",
    delimiter: Delimiter = ",",
) -> State[Release]:
    """Take a table all the way: dataset version, training, the gate of each environment, predictions in production.

    A refusal ends the release where it happened. Repeating a finished release changes nothing.

    Args:
        source: Path or URL of the table, or catalog.schema.table.
        data_name: Name of the dataset.
        data_version: Name of the version; it never changes once made.
        model_name: Name of the model, without environment.
        text_column: Column of the texts.
        label_column: Column of the labels.
        test_size: Fraction of the whole.
        holdout: Whether to keep a holdout for the gate.
        holdout_size: Fraction of the whole.
        stratify: Columns that every side keeps in proportion; default the label.
        model_type: What to train.
        model_params: Parameters of the estimator.
        seed: Same data, parameters and seed give the same predictions.
        source_format: Default: by the suffix; delta for a Delta table at a path or URL.
        encoding: Of CSV and JSON Lines.
        delimiter: Of CSV: one character, or tab.
    """
    for env in Environment:
        approvals.require_reach(compute.settings_of(env))
    if Source(uri=source, format=source_format).is_in_catalog:
        delta.require_version(source)  # before anything is promoted, rather than when the batch is to be found
    # `.fn` keeps everything in one flow run: a subflow would cost a second each and bring no unit that is rerun alone
    created = create_data.fn(
        data_name=data_name,
        data_version=data_version,
        source=source,
        text_column=text_column,
        label_column=label_column,
        test_size=test_size,
        holdout=holdout,
        holdout_size=holdout_size,
        stratify=stratify,
        source_format=source_format,
        encoding=encoding,
        delimiter=delimiter,
    )
    so_far = Release(dataset=cast(Manifest, created.data), admissions=())
    for env, before in (
        (Environment.DEV, None),
        (Environment.STAGING, Environment.DEV),
        (Environment.PROD, Environment.STAGING),
    ):
        if before is None:
            answer = train.fn(data_name, data_version, model_name, model_type, model_params, seed, env)
        else:
            answer = promote.fn(model_name, before, env, reason=f"release of {data_name} {data_version}")
        admission = cast(Admission, answer.data)
        so_far = so_far.model_copy(update={"admissions": (*so_far.admissions, admission)})
        if admission.refused:
            return Completed(name=answer.name, message=f"{env}: {admission.message}", data=so_far)
    scored = batch_inference.fn(
        model_name,
        Environment.PROD,
        input=source,
        text_column=text_column,
        source_format=source_format,
        encoding=encoding,
        delimiter=delimiter,
    )
    done = so_far.model_copy(update={"batch": scored.data})
    return Completed(message="; ".join(each.message.removesuffix(".") for each in done.admissions), data=done)
