"""Names of dataset versions that nobody has named: the one that holds the same already, else the next number."""

import re
from pathlib import Path
from typing import Any

from lifecycle.data import dataset, ingest
from lifecycle.data.manifest import LATEST, CreateDataRequest, Manifest
from lifecycle.data.source import Source
from lifecycle.settings import Settings

FIRST = "1"


def chosen(config: Settings, source: Source, **arguments: Any) -> str:
    """The version with the same source and parameters, the newest of several; else a new name.

    Raises:
        ConfigError: An argument is out of range, or the source cannot be read from here.
    """
    new = following(config.datasets, str(arguments["data_name"]))
    request = dataset.state(config, source, **{**arguments, "data_version": new})
    known = dataset.versions(request.data_root, request.data_name)
    if not known:
        return new
    digest = ingest.digest(ingest.pinned(request.source, request.rules), request.rules)
    same = (manifest.data_version for manifest in reversed(known) if _is_same(manifest, request, digest))
    return next(same, new)


def following(data_root: Path, data_name: str) -> str:
    """The name after that of the latest version, by its last number: after 1.0.3 comes 1.0.4."""
    taken = {manifest.data_version for manifest in dataset.versions(data_root, data_name)}
    if not taken:
        return FIRST
    name = _next(dataset.resolve(data_root, data_name, LATEST))
    while name in taken:
        name = _next(name)
    return name


def _is_same(manifest: Manifest, request: CreateDataRequest, digest: str) -> bool:
    parameters = request.parameters_with(manifest.near_duplicates)
    return (manifest.source_sha256, manifest.parameters) == (digest, parameters) and request.parent in {
        None,
        manifest.parent,
    }


def _next(version: str) -> str:
    """The same name with its last number raised; a name without one gets one."""
    numbers = [*re.finditer(r"[0-9]+", version)]
    if not numbers:
        return f"{version}.{FIRST}"
    last = numbers[-1]
    return f"{version[: last.start()]}{int(last[0]) + 1}{version[last.end() :]}"
