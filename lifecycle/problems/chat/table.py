"""The rows of an evaluation set: a question, the documents that tell its answer, and what the answer is."""

from typing import Any

import pandas as pd

from lifecycle.problems.chat.expected import Expected, documents_of
from lifecycle.problems.chat.proposal import FOLDER
from lifecycle.problems.contract import TEXT, TEXT_COLUMNS, Before, Canonical, Columns, TableRequest
from lifecycle.problems.tabular.model import TRUTH
from lifecycle.problems.text_classification.identity import normalised, text_key
from lifecycle.problems.text_classification.table import TextTable, text_column

ANSWER, ANSWERABLE = "answer", "answerable"
"""Columns of a source that are read where they are there: a reference answer, and whether there is one at all."""
LONGEST = 10_000
DOCUMENT_NAME, NOT_ANSWERABLE, NO_ANSWER, NO_TRUTH_VALUE = (
    "document_name",
    "answer_of_unanswerable",
    "answerable_without_answer",
    "not_a_truth_value",
)
MEANING = {
    DOCUMENT_NAME: "names what can be no document: write paths within the folder, several with ; between them",
    NOT_ANSWERABLE: "is not answerable, and yet documents or an answer are expected",
    NO_ANSWER: "is answerable, and neither documents nor an answer are expected",
    NO_TRUTH_VALUE: "says neither true nor false of whether it is answerable",
}


class ChatTable(TextTable):
    """One question per row; two rows of the same question are the same row, or contradict each other.

    The target is the column of the expected documents. A question of which nothing is expected is one that the
    documents do not answer.
    """

    target, has_classes, folder = "target", False, FOLDER

    def check(self, request: TableRequest) -> None:
        """Refuse other than one question, and what cannot be expected or decide on the split."""
        if list(request.columns.values()).count(TEXT) != 1:
            raise ValueError("an evaluation set has one question: declare it, columns: {question: text}")
        question = text_column(request)
        if request.target in {question, *request.columns}:
            raise ValueError(f"the target {request.target!r} is the column of expected documents, and no input")
        if {request.group_column, request.time_column} & {question, request.target}:
            raise ValueError("group_column and time_column must be no question and not the target")
        if request.key:
            raise ValueError("a question is its own key: leave key out")

    def options(self, request: TableRequest) -> dict[str, str]:
        """Question and expected documents."""
        return {text_column(request): "--text-column", request.target: "--target"}

    def parameters(self, request: TableRequest) -> dict[str, Any]:
        """Both columns, and that they are an evaluation set."""
        return {"problem": "chat", "target": request.target, "columns": dict(sorted(request.columns.items()))}

    def names(self, request: TableRequest, inputs: Columns) -> dict[str, str]:
        """What the question is called, whatever the source calls it, and what is expected of its answer."""
        _ = inputs
        return {text_column(request): TEXT, request.target: self.target}

    def canonical(self, raw: pd.DataFrame, request: TableRequest, before: Before) -> Canonical:
        """Strip the question, and make one cell of what is expected; the other columns stay as they are."""
        _ = before
        question, documents = text_column(request), raw[request.target].str.strip()
        blank = pd.Series("", index=raw.index)
        asked, answers = raw[question].str.strip(), raw.get(ANSWER, blank).str.strip()
        told = raw.get(ANSWERABLE, blank).str.strip()
        rows = zip(raw.index, asked, documents, answers, told, strict=True)
        read = {row: _read(*cells) for row, *cells in rows}
        reasons = {row: reason for row, (_, reason) in read.items() if reason}
        others = raw.drop(columns=[question, request.target]).add_prefix("source_")
        frame = pd.DataFrame(
            {self.target: [expected.cell for expected, _ in read.values()], TEXT: asked.to_numpy()}, raw.index
        ).astype("str")
        trimmed = int((asked != raw[question]).sum() + (documents != raw[request.target]).sum())
        first = min(reasons, default=None)
        said = "" if first is None else f"Row {first} {MEANING[reasons[first]]}."
        return Canonical(frame.join(others), TEXT_COLUMNS, reasons, said, trimmed)

    def keys(self, frame: pd.DataFrame, inputs: Columns, request: TableRequest) -> "pd.Series[str]":
        """The sha256 of the normalised question."""
        _ = inputs, request
        return frame[TEXT].map(text_key).rename("key")

    def flaw(self, rows: pd.DataFrame) -> str:
        """That a question stands twice."""
        return "a question stands twice" if rows["key"].duplicated().any() else ""

    def suite(self, inputs: Columns) -> tuple[dict[str, Any], ...]:
        """A question is there, and is one."""
        _ = inputs
        return (
            {
                "type": "expect_table_columns_to_match_set",
                "kwargs": {"column_set": [TEXT, self.target], "exact_match": False},
                "severity": "critical",
            },
            _set_aside("blank_text", "expect_column_values_to_match_regex", regex=r"\S"),
            _set_aside("long_text", "expect_column_value_lengths_to_be_between", max_value=LONGEST),
        )


def _read(question: str, documents: str, answer: str, answerable: str) -> tuple[Expected, str]:
    """What is expected, and why the row cannot be used; empty if it can."""
    question = normalised(question)  # however it is written, the same is expected
    try:
        expected, reason = Expected(question, documents_of(documents), answer), ""
    except ValueError:
        return Expected(question), DOCUMENT_NAME
    if answerable:
        is_said = TRUTH.get(answerable.lower())
        if is_said is None:
            reason = NO_TRUTH_VALUE
        elif is_said != expected.is_answerable:
            reason = NO_ANSWER if is_said else NOT_ANSWERABLE
    return expected, reason


def _set_aside(reason: str, kind: str, **options: Any) -> dict[str, Any]:
    meta = {"reason": reason}
    return {"type": kind, "kwargs": {"column": TEXT, **options}, "severity": "warning", "meta": meta}


TABLE = ChatTable()
