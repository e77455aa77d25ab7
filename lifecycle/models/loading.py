"""Load a registered model without trusting it: a private copy, its digest, its form, then its types.

MLflow keeps no checksum, a swapped pickle runs its payload on load, and a model's own list of trusted types is written
by whoever wrote the model. So the digest recorded at registration is checked before anything is deserialised, nothing
but our own text model is accepted, and skops gets our list.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import yaml

from lifecycle.errors import IntegrityError
from lifecycle.files import tree_digest
from lifecycle.settings import Frozen
from lifecycle.tracking import download

NOT_CONTENT = frozenset({"registered_model_meta"})
"""Files that MLflow writes beside a model when it is registered or downloaded."""


class ModelRef(Frozen):
    """One exact model: where it lies, what it must digest to, and the run that made it."""

    tracking_uri: str
    uri: str
    run_id: str
    artifact_sha256: str
    name: str | None = None
    version: int | None = None

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.name} v{self.version}" if self.version else f"run {self.run_id}"


@contextmanager
def private_copy(ref: ModelRef) -> Iterator[Path]:
    """Download a model into a folder of its own and verify its digest there.

    Raises:
        IntegrityError: The files are missing, or are not those that were registered.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = download(ref.tracking_uri, ref.uri, Path(temporary))
        if not any(folder.rglob("*")):
            raise IntegrityError(f"{ref.label}: its artifacts are missing.", "Roll back or train again.")
        found = artifact_digest(folder)
        if found != ref.artifact_sha256:
            what = f"{ref.label}: the files digest to {found}, registered was {ref.artifact_sha256 or 'no digest'}."
            raise IntegrityError(what, "Do not use this model; roll back or train again.")
        yield folder


def verify(ref: ModelRef) -> None:
    """Check that a model's files are there and are those that were registered."""
    with private_copy(ref):
        pass


def load(ref: ModelRef) -> Any:
    """Load a model after all checks; it answers `predict(None, DataFrame{text})`."""
    with private_copy(ref) as folder:
        return load_verified(folder, ref.label)


def artifact_digest(folder: Path) -> str:
    """The tree digest of a model folder."""
    return tree_digest(folder, NOT_CONTENT)


def load_verified(folder: Path, label: str) -> Any:
    """Load a model folder whose digest was checked; only our text model with trusted types is accepted."""
    import skops.io

    from lifecycle.models import text_model

    flavour = (yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8")) or {}).get("flavors", {})
    loader = flavour.get("python_function", {}).get("loader_module")
    if set(flavour) != {"python_function"} or loader != "mlflow.pyfunc.loaders.code_model":
        raise IntegrityError(f"{label}: not a text model of ours (flavours {sorted(flavour)}, loader {loader}).")
    path = folder / "artifacts" / "pipeline.skops"
    try:
        untrusted = sorted(set(skops.io.get_untrusted_types(file=path)) - set(text_model.TRUSTED_TYPES))
    except (OSError, BadZipFile, KeyError, ValueError) as error:
        raise IntegrityError(f"{label}: {path.name} is not a pipeline stored with skops: {error}.") from None
    if untrusted:
        raise IntegrityError(f"{label}: holds types that are not trusted: {', '.join(untrusted[:5])}.")
    return text_model.TextModel(skops.io.load(path, trusted=text_model.TRUSTED_TYPES))
