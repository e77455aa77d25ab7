"""What a table of questions beside a folder of documents seems to be: which column asks, which names documents."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.problems.chat import documents
from lifecycle.problems.chat.expected import documents_of
from lifecycle.problems.contract import DROP, TEXT, Folder
from lifecycle.problems.tabular.columns import judge, listed
from lifecycle.problems.tabular.proposal import Proposal, ProposedColumn

QUESTION, EXPECTED, ANSWERS = "question", "documents", ("answer", "answerable")
HELD_OUT = 50
"""Questions that must be held out for the gate to tell anything, by its defaults."""
USUAL_SHARE, LARGER_SHARE, TEST_SHARE = 0.2, 0.6, 0.1
TABLES = (".parquet", "_delta_log")
"""What a folder holds that is a table."""
SHOWN = 5


def holds(folder: Path) -> bool:
    """Whether a folder holds documents, and is no table."""
    names = [path.suffix.lower() or path.name for path in folder.rglob("*")]
    return not {*TABLES} & {*names} and any(name in documents.READERS for name in names)


def needed(folder: Path) -> str:
    """How the table of questions is written, for who has none; with documents of this folder."""
    names = [document.id for document in documents.read(folder)]
    return (
        f"{folder} holds {len(names):,} documents. What answers from them is judged by questions: write a table of "
        f"about 100, such as\n\nquestion,documents,answer\nHow long may a parcel be sent back?,{names[0]},14 days\n"
        "Who founded the company?,,\n\nThe second one is not answered by the documents; about a quarter should be such."
    )


def propose(frame: pd.DataFrame, target: str | None, folder: Path) -> Proposal:
    """Look at a table of questions, whose cells are texts, beside its documents.

    Raises:
        ConfigError: No column asks, or none names documents.
        DataError: It names documents that are not there; or some cannot be read.
    """
    names = {document.id for document in documents.read(folder)}
    columns = [str(name) for name in frame.columns]
    target = target or _expected(frame, names)
    _require_there(frame[target], names, folder)
    others = [name for name in columns if name not in {target, *ANSWERS}]
    longest = {name: float(frame[name].str.len().mean()) for name in others}
    question = QUESTION if QUESTION in others else max(longest, key=longest.__getitem__, default=None)
    if question is None:
        raise ConfigError(f"No column asks: there are {listed(columns)}.", "Call that of the questions: question")
    few = len(frame) * USUAL_SHARE < HELD_OUT
    sizes = {"test_size": TEST_SHARE, "holdout_size": LARGER_SHARE} if few else {}
    too_few = len(frame) * LARGER_SHARE < HELD_OUT
    least = -(-HELD_OUT * 10 // int(10 * LARGER_SHARE))
    notes = (f"of fewer than {least} questions the gate cannot tell which model is better",) if too_few else ()
    proposed = tuple(_column(frame, name, question) for name in columns)
    return Proposal("chat", target, (), proposed, None, "random", None, notes, sizes)


def _expected(frame: pd.DataFrame, names: set[str]) -> str:
    """The column of expected documents: by its name, else that which names most of them."""
    if EXPECTED in frame:
        return EXPECTED
    known = {str(name): sum(cell.strip() in names for cell in frame[name]) for name in frame.columns}
    if not any(known.values()):
        raise ConfigError(f"No column names documents: there are {listed(known)}.", "Say which: --target COLUMN")
    return max(known, key=known.__getitem__)


def _require_there(cells: "pd.Series[str]", names: set[str], folder: Path) -> None:
    wrong: list[str] = []
    for row, cell in cells.str.strip().items():
        try:
            missing: Sequence[str] = sorted({*documents_of(cell)} - names)
        except ValueError as error:
            missing = [str(error)]
        wrong += [f"{name} (row {row})" for name in missing]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        what = f"{cells.name!r} names what is not in {folder}: {', '.join(wrong[:SHOWN])}{more}."
        raise DataError(what, "Name documents by their paths within the folder, or by --target another column.")


def _column(frame: pd.DataFrame, name: str, question: str) -> ProposedColumn:
    judged = judge(name, frame[name])
    note = "a reference answer, or whether there is one" if name in ANSWERS else "" if name == question else "not asked"
    kind = TEXT if name == question else DROP
    return ProposedColumn(name, kind, judged.missing, judged.distinct, judged.examples, note)


FOLDER = Folder(holds, propose, needed)
