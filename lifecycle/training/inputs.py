"""What a run was made of, as MLflow and Unity Catalog draw it: table of the catalog -> dataset version -> model.

Unity Catalog learns of it when the model is registered: MLflow's client reads from the run which tables it names and
which job has made it.
"""

import warnings
from typing import TYPE_CHECKING, Any

from lifecycle.core.names import Side
from lifecycle.data import dataset, delta
from lifecycle.data.source import Source
from lifecycle.problems.known import named
from lifecycle.storage import volumes
from lifecycle.training.rows import Rows

if TYPE_CHECKING:
    from lifecycle.training.train import TrainRequest

SOURCE = "source"
"""What MLflow is told a table is to a run that was fitted on rows taken from it."""


def log(request: "TrainRequest", rows: Rows) -> None:
    """Tell the active run which rows it is fitted and measured on, and where they come from."""
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset

    manifest = rows.manifest
    source, target = _table(request), named(manifest.problem).learning.target
    for split, context in ((Side.TRAIN, "training"), (Side.TEST, "testing")):
        part = next(rows.parts(split))  # of more than one MLflow is told the columns, and no number of rows
        frame = part[[*(column.stored for column in manifest.inputs), target]]
        known = {"name": f"{request.data_name}-{request.data_version}-{split}", "digest": manifest.digest[:32]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow wonders between two equal readings of a file's URL
            data: Any = mlflow.data.from_pandas(frame, source, target, **known)
            if not rows.together:
                data = MetaDataset(data.source, schema=data.schema, **known)
        tags = {"dataset_version": request.data_version, "dataset_digest": manifest.digest}
        mlflow.log_input(data, context=context, tags=tags)
    log_origin(manifest.source, manifest.source_sha256[:32])


def log_origin(uri: str, digest: str) -> None:
    """Tell the active run which table of a catalog its rows are from, and which job has made it, if any."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.utils import databricks_utils, mlflow_tags

    if Source(uri=uri).is_in_catalog:
        table, version = delta.divided(uri)
        source = DeltaDatasetSource(delta_table_name=table, delta_table_version=version)
        mlflow.log_input(MetaDataset(source, name=table, digest=digest), context=SOURCE)
    if job := databricks_utils.get_job_id():  # the run was begun outside of the job, which has resumed it
        numbers = {
            mlflow_tags.MLFLOW_DATABRICKS_JOB_ID: job,
            mlflow_tags.MLFLOW_DATABRICKS_JOB_RUN_ID: databricks_utils.get_job_run_id(),
        }
        mlflow.set_tags({name: number for name, number in numbers.items() if number})


def _table(request: "TrainRequest") -> Any:
    """Where the rows lie, as MLflow names it: a file's URL, or the kind of source that a volume has."""
    path = dataset.rows_file(request.data_root, request.data_name, request.data_version)
    if not volumes.on_volume(path):
        return path.as_uri()
    from mlflow.data.uc_volume_dataset_source import UCVolumeDatasetSource

    return UCVolumeDatasetSource(str(path))
