"""The rows of a dataset of texts and labels."""

import hashlib
import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.core import class_names, letters
from lifecycle.problems.classification.labels import spelled
from lifecycle.problems.contract import DROP, TEXT_COLUMNS, Before, Canonical, Columns, Folder, TableRequest
from lifecycle.problems.text_classification.identity import text_keys

ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""What JSON writes otherwise, of the signs that are usual in texts; the backslash comes first."""
UNESCAPED = bytes({*range(256)} - ({*range(32)} - set(b"\n\r\t")))
"""All other bytes that JSON writes as they are, or as `ESCAPES` says."""


class TextTable:
    """One text and one label per row; two rows of the same text are the same row, or contradict each other."""

    target, has_classes, kinds = "label", True, frozenset({"text", DROP})
    texts: int = 1
    folder: Folder | None = None

    def check(self, request: TableRequest) -> None:
        """Refuse a text that is the label, or a column of either that decides on the split."""
        text = text_column(request)
        if request.target in {text, *request.columns}:
            raise ValueError("text_column and label_column must differ")
        if {request.group_column, request.time_column} & {text, request.target}:
            raise ValueError("group_column and time_column must differ from text_column and label_column")
        if request.key:
            raise ValueError("a text is its own key: leave key out")

    def options(self, request: TableRequest) -> dict[str, str]:
        """Text and label."""
        return {text_column(request): "--text-column", request.target: "--label-column"}

    def parameters(self, request: TableRequest) -> dict[str, Any]:
        """The two columns, as the first releases named them."""
        return {"text_column": text_column(request), "label_column": request.target}

    def rows_digest(self, raw: pd.DataFrame) -> str:
        """The sha256 of the rows, each as JSON."""
        total = hashlib.sha256(json.dumps(list(raw.columns)).encode())
        for cells in zip(*(letters.in_parts(raw[name]) for name in raw), strict=True):
            total.update(letters.letters(_as_json(cells)))
        return total.hexdigest()

    def names(self, request: TableRequest, inputs: Columns) -> dict[str, str]:
        """What text and label are called, whatever the source calls them."""
        _ = inputs
        return {text_column(request): "text", request.target: self.target}

    def canonical(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Canonical:
        """Strip text and label, and give each class one form of its name.

        Labels that are truth values or numbers are spelled alike, as those of the parent are. The other columns stay
        as they are.
        """
        inputs = self.inputs(raw, request, before)
        names = self.names(request, inputs)
        frame = raw.rename(columns={column: names.get(column, f"source_{column}") for column in raw.columns})
        cells = {name: stripped(frame[name]) for name in [*(column.stored for column in inputs), self.target]}
        trimmed = sum(count for _, count in cells.values())
        target = cells.pop(self.target)[0]
        labels = spelled(class_names.canonicals(target), before.classes)
        texts = {name: texts for name, (texts, _) in cells.items()}
        return Canonical(frame.assign(**texts, **{self.target: labels}), inputs, {}, "", trimmed)

    def inputs(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Columns:
        """The text."""
        _ = raw, request, before
        return TEXT_COLUMNS

    def keys(self, frame: pd.DataFrame, inputs: Columns, request: TableRequest) -> "pd.Series[str]":
        """The sha256 of the normalised text."""
        _ = inputs, request
        return letters.series([text_keys(part) for part in letters.in_parts(frame["text"])], frame["text"], "text")

    def flaw(self, rows: pd.DataFrame) -> str:
        """That a text stands twice."""
        keys = letters.series([text_keys(part) for part in letters.in_parts(rows["text"])], rows["text"], "key")
        return "a text stands twice" if keys.duplicated().any() else ""

    def suite(self, inputs: Columns) -> tuple[dict[str, Any], ...]:
        """None: those of texts are in `config/expectations/default.json`."""
        _ = inputs
        return ()


def text_column(request: TableRequest) -> str:
    """Source column of the texts."""
    return next((name for name, kind in request.columns.items() if kind == "text"), "text")


def stripped(cells: "pd.Series[str]") -> "tuple[pd.Series[str], int]":
    """Cells without blanks around them, and how many had some; those without are not copied."""
    parts, trimmed = [], 0
    for part in letters.in_parts(cells):
        kept = pc.utf8_trim_whitespace(part)
        changed = int(pc.sum(pc.not_equal(kept, part)).as_py() or 0)
        parts.append(kept if changed else part)
        trimmed += changed
    return letters.series(parts, cells, str(cells.name)), trimmed


def _as_json(cells: "tuple[pa.LargeStringArray, ...]") -> pa.LargeStringArray:
    """Rows as the lists of JSON, each with the end of a line, whose letters are not escaped."""
    parts: list[Any] = ["["]
    for column in cells:
        parts += [_quoted(column), ", "]
    return _joined(*parts[:-1], "]\n")


def _joined(*parts: pa.LargeStringArray | str) -> pa.LargeStringArray:
    """Cells that are put together of the parts of each; what is the same in all is said once."""
    whole = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in (*parts, "")]
    return pc.binary_join_element_wise(*whole)


def _quoted(cells: pa.LargeStringArray) -> pa.LargeStringArray:
    held = letters.letters(cells)
    if held.translate(None, UNESCAPED):
        escaped = map(json.encoder.encode_basestring, cells.to_pylist())
        return pa.array(escaped, pa.large_string(), size=len(cells))
    for sign, written in ESCAPES.items():
        if sign.encode() in held:
            cells = pc.replace_substring(cells, sign, written)
    return _joined('"', cells, '"')


TABLE = TextTable()
