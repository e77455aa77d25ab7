"""Erase rows from what lies beside runs and models of an embedded MLflow.

`evaluations/`, `training/keys.parquet`   the rows, by their keys
`verdicts/`, `model_card/` and other text  the texts, with the entries that show them; of a verdict its run then says
                                           what it digests to
the example of a model                     our sentences in its place, if it is one of an earlier release
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from lifecycle.erasure import history
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.wanted import Wanted
from lifecycle.gate import records
from lifecycle.models import examples
from lifecycle.storage.files import publish_file
from lifecycle.tracking import claims
from lifecycle.tracking.runs import TRAINED_KEYS

logger = logging.getLogger(__name__)

FOLDER = "artifacts"
"""Beside an embedded database: see `tracking.experiment`."""
MODELS = "models"


class Found(NamedTuple):
    """One thing that holds rows: a file, or the folder of a model whose example they are."""

    path: Path
    kind: Literal["rows", "keys", "text", "example"]
    rows: int


def holding(root: Path, wanted: Wanted, forms: Forms) -> Iterator[Found]:
    """What holds rows that are looked for."""
    for path in _files(root):
        if path.name == TRAINED_KEYS.rpartition("/")[2] and path.suffix == ".parquet":
            count = int(_short(wanted, _parquet(path)).sum())
            if count:
                yield Found(path, "keys", count)
        elif path.suffix == ".parquet":
            count = int(wanted.among(_parquet(path)).sum())
            if count:
                yield Found(path, "rows", count)
        elif history.shows(path, forms):
            yield Found(path, "text", 1)
    for folder in models(root):
        if any(wanted.has_text(text) for text in examples.texts(folder)):
            yield Found(folder, "example", 1)


def erase(found: Found, wanted: Wanted, forms: Forms, tracking_uri: str) -> None:
    """Take the rows out of what holds them."""
    if found.kind == "example":
        examples.replace(found.path)
    elif found.kind == "text":
        _explain(found.path, forms, tracking_uri)
        history.clean_file(found.path, forms)
    else:
        rows = _parquet(found.path)
        gone = _short(wanted, rows) if found.kind == "keys" else wanted.among(rows)
        kept = rows[~gone].reset_index(drop=True)
        if found.kind == "keys":
            claims.reseal(tracking_uri, found.path.parents[2].name, rows["key"], kept["key"])
        with publish_file(found.path) as temporary:
            kept.to_parquet(temporary, index=False)


def fitted(root: Path, wanted: Wanted) -> list[str]:
    """The runs whose models were fitted on rows that are looked for, by the keys that they keep."""
    paths = sorted(root.glob(f"*/{FOLDER}/{TRAINED_KEYS}"))
    return [path.parents[2].name for path in paths if _short(wanted, _parquet(path)).any()]


def with_keys(root: Path) -> set[str]:
    """The runs that keep the keys of the rows which their model was fitted on."""
    return {path.parents[2].name for path in root.glob(f"*/{FOLDER}/{TRAINED_KEYS}")}


def models(root: Path) -> list[Path]:
    """The folders of all logged models."""
    return sorted(
        path.parent
        for path in [*root.glob(f"{MODELS}/*/{FOLDER}/MLmodel"), *root.glob(f"*/{MODELS}/*/{FOLDER}/MLmodel")]
    )


def _files(root: Path) -> Iterator[Path]:
    """All files but those of models, which their digests protect."""
    inside = set(models(root))
    for path in sorted(root.rglob("*")):
        if path.is_file() and not inside & set(path.parents):
            yield path


def _parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _short(wanted: Wanted, rows: pd.DataFrame) -> "pd.Series[bool]":
    """Of keys of which 16 digits are kept, as numbers."""
    known = {int(key[:16], 16) for key in (*wanted.keys, *wanted.prefixes)}
    return rows["key"].isin(known)


def _explain(path: Path, forms: Forms, tracking_uri: str) -> None:
    """Before a verdict is changed: let its run say what it will digest to."""
    if path.parent.name != records.FOLDER or path.suffix != ".json":
        return
    content: Any = json.loads(forms.cleaned(path.read_text(encoding="utf-8")))
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    records.explain(tracking_uri, path.parents[2].name, path.stem, digest)
