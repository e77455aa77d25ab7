"""Files of runs and models, brought here: what is to be copied is looked at before it is.

For a `runs:/` URI MLflow looks among the logged models of the run as well, which costs its server four more questions
for each file. What this project keeps beside a run is read from the run alone (`names`, `read`), and without MLflow
where it lies beside an embedded database.
"""

import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lifecycle.core.errors import IntegrityError, MlopsError, NotFoundError, TransientError, of_the_machine
from lifecycle.storage.moved_state import lies_within, local_path
from lifecycle.tracking import tables
from lifecycle.tracking.client import client, is_missing, is_transient, of_the_server, translated

UPLOADING = ".artifact.uploading."
"""What the name of a file begins with that MLflow is still writing."""
WEB = ("http", "https", "ftp", "sftp")
MOST_FILES = 10_000
NOT_OURS = "Do not use it: it was not registered by this command."


def names(tracking_uri: str, run_id: str, folder: str) -> list[str]:
    """What lies in a folder beside a run, as paths from the run on; nothing where the folder is not there."""
    with translated():
        if root := _local(tracking_uri, run_id):
            found = sorted((root / folder).iterdir()) if (root / folder).is_dir() else []
            return [str(path.relative_to(root)) for path in found if not path.name.startswith(UPLOADING)]
        return [str(file.path) for file in _of_run(tracking_uri, run_id).list_artifacts(folder)]


def read(tracking_uri: str, run_id: str, path: str) -> bytes:
    """The content of a file beside a run.

    Raises:
        IntegrityError: It is not there, or cannot be read.
    """
    uri = f"runs:/{run_id}/{path}"
    with _explained(uri):
        if root := _local(tracking_uri, run_id):
            return _require_within(root, path, uri).read_bytes()
    with _explained(uri), tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary:
        repository, folder = _of_run(tracking_uri, run_id), Path(temporary)
        _require_plain(repository, path, uri, folder)
        return Path(repository.download_artifacts(path, dst_path=str(folder))).read_bytes()


def download(tracking_uri: str, uri: str, folder: Path, registry_uri: str = "") -> Path:
    """Copy the artifacts behind a `models:/` or `runs:/` URI into a folder."""
    import mlflow.artifacts
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client(tracking_uri, registry_uri)
    with _explained(uri):
        folder.mkdir(parents=True, exist_ok=True)
        _require_plain(get_artifact_repository(uri), "", uri, folder)
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))


def named(tracking_uri: str, uri: str, folder: Path, registry_uri: str = "") -> Path:
    """The same for a URI that a person has typed, of which there may be none.

    Raises:
        NotFoundError: There is no such run, model, version or alias.
    """
    from mlflow.exceptions import MlflowException

    try:
        return download(tracking_uri, uri, folder, registry_uri)
    except IntegrityError as error:
        cause = error.__cause__
        if not isinstance(cause, MlflowException) or not is_missing(cause):
            raise
        raise NotFoundError(f"{uri}: {cause.message.rstrip('.')}.", "See: mlops runs, mlops model list") from None


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:
        from mlflow.exceptions import MlflowException  # no earlier: what lies here is read without it

        if not isinstance(error, MlflowException | OSError | RecursionError | ValueError):
            raise
        if refused := of_the_machine(error) or of_the_server(error):
            raise refused from error
        said = " ".join(str(error).split())[:300]
        if is_transient(error):
            raise TransientError(f"{uri}: {said}", "Try again.") from error
        raise IntegrityError(f"{uri}: its artifacts cannot be read: {said}", "Run: mlops doctor") from error


def _local(tracking_uri: str, run_id: str) -> Path | None:
    """The folder of a run's files, if it lies on this machine and an embedded database says so."""
    embedded = tables.of(tracking_uri)
    run = embedded.run(run_id) if embedded else None
    return local_path(run["artifact_uri"] or "") if run else None


def _require_within(root: Path, path: str, uri: str) -> Path:
    """A plain file of a run.

    Raises:
        IntegrityError: It, or a folder on the way to it, is a link to another place, or it is no plain file.
    """
    if not lies_within(str(root / path), root):
        raise IntegrityError(f"{uri} lies outside {root}.", NOT_OURS)
    list(_sizes(root / path, uri))
    return root / path


def _of_run(tracking_uri: str, run_id: str) -> Any:
    """Where the files of a run lie."""
    client(tracking_uri)
    return _place(tracking_uri, run_id)


@lru_cache(maxsize=16)  # it never changes; each keeps threads of its own, so not many
def _place(_: str, run_id: str) -> Any:
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    return RunsArtifactRepository(f"runs:/{run_id}").repo


def _require_plain(repository: Any, path: str, uri: str, folder: Path) -> None:
    """Look at what is to be copied before it is: whoever can write to a registry can name any place as a model.

    A link leads elsewhere or in a circle, a pipe or a device has no end, and a web server need not answer at all.

    Raises:
        IntegrityError: It is no tree of plain files that fits here.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    while inner := getattr(repository, "repo", None):
        repository = inner
    scheme = urlsplit(repository.artifact_uri).scheme
    if scheme in WEB and not isinstance(repository, MlflowArtifactsRepository):
        raise IntegrityError(f"{uri} is said to lie on a web server ({scheme}), which is not asked.", NOT_OURS)
    if not isinstance(repository, LocalArtifactRepository):
        return
    root = Path(repository.artifact_dir).resolve() / path
    needed, free = sum(_sizes(root, uri)), shutil.disk_usage(folder).free
    if needed > free:
        raise IntegrityError(f"{uri} has {needed:,} bytes, and {folder} has room for {free:,}.", "Make room there.")


def _sizes(root: Path, uri: str) -> Iterator[int]:
    """The size of each file of a tree without links, pipes and devices."""
    waiting, seen = [root], 0
    while waiting:
        path = waiting.pop()
        try:
            found = path.lstat()
        except FileNotFoundError:
            return  # MLflow says so
        if stat.S_ISDIR(found.st_mode):
            waiting += path.iterdir()
        elif stat.S_ISREG(found.st_mode):
            yield found.st_size
        else:
            raise IntegrityError(f"{uri}: {path} is no plain file.", NOT_OURS)
        seen += 1
        if seen > MOST_FILES:
            raise IntegrityError(f"{uri}: more than {MOST_FILES:,} files lie in {root}.", NOT_OURS)
