"""Store a model in the open MLflow run: files, the code that reads them, and the signature of its problem."""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.core import own_code
from lifecycle.models.loading import artifact_digest
from lifecycle.models.pipelines import trusted_types
from lifecycle.problems.learning import StoredModel
from lifecycle.tracking.artifacts import download

if TYPE_CHECKING:
    import pandas as pd


def log_model(stored: StoredModel, packages: Sequence[str], *, with_example: bool = True) -> str:
    """Log files and the code that reads them under the contract of their problem; returns the `models:/m-…` URI.

    With an example MLflow loads the model in this process to try it: a pickle, or what brings code of a team's own, is
    logged without one. The types that we
    trust go with it for who loads it with plain MLflow, which runs the model's own code; our loader asks its own list.
    """
    import mlflow
    from mlflow.models import ModelSignature

    is_tried = with_example and not stored.own
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="mlops-code-") as folder:
        if not is_tried:
            warnings.filterwarnings("ignore", ".*input example was not provided", UserWarning)
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(stored.code),
            artifacts={name: str(path) for name, path in stored.artifacts.items()},
            signature=ModelSignature(inputs=_schema(stored.inputs), outputs=_schema(stored.outputs)),
            input_example=stored.example if is_tried else None,
            code_paths=[str(path) for path in own_code.written(stored.own, Path(folder))] or None,
            model_config={"trusted_types": [*trusted_types(), *stored.trusted_types]},
            pip_requirements=[
                f"{package}=={version(package).partition('+')[0]}"
                for package in dict.fromkeys((*packages, *stored.packages))
            ],
        )
    return str(info.model_uri)


def _schema(columns: Mapping[str, Any]) -> Any:
    """Columns as MLflow checks them: of `any` only that they are there, so that 1, 1.0 and "1" are all taken.

    A model may answer with one column that has no name.
    """
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    return Schema([ColSpec(AnyType() if kind == "any" else kind, name or None) for name, kind in columns.items()])


def stored_digest(tracking_uri: str, model_uri: str) -> str:
    """The tree digest of a logged model, as it comes back from where it is stored."""
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        return artifact_digest(download(tracking_uri, model_uri, Path(temporary)))


def short_keys(keys: "pd.Series[str]") -> "pd.DataFrame":
    """The first 64 bits of text keys: what a run keeps of the texts that its model was fitted on."""
    import pandas as pd

    return pd.DataFrame({"key": keys.str[:16].map(lambda key: int(key, 16)).astype("uint64")})
