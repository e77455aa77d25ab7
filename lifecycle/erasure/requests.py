"""Erase requests that a server of this machine has kept: a whole request goes where one of its rows is looked for."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.erasure.forms import Forms
from lifecycle.erasure.wanted import Wanted
from lifecycle.monitoring.inference_table import rows_of
from lifecycle.storage.files import publish_file

FILES = "requests/*/*/*.parquet"


class Held(NamedTuple):
    """A file of requests, and the places of those that are looked for."""

    path: Path
    places: frozenset[int]


def holding(states: Iterable[Path], wanted: Wanted, forms: Forms) -> Iterator[Held]:
    """The files that hold rows which are looked for."""
    for path in sorted(path for root in states for path in root.glob(FILES) if not path.name.startswith(".")):
        requests = pq.read_table(path, columns=["request"])["request"].to_pylist()
        places = frozenset(place for place, body in enumerate(requests) if body and _holds(body, wanted, forms))
        if places:
            yield Held(path, places)


def erase(held: Held) -> None:
    """Write a file anew without these requests; one that held no others is removed."""
    table = pq.read_table(held.path)
    kept = table.filter(pa.array([place not in held.places for place in range(len(table))]))
    if not len(kept):
        held.path.unlink()
        return
    with publish_file(held.path) as temporary:
        pq.write_table(kept, temporary)


def _holds(body: str, wanted: Wanted, forms: Forms) -> bool:
    """Whether a cell of a request is one of the texts or ids, or one of the texts stands in it."""
    try:
        rows = rows_of(json.loads(body))
    except (ValueError, TypeError, KeyError):
        rows = []
    cells = {(name, str(cell)) for row in rows for name, cell in row.items()}
    by_id = [wanted.has_id(cell) for name, cell in cells if name == wanted.id_column]
    by_text = [wanted.has_text(cell) or forms.is_row(cell) for _, cell in cells]
    return any(by_id) or any(by_text) or forms.stand_in(body)
