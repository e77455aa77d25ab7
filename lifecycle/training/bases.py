"""Models that a training begins with: pinned when it is planned, fetched when it runs, and what they have seen.

`brought`    the parameters with what they name of this machine where a job can read it
`pinned`     the parameters with the exact base and its digest
`fetched`    its files in a folder, if they still are those
`seen`       the keys of the rows that it was fitted on: whoever goes on from it has seen them too
"""

import io
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.models.loading import artifact_digest
from lifecycle.models.mlmodel import description
from lifecycle.problems.contract import Estimator
from lifecycle.settings.files import project
from lifecycle.storage import volumes
from lifecycle.tracking import artifacts, claims, runs
from lifecycle.tracking.artifacts import named
from lifecycle.tracking.client import client, is_missing, translated

if TYPE_CHECKING:
    from lifecycle.settings import Settings

logger = logging.getLogger(__name__)

SHA256 = "_sha256"
"""What the parameter is called that holds the digest, behind the name of the one that names the base."""
MLFLOW = ("models:/", "runs:/")
BROUGHT = "brought"
"""The folder of a volume that holds what trainings read beside their rows."""
ALIAS = re.compile(r"models:/([^@]+)@([^@/]+)")
VERSION = re.compile(r"models:/([^@/]+)/(\d+)")


def brought(config: "Settings", entry: Estimator | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters whose files and folders lie on the environment's volume if a job trains there, named by content."""
    reads = entry.reads if entry and config.platform == "databricks" else ()
    return {
        name: _on(config.volume / BROUGHT, value) if name in reads and isinstance(value, str) else value
        for name, value in params.items()
    }


def _on(folder: Path, value: str) -> str:
    """A path of this machine, on a volume; what is none, such as the name of a package, as it is."""
    with suppress(OSError, ValueError):  # a prompt is longer than any path
        for place in (Path(value).expanduser(), (project() or Path.cwd()) / value):
            if place.exists():
                return str(volumes.bring(place.absolute(), folder))
    return value


def pinned(config: "Settings", entry: Estimator | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters whose base is exact: an alias is read once, a folder is absolute, and all of it is digested.

    Raises:
        ConfigError: There is no such base, or it is another one than the digest says that was given.
    """
    base = params.get(entry.base) if entry and entry.base else None
    if entry is None or not isinstance(base, str) or not base:
        return dict(params)
    places = (config.mlflow_uri, config.registry_uri or "")
    exact = _exact(base, places)
    with _located(entry, {**params, entry.base: exact}, places) as folder:
        digest, name = artifact_digest(folder), f"{entry.base}{SHA256}"
    if params.get(name) not in (None, digest):
        what = f"base={base!r:.200} digests to {digest}, and {name} says {params[name]!s:.64}."
        raise ConfigError(what, "Correct one of them.")
    return {**params, entry.base: exact, name: digest}


@contextmanager
def fetched(entry: Estimator | None, params: Mapping[str, Any], places: tuple[str, str]) -> Iterator[Path | None]:
    """The files of a pinned base while the block runs; None if there is none.

    Raises:
        ConfigError: They are no longer those that were pinned.
    """
    if entry is None or not entry.base or not params.get(entry.base):
        yield None
        return
    with _located(entry, params, places) as folder:
        if (wanted := params.get(f"{entry.base}{SHA256}")) not in (None, artifact_digest(folder)):
            what = f"base={params[entry.base]!r:.200} does not digest to {wanted} here."
            raise ConfigError(what, "Bring its files to where the training runs, then train again.")
        yield folder


def seen(entry: Estimator | None, params: Mapping[str, Any], folder: Path | None, places: tuple[str, str]) -> Any:
    """The keys of what a base was fitted on; None if that is nothing we know of."""
    import pandas as pd

    base = str(params.get(entry.base)) if entry and entry.base else ""
    if folder is None or not base.startswith(MLFLOW):
        return None
    run_id = _run_of(base, folder, places)
    with translated():
        try:
            tags = runs.tags(places[0], run_id)
            held = artifacts.names(places[0], run_id, runs.TRAINED_KEYS.rpartition("/")[0])
        except Exception as error:
            if not is_missing(error):
                raise
            held = []
    if runs.TRAINED_KEYS not in held:
        logger.warning("Nobody says which rows %s was fitted on: rows of the holdout may be among them", base)
        return None
    keys: pd.Series[int] = pd.read_parquet(io.BytesIO(artifacts.read(places[0], run_id, runs.TRAINED_KEYS)))["key"]
    claims.check(base, run_id, tags, keys)
    return keys


def _exact(base: str, places: tuple[str, str]) -> str:
    if base.startswith(MLFLOW):
        if not (found := ALIAS.fullmatch(base)):
            return base
        try:
            with translated():
                version = client(*places).get_model_version_by_alias(found[1], found[2])
        except Exception as error:
            if not is_missing(error) and not isinstance(error, NotFoundError):
                raise
            raise ConfigError(
                f"base={base!r:.200}: there is no such model or alias.", "See: mlops model list"
            ) from None
        return f"models:/{found[1]}/{version.version}"
    folder = Path(base).expanduser()
    return str(folder.absolute()) if folder.is_dir() else base


@contextmanager
def _located(entry: Estimator, params: Mapping[str, Any], places: tuple[str, str]) -> Iterator[Path]:
    base = str(params[entry.base])
    if base.startswith(MLFLOW):
        with tempfile.TemporaryDirectory(prefix="mlops-base-") as temporary:
            yield named(places[0], base, Path(temporary), places[1])
    elif Path(base).is_dir():
        yield Path(base)
    elif volumes.on_volume(Path(base)):
        yield volumes.local(Path(base))
    elif Path(base).is_absolute() or entry.fetched is None:
        raise ConfigError(f"base={base!r:.200}: there is no such folder.", "Name one that is there.")
    else:
        yield entry.fetched(base, params)


def _run_of(base: str, folder: Path, places: tuple[str, str]) -> str:
    if found := VERSION.fullmatch(base):
        with translated():
            return str(client(*places).get_model_version(found[1], found[2]).run_id)
    return str(description(folder, base).get("run_id") or "")
