"""The rows of a dataset of texts and labels."""

import hashlib
import json
from itertools import islice
from typing import Any

import pandas as pd

from lifecycle.core import class_names
from lifecycle.problems.classification.labels import spelled
from lifecycle.problems.contract import DROP, TEXT_COLUMNS, Before, Canonical, Columns, Folder, TableRequest
from lifecycle.problems.text_classification.identity import text_key


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
        cells = (map(json.encoder.encode_basestring, raw[name].to_numpy(object)) for name in raw)
        rows = (f"[{', '.join(row)}]\n" for row in zip(*cells, strict=True))
        while some := "".join(islice(rows, 10_000)):
            total.update(some.encode())
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
        cells = frame[[*(column.stored for column in inputs), self.target]]
        stripped = cells.apply(lambda column: column.str.strip())
        trimmed = int((stripped != cells).to_numpy().sum())
        stripped = stripped if trimmed else cells  # texts are held once
        forms = {label: class_names.canonical(label) for label in stripped[self.target].unique()}
        labels = spelled(stripped[self.target].map(forms), before.classes)
        return Canonical(frame.assign(**{**stripped, self.target: labels}), inputs, {}, "", trimmed)

    def inputs(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Columns:
        """The text."""
        _ = raw, request, before
        return TEXT_COLUMNS

    def keys(self, frame: pd.DataFrame, inputs: Columns, request: TableRequest) -> "pd.Series[str]":
        """The sha256 of the normalised text."""
        _ = inputs, request
        texts = frame["text"]
        return pd.Series([*map(text_key, texts.to_numpy(object))], texts.index, "str", texts.name)

    def flaw(self, rows: pd.DataFrame) -> str:
        """That a text stands twice."""
        return "a text stands twice" if len({*map(text_key, rows["text"].to_numpy(object))}) < len(rows) else ""

    def suite(self, inputs: Columns) -> tuple[dict[str, Any], ...]:
        """None: those of texts are in `config/expectations/default.json`."""
        _ = inputs
        return ()


def text_column(request: TableRequest) -> str:
    """Source column of the texts."""
    return next((name for name, kind in request.columns.items() if kind == "text"), "text")


TABLE = TextTable()
