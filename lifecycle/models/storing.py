"""Store a text model in the open MLflow run: one contract, one signature, whatever the model is made of."""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.models.examples import EXAMPLE
from lifecycle.models.loading import artifact_digest
from lifecycle.tracking.client import download

if TYPE_CHECKING:
    import pandas as pd


def log_text_model(
    code: Path, artifacts: Mapping[str, Path], packages: Sequence[str], *, with_example: bool = True
) -> str:
    """Log files and the code that reads them under the contract of all text models; returns the `models:/m-…` URI.

    With an example MLflow loads the model in this process to try it: a pickle is logged without one. The example is
    nobody's row: a model is kept for years, and its digest would speak for a row that had to be erased.
    """
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "text")]),
        outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
    )
    with warnings.catch_warnings():
        if not with_example:
            warnings.filterwarnings("ignore", ".*input example was not provided", UserWarning)
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),
            artifacts={name: str(path) for name, path in artifacts.items()},
            signature=signature,
            input_example=pd.DataFrame({"text": list(EXAMPLE)}) if with_example else None,
            pip_requirements=[f"{package}=={version(package)}" for package in packages],
        )
    return str(info.model_uri)


def stored_digest(tracking_uri: str, model_uri: str) -> str:
    """The tree digest of a logged model, as it comes back from where it is stored."""
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        return artifact_digest(download(tracking_uri, model_uri, Path(temporary)))


def short_keys(keys: "pd.Series[str]") -> "pd.DataFrame":
    """The first 64 bits of text keys: what a run keeps of the texts that its model was fitted on."""
    import pandas as pd

    return pd.DataFrame({"key": keys.str[:16].map(lambda key: int(key, 16)).astype("uint64")})
