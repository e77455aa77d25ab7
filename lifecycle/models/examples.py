"""The input example that MLflow keeps beside a model: sentences of nobody.

Earlier releases took two rows of the training data. Where such a row must be erased, `replace` puts our sentences in
its place and records size and sha256 of what stood there, from which the digest that was registered follows: no
entry of a registry changes. Whatever else is changed in the folder is noticed as before, because the record counts for
these two files alone, and only while they hold our sentences.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lifecycle.problems.text_classification.stored import EXAMPLE
from lifecycle.storage.files import publish_file, sha256_of, write_json

RECORD = "erased.json"

_TABLE = {"columns": ["text"], "data": [[text] for text in EXAMPLE]}
OURS = {
    "input_example.json": json.dumps(_TABLE).encode(),
    "serving_input_example.json": json.dumps({"dataframe_split": _TABLE}, indent=2).encode(),
}
"""The files of the example, and what stands in them after an erasure."""

Entry = tuple[int, str]
"""Size and sha256 of a file."""


def texts(folder: Path) -> Iterator[str]:
    """The texts in the example of a model folder."""
    for name in OURS:
        with suppress(OSError, ValueError, LookupError, TypeError):
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            yield from (str(cell) for row in found.get("dataframe_split", found)["data"] for cell in row)


def replace(folder: Path) -> None:
    """Put our sentences in place of an example; a kill leaves a folder whose digest is the same."""
    present = [name for name in OURS if (folder / name).is_file()]
    write_json(folder / RECORD, {name: _entry(folder / name) for name in present} | _recorded(folder))
    for name in present:
        with publish_file(folder / name) as temporary:
            temporary.write_bytes(OURS[name])


def replaced(folder: Path) -> Mapping[str, Entry]:
    """What stood in the files of an example that was replaced, by their name."""
    return {name: entry for name, entry in _recorded(folder).items() if _holds_ours(folder / name)}


def _recorded(folder: Path) -> dict[str, Entry]:
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {name: (int(record[name][0]), str(record[name][1])) for name in OURS if name in record}
    return {}


def _holds_ours(path: Path) -> bool:
    return path.is_file() and sha256_of(path) == hashlib.sha256(OURS[path.name]).hexdigest()


def _entry(path: Path) -> Entry:
    return path.stat().st_size, sha256_of(path)
