"""CSV that Arrow reads is what the reader of single rows makes of it: cells, numbers, and what is told of it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import DataError
from lifecycle.data import ingest
from lifecycle.data.readers import csv_by_arrow
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules

SIGNS = st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "\t", ";", "a", "b c", " ", "é", "\0", "\u2028", "😀", ""])
CELLS = st.lists(SIGNS, max_size=6).map("".join)


def quoted(cell: str) -> str:
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


ROWS = st.lists(
    st.tuples(CELLS, CELLS, st.booleans(), st.booleans()).map(
        lambda row: ",".join(
            quoted(cell) if is_quoted else cell for cell, is_quoted in zip(row[:2], row[2:], strict=True)
        )
    ),
    max_size=8,
)


def told(path: Path, **form: Any) -> Any:
    """What is read of a file, or why it is not."""
    try:
        table = ingest.read(Source(uri=str(path), **form), DataRules(), {"text": "--text-column"})
    except DataError as error:
        return str(error), error.fix
    return table.rows.to_dict("split"), table.unusable, table.said


def by_rows(path: Path, monkeypatch: pytest.MonkeyPatch, **form: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(csv_by_arrow, "ENCODINGS", frozenset())
        return told(path, **form)


@pytest.mark.parametrize("form", [{}, {"encoding": "cp1252"}, {"delimiter": "\t"}, {"delimiter": ";"}], ids=str)
def test_arrow_reads_what_the_reader_of_rows_reads(
    form: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch, path = pytest.MonkeyPatch(), tmp_path_factory.mktemp("csv") / "a.csv"
    monkeypatch.setattr(csv_by_arrow, "AT_ONCE", 16)

    @given(ROWS, st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]))
    def check(rows: list[str], end: str, ends: bool, mark: bytes) -> None:
        lines = ["text,label", *rows]
        content = (end.join(lines) + end * ends).replace(",", form.get("delimiter", ","))
        path.write_bytes(mark + content.encode(form.get("encoding", "utf-8"), "replace"))
        assert told(path, **form) == by_rows(path, monkeypatch, **form)

    check()
    monkeypatch.undo()


def test_arrow_is_asked_to_the_first_doubt_and_the_rest_is_read_by_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = [f'"text, number {n}",good' for n in range(1000)]
    doubtful = ['a 5" pipe,good', *sound]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,label", *sound, *doubtful]) + "\n")
    monkeypatch.setattr(csv_by_arrow, "AT_ONCE", 4096)
    seen, parsed = list[int](), csv_by_arrow._parsed

    def counted(rows: bytes, *about: Any, **how: Any) -> Any:
        seen.append(len(rows))
        return parsed(rows, *about, **how)

    monkeypatch.setattr(csv_by_arrow, "_parsed", counted)
    table = ingest.read(Source(uri=str(path)), DataRules(), ["text"])
    assert sum(seen) > 20_000
    assert table.rows.index.to_list() == [*range(1, 2002)]
    assert table.rows["text"].to_list() == [
        *(f"text, number {n}" for n in range(1000)),
        'a 5" pipe',
        *(f"text, number {n}" for n in range(1000)),
    ]
    path.write_text("\n".join(["text,label", *sound, "one field"]) + "\n")
    with pytest.raises(DataError, match="row 1001, line 1002: 1 fields instead of 2"):
        ingest.read(Source(uri=str(path)), DataRules(), ["text"])
