"""Load a registered model without trusting it: a private copy, its digest, its form, then its types.

MLflow keeps no checksum, a swapped pickle runs its payload on load, and a model's own list of trusted types is written
by whoever wrote the model. So the digest recorded at registration is checked before anything is deserialised, no code
of the model's is run, only files that our own classes read are accepted, and skops gets our list. A pickle, which is
code, is read only where the environment's settings allow it; code of a team's own is run from the verified copy, and
only if its module is one of those that the settings trust.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef, options_of
from lifecycle.models import examples
from lifecycle.models.forms import FORMS
from lifecycle.models.mlmodel import description
from lifecycle.models.pipelines import DO_NOT_USE, OTHERWISE
from lifecycle.storage.files import tree_digest
from lifecycle.tracking.artifacts import download

NOT_CONTENT = frozenset({"registered_model_meta", examples.RECORD})
"""Files beside a model: what MLflow writes when it is registered or downloaded, and the record of an erasure."""

COMPILED = "__pycache__/*.pyc"
LOADER = "mlflow.pyfunc.loaders.code_model"


@contextmanager
def private_copy(ref: ModelRef) -> Iterator[Path]:
    """Download a model into a folder of its own and verify its digest there.

    Raises:
        IntegrityError: The files are missing, or are not those that were registered.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-model-") as temporary:
        folder = download(ref.tracking_uri, ref.uri, Path(temporary), ref.registry_uri)
        for path in folder.rglob(COMPILED):
            path.unlink()  # nobody has verified it, so it goes no further
        if not any(folder.rglob("*")):
            raise IntegrityError(f"{ref.label}: its artifacts are missing.", f"Roll back or train again. {OTHERWISE}")
        if not ref.artifact_sha256:
            what = f"{ref.label}: it was registered past this command and has no digest."
            again = f"mlops model register --source {ref.uri} {options_of(ref.name or '')}"
            raise IntegrityError(what, f"Register what it holds as a candidate: {again}")
        found = artifact_digest(folder)
        if found != ref.artifact_sha256:
            what = f"{ref.label}: the files digest to {found}, registered was {ref.artifact_sha256}."
            raise IntegrityError(what, DO_NOT_USE)
        yield folder


def verify(ref: ModelRef) -> None:
    """Check that a model's files are there and are those that were registered."""
    with private_copy(ref):
        pass


def load(ref: ModelRef) -> Any:
    """Load a model after all checks; it answers `predict(None, DataFrame)` with what its problem predicts.

    It has `problem`, and `inputs`: the columns that it reads.
    """
    with private_copy(ref) as folder:
        return load_verified(folder, ref)


def artifact_digest(folder: Path) -> str:
    """The tree digest of a model folder; an example that was erased counts as what it was.

    What Python has compiled does not count: plain MLflow loads a model from where it is stored on this machine, and
    leaves that beside its code.
    """
    compiled = {path.relative_to(folder).as_posix() for path in folder.rglob(COMPILED)}
    return tree_digest(folder, NOT_CONTENT | compiled, examples.replaced(folder))


def load_verified(folder: Path, ref: ModelRef) -> Any:
    """Load a model folder whose digest was checked; only the forms of ours are accepted, and read by our classes."""
    return reader_of(folder, ref.label)(folder / "artifacts", ref)


def reader_of(folder: Path, label: str) -> Callable[[Path, ModelRef], Any]:
    """What reads a model folder, told by its form; nothing in it is deserialised.

    Raises:
        IntegrityError: It is no form of ours.
    """
    flavours = description(folder, label).get("flavors")
    function = flavours.get("python_function") if isinstance(flavours, dict) else None
    loader = function.get("loader_module") if isinstance(function, dict) else None
    if not isinstance(flavours, dict) or set(flavours) != {"python_function"} or loader != LOADER:
        there = sorted(map(str, flavours))[:5] if isinstance(flavours, dict) else "none"
        what = f"{label}: not a model of ours (flavours {there}, loader {loader!r:.80})."
        raise IntegrityError(what, "Have its contract checked: mlops model register-mlflow")
    held = sorted(path.name for path in (folder / "artifacts").glob("*"))
    read = FORMS.get(tuple(held))
    if read is None:
        forms = "; ".join(", ".join(form) for form in FORMS)
        what = f"{label}: its files ({', '.join(held) or 'none'}) are no form of ours ({forms})."
        raise IntegrityError(what, DO_NOT_USE)
    return read
