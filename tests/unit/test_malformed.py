"""Malformed tables: each is refused with its place before anything is started or written; odd but sound ones are kept.

The refusals run `mlops data create` in this process, up to the check that comes before Prefect.

Promise: Malformed input ends with file, row and column, all at once, and leaves the state byte-identical; what an
error says to declare works when pasted.
"""

import gzip
import io
import json
import random
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import main
from lifecycle import settings
from lifecycle.core.errors import DataError
from lifecycle.data import dataset, ingest
from lifecycle.data.source import Source
from lifecycle.settings import Settings
from lifecycle.settings.rules import DataRules
from tests.conftest import tree

Run = Callable[..., tuple[int, str]]

ROWS = [f"text number {n},{'good' if n % 2 else 'bad'}" for n in range(1, 31)]


def table(*last: str, header: str = "text,label", rows: list[str] = ROWS) -> bytes:
    """A sound header and 30 sound rows on lines 1 to 31, then `last`."""
    return "\n".join([header, *rows, *last, ""]).encode()


def records(*last: str) -> bytes:
    """30 sound JSON Lines, then `last`."""
    lines = [json.dumps(dict(zip(("text", "label"), row.split(","), strict=True))) for row in ROWS]
    return "\n".join([*lines, *last, ""]).encode()


def wider(name: str, cell: str) -> bytes:
    """The sound table with one column more."""
    return table(header=f"text,label,{name}", rows=[f"{row},{cell}" for row in ROWS])


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    return buffer.getvalue()


