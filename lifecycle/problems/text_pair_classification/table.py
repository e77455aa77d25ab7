"""The rows of a dataset of pairs of texts and labels."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lifecycle.core.errors import ConfigError
from lifecycle.problems.contract import RESERVED, TEXT, Before, Canonical, Column, Columns, TableRequest
from lifecycle.problems.tabular.columns import frozen
from lifecycle.problems.text_classification.table import TextTable
from lifecycle.problems.text_pair_classification.identity import pair_key

LONGEST_TEXT, LONGEST_LABEL = 10_000, 200
"""Letters, as in the expectations of texts."""


class PairTable(TextTable):
    """Two texts, called as the source calls them, and one label per row.

    Which text is the first one says the order of the source's columns, and later versions keep it.
    """

    texts = 2

    def check(self, request: TableRequest) -> None:
        """Refuse other than two texts, and what cannot be one of them or decide on the split."""
        texts = texts_of(request)
        if len(texts) != 2:
            named = ", ".join(texts) or "none"
            raise ValueError(f"a pair has two texts, here {named}: declare both, columns: {{one: text, other: text}}")
        if request.target in request.columns or request.target == request.group_column:
            raise ValueError(f"the target {request.target!r} must be no other column's part: text, group or time")
        if request.time_column in {*texts, request.target}:
            raise ValueError(f"time_column {request.time_column!r} is a text, or the target")
        if request.key:
            raise ValueError("a pair is its own key: leave key out")

    def options(self, request: TableRequest) -> dict[str, str]:
        """Both texts and the target."""
        return dict.fromkeys(texts_of(request), "--columns") | {request.target: "--target"}

    def parameters(self, request: TableRequest) -> dict[str, Any]:
        """The columns, and that they are a pair."""
        kinds = dict(sorted(request.columns.items()))
        return {"problem": "text-pair-classification", "target": request.target, "columns": kinds}

    def names(self, request: TableRequest, inputs: Columns) -> dict[str, str]:
        """The target; both texts keep their names."""
        _ = inputs
        return {name: name for name in texts_of(request)} | {request.target: self.target}

    def canonical(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Canonical:
        """As of texts; a text that decides on the split is kept for that too.

        Raises:
            ConfigError: A text is called as a column of every dataset is, or is none of the parent version's.
            DataError: One of the parent version's is gone.
        """
        form = super().canonical(raw, request, before)
        group = request.group_column
        return form._replace(frame=form.frame.assign(**{f"source_{group}": raw[group]})) if group else form

    def inputs(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Columns:
        """Both texts, the first one first."""
        declared = {name: kind for name, kind in request.columns.items() if name in raw}
        if before.inputs:
            return frozen([name for name in raw if name in declared], before.inputs, declared)
        texts = [name for name in raw.columns if declared.get(name) == TEXT]
        if taken := RESERVED.intersection(texts):
            what = f"A text of a pair cannot be called {min(taken)!r}: so is a column of every dataset."
            raise ConfigError(what, "Rename it in the source, or with a cleaning step.")
        return tuple(Column(name=name, kind=TEXT) for name in texts)

    def keys(self, frame: pd.DataFrame, inputs: Columns, request: TableRequest) -> "pd.Series[str]":
        """The sha256 of both normalised texts, by the names of their columns: the order in a table may change."""
        _ = request
        one, other = (frame[name] for name in sorted(column.stored for column in inputs))
        keys = [pair_key(*texts) for texts in zip(one.tolist(), other.tolist(), strict=True)]
        return pd.Series(keys, index=frame.index, name="key", dtype="str")

    def flaw(self, rows: pd.DataFrame) -> str:
        """That a pair stands twice."""
        return "a pair stands twice" if rows["key"].duplicated().any() else ""

    def suite(self, inputs: Columns) -> tuple[dict[str, Any], ...]:
        """The expectations of texts, of both of them."""
        texts = [column.stored for column in inputs]
        rules = [
            _rule("expect_table_columns_to_match_set", column_set=[*texts, self.target], exact_match=False),
            *(rule for text in texts for rule in _of_text(text)),
            _said("blank_label", "expect_column_values_to_match_regex", column=self.target, regex=r"\S"),
            _rule("expect_column_value_lengths_to_be_between", column=self.target, max_value=LONGEST_LABEL),
        ]
        return tuple(rules)


def _of_text(column: str) -> tuple[dict[str, Any], ...]:
    return (
        _said("blank_text", "expect_column_values_to_match_regex", column=column, regex=r"\S"),
        _said("long_text", "expect_column_value_lengths_to_be_between", column=column, max_value=LONGEST_TEXT),
    )


def _rule(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": options, "severity": "critical"}


def _said(reason: str, kind: str, **options: Any) -> dict[str, Any]:
    """A rule that sends rows to quarantine."""
    return _rule(kind, **options) | {"severity": "warning", "meta": {"reason": reason}}


def texts_of(request: TableRequest) -> tuple[str, ...]:
    """The source columns of both texts."""
    columns: Mapping[str, str] = request.columns
    return tuple(name for name, kind in columns.items() if kind == TEXT)


TABLE = PairTable()
