"""The engine `spark`: each part is scored by a Spark task, through MLflow's `spark_udf`.

The driver reads the table as strictly as `local` does, hands out as many parts as Spark can score at a time, and writes
what comes back. So the published files are those of `local`, byte for byte, and executors need to reach neither input
nor output. Where the process is offered no session, it starts one on the cores of this machine.
"""

import inspect
import logging
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.spark import is_serverless, require_pyspark, session
from lifecycle.inference import local
from lifecycle.inference.local import Scored, Work
from lifecycle.inference.manifest import BatchRequest, Counts
from lifecycle.models import own, pipelines
from lifecycle.problems.contract import columns_of
from lifecycle.problems.known import named

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

UNKNOWN_SIZE = 16
"""Parts at a time where Spark Connect hides how many cores there are."""

ARTIFACTS = {
    "pipeline.skops": "pipeline",
    "pipeline.pkl": "pipeline",
    "columns.json": "columns",
    "model.onnx": "network",
    "tokenizer.json": "tokenizer",
    "vader_lexicon.txt": "lexicon",
    "emoji_utf8_lexicon.txt": "emoji",
    "chain": "chain",
    "transformer": "transformer",
    "external": "external",
    "external.json": "told",
}
"""The files of a model, by the names under which our classes ask for them."""

ASKED = ParamSchema([ParamSpec("probabilities", DataType.boolean, default=False)])
"""What a model may be asked for in place of its predictions."""

logger = logging.getLogger(__name__)


def score(request: BatchRequest, folder: Path) -> Counts:
    """Score the input with Spark; parts, rejected rows and errors are those of the engine `local`.

    Raises:
        ConfigError: pyspark or Java is missing, or this is serverless compute.
    """
    _require_executors()
    require_pyspark()
    return local.score_with(_on_spark, request, folder)


def _require_executors() -> None:
    """Refuse serverless compute: what the driver sends along, as it does the checked model, never reaches its tasks."""
    if is_serverless():
        what = "The engine spark cannot send its model to the tasks of Databricks' serverless compute."
        fix = (
            "Run the step on a cluster, databricks.jobs: {infer: <env>-mlops-infer-on-cluster}, or with --engine local."
        )
        raise ConfigError(what, fix)


class SparkModel:
    """A loaded model whose predictions are made by a Spark task, under the contract of all models."""

    def __init__(self, spark: "SparkSession", model: Any, folder: Path) -> None:
        self.problem, self.inputs = model.problem, model.inputs
        self.columns = [(column.name, column.kind) for column in columns_of(model)]
        self._session = spark
        types = ", ".join(f"{name} {kind}" for name, kind in named(self.problem).prediction.items())
        self._udf = _udf(spark, folder, types)
        if hasattr(model, "probabilities"):
            self.pipeline, self.labelled = model.pipeline, model.labelled
            self._of_classes = _udf(spark, folder, "array<double>", probabilities=True)

    def predict(self, context: None, inputs: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG002  as every model
        """Score the rows in one task; they come back in their order, and all of them, or it is an error."""
        answers = [f"made.{name}" for name in named(self.problem).prediction]
        predicted: pd.DataFrame = self._made(self._udf, inputs, answers).to_pandas()
        return predicted

    def probabilities(self, inputs: pd.DataFrame) -> Any:
        """One row of probabilities for each row, in the order of the classes; made as predictions are."""
        return np.array(self._made(self._of_classes, inputs, ["made"])["made"].to_pylist())

    def _made(self, udf: Any, inputs: pd.DataFrame, answers: list[str]) -> pa.Table:
        from pyspark.sql.functions import col, struct

        rows, names = list(range(len(inputs))), dict(enumerate(self.inputs))
        sent = {"row": pa.array(rows, pa.int64())}  # the others by their number: an input may have any name
        sent |= {str(place): pa.array(inputs[name].to_list(), pa.string()) for place, name in names.items()}
        frame = self._session.createDataFrame(pa.table(sent)).coalesce(1)
        given = struct(*(col(str(place)).alias(name) for place, name in names.items()))
        made = frame.select("row", udf(given).alias("made")).select("row", *answers).toArrow().sort_by("row")
        if made["row"].to_pylist() != rows:
            raise IntegrityError(f"Spark was given {len(rows)} rows and gave back {made.num_rows}.", "Infer again.")
        return made.drop_columns("row")


def _udf(spark: "SparkSession", folder: Path, result_type: str, **params: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark about pandas 3, mlflow about the environment: it is this one
        return mlflow.pyfunc.spark_udf(
            spark, str(folder), result_type=result_type, env_manager="local", params=params or None
        )


def _on_spark(stack: ExitStack, work: Work) -> Iterator[Scored]:
    """Score parts in threads, each of which waits for its own Spark job; a finished task makes room for the next."""
    request, model = work.request, work.model
    spark = session(request.inference.workers)
    temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlops-spark-"))
    remote = SparkModel(spark, model, stand_in(model, work.model_folder, Path(temporary) / "model"))
    tasks = request.inference.workers or _cores(spark)
    pool = ThreadPoolExecutor(tasks, "spark-part")
    stack.callback(pool.shutdown, cancel_futures=True)
    logger.info("Scoring up to %d parts at a time with Spark %s on %s", tasks, spark.version, _master(spark))
    yield from local.bounded(pool, partial(local.score_part, request, remote, work.folder), work.parts, tasks + 1)


def stand_in(model: Any, model_folder: Path, folder: Path) -> Path:
    """Save the verified files of a model with our own code, as a model that MLflow loads in the tasks.

    MLflow runs the code that lies in a model, and lets it choose what it trusts. So the tasks are given our class in
    its place, after the model has passed every check here. They send what the readers read: texts.
    """
    files = sorted((model_folder / "artifacts").iterdir())
    code, pipeline = own.code_of(model_folder), model_folder / "artifacts" / "pipeline.skops"
    types = pipelines.untrusted_types(pipeline) if code and pipeline.is_file() else []  # all are trusted
    needed = getattr(model, "beside", None) or own.needed(code, types)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="mlops-code-") as temporary:
        warnings.filterwarnings("ignore", ".*input example was not provided", UserWarning)
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=inspect.getfile(type(model)),
            artifacts={ARTIFACTS[path.name]: str(path) for path in files},
            signature=ModelSignature(Schema([ColSpec(DataType.string, name) for name in model.inputs]), params=ASKED),
            pip_requirements=[],
            code_paths=[str(path) for path in own_code.written(needed, Path(temporary))] or None,
            model_config={"trusted_types": [*pipelines.trusted_types(), *types]},
        )
    return folder


def _cores(spark: "SparkSession") -> int:
    from pyspark.errors import PySparkException

    try:
        return int(spark.sparkContext.defaultParallelism)
    except PySparkException:
        return UNKNOWN_SIZE


def _master(spark: "SparkSession") -> str:
    from pyspark.errors import PySparkException

    try:
        return str(spark.sparkContext.master)
    except PySparkException:
        return "a remote session"