def arrow(**columns: Any) -> bytes:
    """Parquet as others than pandas write it."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


GOOD = table()
AFTER = f"line 32, byte offset {len(GOOD)}"
LONG = table(rows=ROWS * 100)  # what follows lies beyond the first read of a buffered file
TEXTS, LABELS = [f"text number {n}" for n in range(30)], ["good", "bad"] * 15
PARQUET = parquet(text=TEXTS, label=LABELS)
UTF16 = GOOD.decode().encode("utf-16")
ZIPPED = gzip.compress(GOOD)
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head>\n<body>Sorry, not here</body></html>\n"

# case: file, content, options, and what the message says, parted by " | "
MALFORMED = {
    "B2 cp1252 byte": ("a.csv", LONG + b"\x93,x\n", "", f"line 3002, byte offset {len(LONG)} (0x93) | cp1252"),
    "B2 not cp1252": ("a.csv", GOOD + b"\x81,x\n", "--encoding cp1252", f"{AFTER} (0x81) | not cp1252"),
    "B2 cp1252 byte in JSON": ("a.jsonl", records() + b'{"text": "\x93"}', "", "line 31, byte offset | (0x93)"),
    "B3 utf-16": ("a.csv", UTF16, "", "line 1, byte offset 0 (0xff) | Declare --encoding utf-16"),
    "B3 utf-16 without a mark": ("a.csv", UTF16[2:], "", "without a byte order mark | Declare --encoding utf-16-le"),
    "B3 not utf-16": ("a.csv", GOOD, "--encoding utf-16", "not utf-16"),
    "B3 cut utf-16": ("a.csv", UTF16[:-1], "--encoding utf-16", f"byte offset {len(UTF16) - 2} | truncated"),
    "B3 gzip without .gz": ("a.csv", ZIPPED, "", "this is gzip | mv"),
    "B3 .gz without gzip": ("a.csv.gz", GOOD, "", "ends in .gz, but the content is not gzip | mv"),
    "B3 truncated gzip": ("a.csv.gz", ZIPPED[:-30], "", "damaged gzip | Fetch"),
    "B3 gzip with a wrong checksum": ("a.csv.gz", ZIPPED[:-8] + bytes(8), "", "damaged gzip | CRC"),
    "B3 surrogate half in UTF-8": ("a.csv", GOOD + b"\xed\xa0\x80,good\n", "", f"{AFTER} (0xed)"),
    "B5 all rows one field longer": (
        "a.csv",
        table(rows=[f"{row},x" for row in ROWS]),
        "",
        "row 1, line 2: 3 fields | 'x'",
    ),
    "B6 long row": (
        "a.csv",
        table('"two\nlines",good', "a,good,more"),
        "",
        "row 32, line 34: 3 fields instead of 2 | 'more'",
    ),
    "B7 short row": ("a.csv", table("a"), "", "row 31, line 32: 1 fields instead of 2 | column 'label' is missing"),
    "B8 duplicate column": ("a.csv", wider("text", "x"), "", "line 1 | column 'text' stands twice"),
    "B8 duplicate key": ("a.jsonl", records('{"text": "a", "text": "b", "label": "x"}'), "", "row 31, line 31 | twice"),
    "B9 other case": (
        "a.csv",
        table(header="Text,label"),
        "",
        "no column 'text' | Did you mean 'Text'? | --text-column Text",
    ),
    "B10 no header row": (
        "a.csv",
        table(header="a great day,good"),
        "",
        "no columns 'text', 'label' | header row? | --text-column",
    ),
    "B10 other column": ("a.csv", GOOD, "--label-column mood", "no column 'mood'; there are 'text', 'label'"),
    "B10 no column of groups": (
        "a.csv",
        GOOD,
        "--group-column customer",
        "no column 'customer' | with --group-column.",
    ),
    "B10 no column to stratify by": ("a.csv", GOOD, "--stratify ['region']", "no column 'region'"),
    "B10 header of another encoding": (
        "a.csv",
        GOOD.replace(b"label", b"Gef\xfchl"),
        "--label-column Gefühl",
        "line 1, byte offset 8 (0xfc): not utf-8 | --encoding cp1252",
    ),
    "B11 empty": ("a.csv", b"", "", "the file is empty"),
    "B11 blank lines only": ("a.csv", b"\n\r\n\n", "", "the file is empty"),
    "B11 empty JSON": ("a.jsonl", b"\n", "", "the file is empty"),
    "B11 header only": ("a.csv", table(rows=[]), "", "no data rows"),
    "B11 empty Parquet": ("a.parquet", parquet(text=[], label=[]), "", "no data rows"),
    "B11 too few rows": ("a.csv", table(rows=ROWS[:19]), "", "19 data rows are fewer than 20 | data.min_rows"),
    "B11 web page": ("a.csv", PAGE, "", "line 1 | web page"),
    "B12 unclosed quote": ("a.csv", table('"never closed,good', "a,good"), "", "row 31, line 32 | quote unclosed?"),
    "B12 quote closed too early": ("a.csv", table('"a" b,good'), "", "row 31, line 32 | expected after"),
    "B17 semicolons": ("a.csv", GOOD.replace(b",", b";"), "", "no columns 'text', 'label' | --delimiter ';'"),
    "B17 tabs": ("a.csv", GOOD.replace(b",", b"\t"), "", "no columns 'text', 'label' | --delimiter tab."),
    "B18 field of 5 MB": (
        "a.csv",
        table("x" * 5_000_000 + ",x"),
        "",
        "row 31, column 'text' | 5,000,000 bytes | max_cell_bytes",
    ),
    "B18 long in bytes only": ("a.csv", table("€" * 33_334 + ",x"), "", "row 31 | 100,002 bytes are more than 100,000"),
    "B18 quote that swallows the rest": (
        "a.csv",
        table('"' + "a,good\n" * 2_300_000),
        "",
        "row 31, line 32 | quote unclosed?",
    ),
    "Parquet cut": ("a.parquet", PARQUET[:-20], "", "damaged Parquet"),
    "Parquet with a damaged page": ("a.parquet", PARQUET[:4] + bytes(60) + PARQUET[64:], "", "damaged Parquet"),
    "Parquet that is CSV": ("a.parquet", GOOD, "", "this is no Parquet | --format csv"),
    "JSON list": ("a.jsonl", records("", '["a", "good"]'), "", "row 31, line 32 | not a JSON object"),
    "JSON cut": ("a.jsonl", records('{"text": "a", "lab'), "", "row 31, line 31 | one JSON object"),
    "JSON too deep": ("a.jsonl", records("[" * 100_000), "", "row 31, line 31 | recursion"),
    "B19 all blank": ("a.csv", table(rows=[" ,good", "text, "] * 15), "", "no row is left | 'label'"),
    "B19 one class": ("a.csv", table(rows=[f"text {n},good" for n in range(30)]), "", "1 class is left | 'good': 30"),
    "B19 rare class": (
        "a.csv",
        table(rows=[*(f"text {n},good" for n in range(30)), "odd text,rare"]),
        "",
        "class 'rare' of column 'label' has 1 | needs 5",
    ),
    "text and label swapped": (
        "a.csv",
        GOOD,
        "--text-column label --label-column text",
        "column 'text' has 30 different values in 30 rows | not classes | --text-column 'text' --label-column 'label'",
    ),
    "other digest": ("a.csv", GOOD, f"--sha256 {'0' * 64}", f"sha256 is | expected {'0' * 64}"),
}


MANY = [  # what is wrong with a table, and all that is said of it at once
    ("a.csv", table("a", "b,good,x", "c"), "row 31, line 32: 1 fields | also rows 32, 33 (3 in all)"),
    ("a.csv", table('"a" b,good', "b"), "row 31, line 32: ',' expected | row 32, line 33: 1 fields"),
    ("a.csv", table("a", "x" * 200_000 + ",x"), "row 31, line 32: 1 fields | row 32, column 'text': 200,000 bytes"),
    (
        "a.csv",
        GOOD + b"\x93,x\n\x94,x\nshort\n",
        f"{AFTER} (0x93) | also rows 32 (2 in all) | row 33, line 34: 1 fields",
    ),
    ("a.jsonl", records("{", "[1]", '{"text": 1'), "row 31, line 31 | also rows 32, 33 (3 in all) | one JSON object"),
    ("a.csv", table("a,b,c", *["x"] * 5_000), "also rows 32, 33, 34, 35, 36, … (at least 1000 in all)"),
    ("a.csv", table(header="Text,LABEL"), "no columns 'text', 'label' | --text-column Text --label-column LABEL"),
    ("a.csv", wider("text", "x").replace(b"label", b"text"), "column 'text' stands twice"),
    ("a.parquet", parquet(text=[["a"]] * 30, label=[{"a": 1}] * 30), "column 'text': list | column 'label': struct"),
    ("a.jsonl", records().replace(b"text", b"Text"), "no column 'text' | 'Text', 'label' | --text-column Text"),
]


@pytest.mark.parametrize(("name", "content", "expected"), MANY)
def test_all_that_is_wrong_is_said_at_once(create: Run, name: str, content: bytes, expected: str) -> None:
    code, message = create(name, content)
    assert code == 3, message
    assert message.count("\n") == 1
    assert missing(expected, message) == [], message


@pytest.fixture
def create(news: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mlops data create` in a folder with one file; that it changes no file anywhere is checked each time."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert news.datasets.is_relative_to(tmp_path)

    def run(name: str, content: bytes, *options: str) -> tuple[int, str]:
        Path(name).write_bytes(content)
        required = {"--source": name, "--data-name": "other", "--data-version": "1.0.0"}
        given = [word for key, value in required.items() if key not in options for word in (key, value)]
        monkeypatch.setattr(sys, "argv", ["mlops", "data", "create", *given, *options])
        before = tree(tmp_path), sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as end:
            main()
        assert (tree(tmp_path), sorted(tmp_path.rglob("*"))) == before
        return int(end.value.code or 0), capsys.readouterr().err

    return run


def missing(expected: str, message: str) -> list[str]:
    return [part for part in expected.split(" | ") if part not in message]


@pytest.mark.parametrize(("name", "content", "options", "expected"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_table_is_refused_in_one_line_that_says_where(
    create: Run, name: str, content: bytes, options: str, expected: str
) -> None:
    code, message = create(name, content, *options.split())
    assert code == 3, message
    assert message.startswith(f"Error: {name}")
    assert message.count("\n") == 1
    assert len(message) < 500
    assert missing(expected, message) == [], message


TWO_CLASSES = [(f"text {n}", ("good", "bad")[n % 2]) for n in range(30)]
UNFIT = {
    "B19 no text": ([("", "good"), (" ", "bad"), ("\u3000", "x")] * 10, "30 of 30 rows | blank_text 30 | row 1"),
    "B19 no label": ([(f"text {n}", " ") for n in range(30)], "30 of 30 rows | blank_label 30 | row 1"),
    "B19 one class": ([(f"text {n}", "good") for n in range(30)], "1 class is left in column 'label' ('good': 30)"),
    "B19 class of one row": (
        [*TWO_CLASSES, ("rare", "odd")],
        "class 'odd' of column 'label' has 1 | needs 5 | 'bad': 15",
    ),
    "B20 contradiction": ([*TWO_CLASSES, ("TEXT  4 ", "bad")], "2 rows carry texts with different labels | row 5"),
}


@pytest.mark.parametrize(("rows", "expected"), UNFIT.values(), ids=UNFIT.keys())
def test_a_table_that_cannot_be_split_is_refused_and_leaves_nothing(
    news: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str]], expected: str
) -> None:
    monkeypatch.setenv("MLOPS_DATA__CONFLICTING_LABELS", "fail")
    monkeypatch.setenv("MLOPS_DATA__RARE_CLASSES", "fail")
    source = tmp_path / "unfit.csv"
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(source, index=False)
    request = dataset.plan(settings.load("dev"), Source(uri=str(source)), data_name="unfit", data_version="1")
    before = tree(tmp_path)
    with pytest.raises(DataError) as refused:
        dataset.create(request)
    assert missing(f"unfit.csv | {expected}", str(refused.value)) == [], str(refused.value)
    assert tree(tmp_path) == before
    assert not (news.datasets / "unfit").exists()


BIG = "9007199254740993"  # 2**53 + 1: one off as a float
NUMBERS = parquet(text=["a", None], label=pd.array([int(BIG), None], "Int64"))
FAMILY, RIGHT_TO_LEFT = "👩\u200d👧 ok", "\u202eright to left"
TWO, ACCENTED = [("abc", "x"), ("def", "y")], [("abc", "x"), ("déf", "y")]
TABS, NOT_A_NUMBER = {"delimiter": "tab"}, arrow(text=[1.0, float("nan")], label=["x", "y"])
JSON = b'{"text": "abc", "label": "x"}\r\n{"label": "y", "text": "d\\u00e9f"}'
CSV = "text,label\nabc,x\ndéf,y\n"

# case: file, content, how it is declared, and its rows
ACCEPTED: dict[str, tuple[str, bytes, dict[str, str], list[tuple[str, ...]]]] = {
    "B1 byte order mark": ("a.csv", b"\xef\xbb\xbftext,label\nabc,x\ndef,y\n", {}, TWO),
    "B1 byte order mark in JSON": ("a.jsonl", b"\xef\xbb\xbf" + JSON, {}, ACCENTED),
    "B13 quotes": ("a.csv", b'text,label\na "b" c,x\n"d ""e"", f",y\n', {}, [('a "b" c', "x"), ('d "e", f', "y")]),
    "B13 CR only": ("a.csv", b"text,label\rabc,x\rdef,y\r", {}, TWO),
    "B13 mixed line ends, none at the end": ("a.csv", b"text,label\r\nabc,x\rdef,y", {}, TWO),
    "B13 line ends in quotes": (
        "a.csv",
        b'text,label\n"a\r\nb",x\n"c\rd\n",y\n',
        {},
        [("a\r\nb", "x"), ("c\rd\n", "y")],
    ),
    "B13 empty lines": ("a.csv", b"text,label\n\nabc,x\n\n\ndef,y\n\n", {}, TWO),
    "B13 tab": ("a.csv", b"text,label\na\tb,x\n", {}, [("a\tb", "x")]),
    "B14 missing": (
        "a.csv",
        b"text,label\nNA,null\nNone,nan\n,N/A\n",
        {},
        [("NA", "null"), ("None", "nan"), ("", "N/A")],
    ),
    "B15 values": ("a.csv", b"text,label\nTRUE,123\ninf,1e5\n", {}, [("TRUE", "123"), ("inf", "1e5")]),
    "B16 ids": ("a.csv", f"text,label,id\na,007,{BIG}\nb,y,\n".encode(), {}, [("a", "007", BIG), ("b", "y", "")]),
    "B16 numbers in JSON": ("a.jsonl", f'{{"text":1.50,"label":{BIG}}}'.encode(), {}, [("1.50", BIG)]),
    "B16 values in JSON": ("a.jsonl", b'{"text":null,"label":true}', {}, [("", "true")]),
    "B16 numbers in Parquet": ("a.parquet", NUMBERS, {}, [("a", BIG), ("", "")]),
    "B21 emoji": (
        "a.csv",
        f"text,label\n{FAMILY},é\n{RIGHT_TO_LEFT},x\n".encode(),
        {},
        [(FAMILY, "é"), (RIGHT_TO_LEFT, "x")],
    ),
    "B21 composition": ("a.csv", "text,label\né,x\ne\u0301,y\n".encode(), {}, [("é", "x"), ("e\u0301", "y")]),
    "blanks": ("a.csv", b"text,label\n  a  , x\n", {}, [("  a  ", " x")]),
    "utf-16": ("a.csv", CSV.encode("utf-16"), {"encoding": "utf-16"}, ACCENTED),
    "cp1252": ("a.csv", "text,label\n“abc”,€\n".encode("cp1252"), {"encoding": "cp1252"}, [("“abc”", "€")]),
    "semicolon": ("a.csv", b"text;label\na,b;x\n", {"delimiter": ";"}, [("a,b", "x")]),
    "gzip": ("a.csv.gz", gzip.compress(CSV.encode()), {}, ACCENTED),
    "JSON Lines": ("a.ndjson", JSON, {}, ACCENTED),
    "JSON Lines in gzip": ("a.jsonl.gz", gzip.compress(JSON), {}, ACCENTED),
    "Parquet": ("a.parquet", parquet(text=["abc", "déf"], label=["x", "y"]), {}, ACCENTED),
    "declared format": ("a.dat", JSON, {"format": "jsonl"}, ACCENTED),
    "question mark in a local name": ("why?.jsonl", JSON, {}, ACCENTED),
    "JSON NaN": ("a.jsonl", b'{"text":NaN,"label":Infinity}', {}, [("", "inf")]),
    "NaN in Parquet": ("a.parquet", NOT_A_NUMBER, {}, [("1", "x"), ("", "y")]),
    "JSON key missing": ("a.jsonl", b'{"text":"a"}\n{"label":"x"}', {}, [("a", ""), ("", "x")]),
    "JSON with a byte order mark and blank lines": ("a.json", b"\xef\xbb\xbf" + JSON + b"\n \n", {}, ACCENTED),
    "tabs": ("a.tsv", b'text\tlabel\n"a\tb"\tx\n', TABS, [("a\tb", "x")]),
    "tabs without quoting": ("a.tsv", b'text\tlabel\n"a\tx\nb "c"\t"y"\n', TABS, [('"a', "x"), ('b "c"', '"y"')]),
    "tabs, and a quote over lines": ("a.tsv", b'text\tlabel\n"a\nb"\tx\n', TABS, [("a\nb", "x")]),
    "tabs, and quotes that would swallow rows": (
        "a.tsv",
        b'text\tlabel\n"a\tx\nb"\ty\n',
        TABS,
        [('"a', "x"), ('b"', "y")],
    ),
    "tabs, and quoted words": ("a.tsv", b'text\tlabel\n"a"\tx\n', TABS, [("a", "x")]),
    "tab by its escape": ("a.tsv", b"text\tlabel\na\tx\n", {"delimiter": r"\t"}, [("a", "x")]),
    "byte order mark of utf-16-le": ("a.csv", CSV.encode("utf-16"), {"encoding": "utf-16-le"}, ACCENTED),
    "cell at the cap": ("a.csv", b"text,label\n" + b"x" * 100_000 + b",y\n", {}, [("x" * 100_000, "y")]),
}


@pytest.mark.parametrize(("name", "content", "form", "rows"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_odd_but_sound_table_is_read_exactly(
    tmp_path: Path, name: str, content: bytes, form: dict[str, Any], rows: list[tuple[str, ...]]
) -> None:
    (tmp_path / name).write_bytes(content)
    frame = ingest.read(Source(uri=str(tmp_path / name), **form), DataRules(), ["text", "label"]).rows
    assert list(frame.itertuples(name=None)) == [(number, *row) for number, row in enumerate(rows, 1)]
    assert list(frame.columns) == ["text", "label", "id"][: len(rows[0])]


def test_a_stream_in_small_chunks_is_the_whole_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    source = Source(uri=str(tmp_path / "a.csv"))
    chunks = list(ingest.stream(source, DataRules(), ["text"], rows_per_chunk=7))
    assert [len(chunk) for chunk in chunks] == [7, 7, 7, 7, 2]
    assert pd.concat(chunks).astype("str").equals(ingest.read(source, DataRules(), ["text"]).rows[["text"]])


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_damage_anywhere_is_a_data_error_or_a_table(tmp_path: Path, name: str) -> None:
    whole = {"a.csv": GOOD, "a.csv.gz": gzip.compress(GOOD), "a.jsonl": records(), "a.parquet": PARQUET}[name]
    chance, path, refused = random.Random(0), tmp_path / name, 0
    for _ in range(150):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(min(len(damaged), 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            ingest.read(Source(uri=str(path)), DataRules(), ["text", "label"])
        except DataError:
            refused += 1
    assert refused > 50


USAGE = {
    "no file": (["--source", "missing.csv"], "missing.csv does not exist"),
    "a folder": (["--source", "."], "is a folder"),
    "below a file": (["--source", "a.csv/b.csv"], "is not readable"),
    "scheme without its package or credentials": (["--source", "dbfs:///a.csv"], "dbfs:///a.csv"),
    "encoding": (["--encoding", "utf-9"], "--encoding 'utf-9' is not known"),
    "codec that is no encoding": (["--encoding", "rot13"], "--encoding 'rot13' is not known"),
    "format": (["--format", "xlsx"], "'xlsx' is not one of"),
    "two delimiters": (["--delimiter", ";;"], "delimiter=';;'"),
    "quote as delimiter": (["--delimiter", '"'], "delimiter='\"'"),
    "nothing to train on": (["--test-size", "0.5", "--holdout-size", "0.5"], "their sum 1 must be below 1"),
    "test size of 0": (["--test-size", "0"], "test_size must be above 0"),
    "test size of 1": (["--test-size", "1", "--no-holdout"], "test_size=1.0"),
    "size that is no number": (["--test-size", "nan"], "test_size=nan"),
    "holdout of 0": (["--holdout-size", "0"], "holdout_size must be above 0"),
    "same column twice": (["--label-column", "text"], "must differ"),
    "name that leaves the folder": (["--data-name", "../other"], "data_name='../other'"),
    "name with dots": (["--data-name", "a..b"], "'..'"),
    "version that leaves the folder": (["--data-version", "../../x"], "data_version='../../x'"),
    "absolute version": (["--data-version", "/etc"], "data_version='/etc'"),
    "reserved version": (["--data-version", "raw"], "'raw' and 'latest' are reserved"),
    "columns that are no list": (["--stratify", "label"], "neither JSON nor a Python literal"),
}


@pytest.mark.parametrize(("options", "fragment"), USAGE.values(), ids=USAGE.keys())
def test_a_wrong_argument_is_a_usage_error(create: Run, options: list[str], fragment: str) -> None:
    code, message = create("a.csv", GOOD, *options)
    assert code == 2
    assert fragment in message
    assert "Traceback" not in message


@contextmanager
def listener() -> Iterator[tuple[int, list[str]]]:
    """A port on this machine, and who connected to it."""
    met: list[str] = []

    def accept() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            met.append(str(address))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], met
        server.shutdown(socket.SHUT_RDWR)


PREFIXES = ["http://", "https://", "HTTP://", " http://", "ftp://", "file::http://", "file://::http://", "x::http://"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_forbidden_scheme_is_never_connected_to(create: Run, prefix: str) -> None:
    with listener() as (port, met):
        code, message = create("a.csv", GOOD, "--source", f"{prefix}127.0.0.1:{port}/a.csv")
        assert code == 2
        assert met == []
        assert str(port) in message
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.recv(1)
        assert len(met) == 1
