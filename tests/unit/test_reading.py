"""What is read of a table: the columns that are asked for, whatever lies beside them, from one content of one file.

Promise: One bad cell quarantines its row; a column that nobody asked for stops nothing; an input that changes while
it is read makes nothing.
"""

import csv
import gzip
import io
import itertools
import json
import lzma
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, DataError, TransientError
from lifecycle.data import dataset, ingest, opening, piped
from lifecycle.data.manifest import Manifest
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
from tests.conftest import free_port, tree

ROWS = [(f"text number {n}", ("good", "bad")[n % 2]) for n in range(30)]
RULES, ASKED = DataRules(), {"text": "--text-column", "label": "--label-column"}


def test_a_column_that_nobody_asked_for_is_left_out_for_a_name_in_another_encoding_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(of_csv([(*row, "5") for row in ROWS], "text", "label", "Gr\udcf6\udcdfe"))
    with caplog.at_level("WARNING"):
        read = ingest.read(Source(uri=str(path)), RULES, ASKED).rows
    assert (len(read), [*read.columns]) == (30, ["text", "label"])
    assert "whose name is of another encoding. Declare it, for example --encoding cp1252." in caplog.text


def of_csv(rows: list[tuple[str, ...]], *header: str, delimiter: str = ",") -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([header or ("text", "label"), *rows])
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def of_json(**more: Any) -> bytes:
    return "\n".join(json.dumps({"text": text, "label": label} | more) for text, label in ROWS).encode()


def of_arrow(**more: Any) -> bytes:
    texts, labels = zip(*ROWS, strict=True)
    return written(pa.table({"text": texts, "label": labels} | {name: pa.array([v] * 30) for name, v in more.items()}))


def written(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def of_pandas(frame: pd.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, **options)
    return buffer.getvalue()


def read(path: Path, **form: Any) -> ingest.Table:
    return ingest.read(Source(uri=str(path), **form), RULES, ASKED)


def pairs(table: ingest.Table) -> list[tuple[str, str]]:
    return list(table.rows[["text", "label"]].itertuples(index=False, name=None))


FRAME = pd.DataFrame(ROWS, columns=["text", "label"])
WIDE = [(*row, *["x"] * 10_000) for row in ROWS]
MAP = pa.scalar([("k", 1)], pa.map_(pa.string(), pa.int8()))
TWICE = pa.table(FRAME).append_column("x", [["1"] * 30]).append_column("x", [["2"] * 30])
BESIDE = {
    "the index of pandas": ("a.csv", FRAME.to_csv().encode()),
    "the index of pandas, twice": ("a.csv", FRAME.reset_index().rename(columns={"index": ""}).to_csv().encode()),
    "an index that was read and written again": ("a.csv", FRAME.assign(**{"Unnamed: 0": 1}).to_csv().encode()),
    "the index of pandas in Parquet": ("a.parquet", of_pandas(FRAME.set_index(FRAME.index[::-1]))),
    "names that stand twice": ("a.csv", of_csv([(*row, "1", "2") for row in ROWS], "text", "label", "x", "x")),
    "names without letters": ("a.csv", of_csv([(*row, "1", "2") for row in ROWS], "text", "label", "", "  ")),
    "a name with a control character": ("a.csv", of_csv([(*row, "1") for row in ROWS], "text", "label", "x\0")),
    "a name with blanks": ("a.csv", of_csv([(*row, "1") for row in ROWS], "text", "label", " x ")),
    "a name of half a surrogate pair": ("a.jsonl", of_json(**{"\udfff": 1})),
    "a control character": ("a.csv", of_csv([(*row, "\b") for row in ROWS], "text", "label", "note")),
    "a NUL": ("a.csv", of_csv([(*row, "\0") for row in ROWS], "text", "label", "note")),
    "a byte that does not decode": ("a.csv", of_csv([(*row, "\udce9") for row in ROWS], "text", "label", "note")),
    "a byte that does not decode in JSON": ("a.jsonl", of_json(note="x").replace(b'"x"', b'"\xe9"')),
    "a cell beyond the limit": ("a.csv", of_csv([(*row, "x" * 150_000) for row in ROWS], "text", "label", "note")),
    "ten thousand columns": ("a.csv", of_csv(WIDE, "text", "label", *(f"c{n}" for n in range(10_000)))),
    "a list, an object, NaN in JSON": ("a.jsonl", of_json(a=[1, 2], b={"c": {"d": None}}, e=float("nan"))),
    "a key that only some rows have": ("a.jsonl", of_json() + b"\n" * 2 + b"" + of_json(late=1)[:0]),
    "a key twice in JSON": ("a.jsonl", of_json(x=1).replace(b'"x": 1', b'"x": 1, "x": {"y": 1, "y": 2}')),
    "a list in Parquet": ("a.parquet", of_arrow(embedding=[0.1, 0.2], deep=[{"a": [None]}])),
    "a structure and bytes in Parquet": ("a.parquet", of_arrow(meta={"page": 1}, image=b"\x89PNG\xff", none=None)),
    "a map in Parquet": ("a.parquet", of_arrow(m=MAP)),
    "names that stand twice in Parquet": ("a.parquet", written(TWICE)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), BESIDE.values(), ids=BESIDE.keys())
def test_what_lies_beside_the_columns_that_are_asked_for_is_nobodys_problem(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_bytes(content)
    table = read(tmp_path / name)
    assert (pairs(table), table.unusable) == (ROWS, {})
    assert ("appears twice" in caplog.text) >= (content == BESIDE["names that stand twice in Parquet"][1])
    assert table.rows.columns.is_unique
    source = Source(uri=str(tmp_path / name))
    (chunk,) = ingest.stream(source, RULES, ASKED, rows_per_chunk=100)
    assert sorted(chunk) == ["label", "text"]  # in the memory of these alone
    config = settings.load("dev", home=tmp_path / "state")
    request = dataset.plan(config, source, data_name="beside", data_version="1")
    dataset.check_source(request)
    for column in table.rows:
        pa.array(table.rows[column], pa.string())


def test_other_columns_come_along_as_far_as_they_hold_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": "a", "label": "x", "n": 1.50, "list": [1]}\n{"label": "y", "text": "b", "late": true, "list": "no"}'
    )
    assert read(tmp_path / "a.jsonl").rows.to_dict("list") == {
        "text": ["a", "b"],
        "label": ["x", "y"],
        "n": ["1.50", ""],
        "late": ["", "true"],
    }


def test_a_structure_where_a_text_is_asked_for_is_set_aside_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": {"de": "ä"}, "label": "x"}\n{"text": "b", "label": ["y"]}')
    table = read(tmp_path / "a.jsonl")
    assert table.unusable == {1: "not_text", 2: "not_text"}
    assert pairs(table) == [('{"de": "ä"}', "x"), ("b", '["y"]')]


UNUSABLE = {
    "form feed": ("a.csv", of_csv([("a\fb", "x")])),
    "NUL": ("a.csv", of_csv([("a\0b", "x")])),
    "ESC in the label": ("a.csv", of_csv([("a", "\x1b[31mx")])),
    "DEL": ("a.csv", of_csv([("a\x7f", "x")])),
    "C1, in UTF-8": ("a.csv", of_csv([("it\u0092s", "x")])),
    "backspace in JSON": ("a.jsonl", rb'{"text": "a\b", "label": "x"}'),
    "half a surrogate pair in JSON": ("a.jsonl", rb'{"text": "a\ud83d", "label": "x"}'),
    "the other half, in the label": ("a.jsonl", rb'{"text": "a", "label": "\udc93"}'),
    "a bell in Parquet": ("a.parquet", written(pa.table({"text": ["a\a"], "label": ["x"]}))),
    "bytes in Parquet": ("a.parquet", written(pa.table({"text": [b"a\xff"], "label": ["x"]}))),
    "a bell in a category": ("a.parquet", of_pandas(pd.DataFrame({"text": ["a"], "label": ["\a"]}, dtype="category"))),
}


@pytest.mark.parametrize(("name", "content"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_character_that_cannot_be_used_sets_its_row_aside(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    table = read(tmp_path / name)
    assert table.unusable == {1: "unusable_character"}
    assert re.match(r"Row 1, column '(text|label)': unusable character U\+[0-9A-F]{4} at position \d", table.said)


def made(tmp_path: Path, name: str, content: bytes, **form: Any) -> Manifest:
    (tmp_path / name).write_bytes(content)
    config = settings.load("dev", home=tmp_path / "state")
    source = Source(uri=str(tmp_path / name), **form)
    dataset.create(dataset.plan(config, source, data_name="news", data_version="1"))
    return dataset.verify(config.datasets, "news", "1")


def test_rows_that_cannot_be_used_are_in_quarantine_and_in_the_count(tmp_path: Path) -> None:
    lines = [*of_json().decode().splitlines(), r'{"text": "a\ud83d", "label": "x"}', r'{"text": "\f", "label": ""}']
    manifest = made(tmp_path, "a.jsonl", "\n".join(lines).encode())
    assert (manifest.rows_in, manifest.rows_split, manifest.quarantined) == (32, 30, {"unusable_character": 2})
    aside = pd.read_parquet(tmp_path / "state/data/news/1/quarantine.parquet")
    assert aside[["row", "text", "reason"]].to_numpy().tolist() == [
        [31, r"a\ud83d", "unusable_character"],
        [32, "", "unusable_character"],  # a form feed is a blank too, but that is not what is wrong with it
    ]


def test_too_many_rows_that_cannot_be_used_stop_a_table_and_the_first_is_shown(tmp_path: Path) -> None:
    content = of_csv([(f"it\u0092s number {n}", "x") for n in range(30)])
    for encoding, hint in (("utf-8", ""), ("latin-1", " If the file is cp1252, declare --encoding cp1252.")):
        with pytest.raises(DataError) as refused:
            made(tmp_path, "a.csv", content.decode().encode(encoding), encoding=encoding)
        assert refused.value.what.startswith("a.csv: 30 of 30 rows cannot be used (unusable_character 30), such as row")
        assert refused.value.fix == f"Row 1, column 'text': unusable character U+0092 at position 3.{hint}"
    assert not (tmp_path / "state").exists()


GOOD = of_csv(ROWS)
ARRAY = json.dumps([{"text": text, "label": label} for text, label in ROWS]).encode()


def of_tar(name: str, content: bytes) -> bytes:
    buffer, member = io.BytesIO(), tarfile.TarInfo(name)
    member.size = len(content)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


TWO_LINES = json.dumps([{"text": "a", "label": "b"}], indent=1).encode()
ACCENTS = of_csv([(f"déjà vu {n}", label) for n, (_, label) in enumerate(ROWS)])
HINTS = {  # a table that cannot be read as it is declared, and how: what is said helps when it is pasted
    "semicolons": ("a.csv", GOOD.replace(b",", b";"), ""),
    "tabs": ("a b.tsv", GOOD.replace(b",", b"\t"), ""),
    "bars": ("a.csv", GOOD.replace(b",", b"|"), ""),
    "commas": ("a.csv", GOOD, "--delimiter ;"),
    "semicolons and commas": (
        "a.csv",
        of_csv([(*row, "1") for row in ROWS], "text", "label", "a,b", delimiter=";"),
        "",
    ),
    "cp1252": ("a.csv", ACCENTS.decode().encode("cp1252"), ""),
    "utf-16": ("a.csv", GOOD.decode().encode("utf-16"), ""),
    "utf-16 without its mark": ("a.csv", GOOD.decode().encode("utf-16-le"), ""),
    "utf-16, the other way round": ("a.csv", GOOD.decode().encode("utf-16-be"), ""),
    "utf-32": ("a.csv", GOOD.decode().encode("utf-32"), ""),
    "tar": ("a b.tar", of_tar("c d.csv", GOOD), ""),
    "tar in gzip": ("a.tar.gz", gzip.compress(of_tar("c.csv", GOOD)), ""),
    "tar in gzip, in short": ("a.tgz", gzip.compress(of_tar("c.csv", GOOD)), ""),
    "gzip within gzip": ("a.csv.gz", gzip.compress(gzip.compress(GOOD)), ""),
    "utf-8 as ascii": ("a.csv", ACCENTS, "--encoding ascii"),
    "gzip without its suffix": ("it's.csv", gzip.compress(GOOD), ""),
    "a suffix without gzip": ("a b.csv.gz", GOOD, ""),
    "xz": ("a b.csv", lzma.compress(GOOD), ""),
    "xz by its name": ("a b.jsonl.xz", lzma.compress(of_json()), ""),
    "a JSON array": ("a.json", ARRAY, ""),
    "JSON Lines in a text": ("a.txt", of_json(), ""),
    "CSV as JSON Lines": ("a.jsonl", GOOD, ""),
    "Parquet as CSV": ("a.csv", of_arrow(), ""),
    "another case": ("a.csv", of_csv(ROWS, "Text", "LABEL"), ""),
    "blanks around a name": ("a.csv", of_csv(ROWS, " text", "label "), ""),
    "nearly": ("a.csv", of_csv(ROWS, "texts", "labels"), ""),
    "another composition": ("a.csv", of_csv(ROWS, "te\u200bxt", "label"), ""),
}
OPTIONS = {"--text-column": "text", "--label-column": "label"}


def declared(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The form and the columns that the options of a command declare."""
    given = {word: following for word, following in itertools.pairwise(words) if word.startswith("--")}
    columns = [given.pop(option, column) for option, column in OPTIONS.items()]
    return {option.removeprefix("--"): value for option, value in given.items()}, columns


@pytest.mark.parametrize(("name", "content", "options"), HINTS.values(), ids=HINTS.keys())
def test_what_a_message_says_works_when_it_is_pasted(tmp_path: Path, name: str, content: bytes, options: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(path, **declared(options.split())[0])
    fix = refused.value.fix.rstrip(".")
    form, columns = declared(shlex.split(fix) if "--" in fix else [])
    if found := re.search(r": ((mv|xz|gzip|tar|python3) .*)", fix):
        before = set(tmp_path.iterdir())
        tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["bash", "-c", found[1]], check=True, env={"PATH": tools}, cwd=tmp_path)
        (path,) = set(tmp_path.iterdir()) - before
    table = ingest.read(Source(uri=str(path), **form), RULES, columns)
    assert len(table.rows) == 30
    assert set(table.rows[columns[1]]) == {"good", "bad"}


FOREIGN = {
    "Excel": ("a.xlsx", ["[Content_Types].xml", "xl/workbook.xml"], "an Excel workbook"),
    "OpenDocument": ("a.ods", ["mimetype", "content.xml"], "an OpenDocument spreadsheet"),
    "zip": ("a.csv.zip", ["a.csv"], "a zip archive"),
    "old Excel": ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an Excel workbook"),
    "zstd": ("a.csv.zst", b"\x28\xb5\x2f\xfd" + bytes(50), "zstd"),
    "bzip2": ("a.csv.bz2", b"BZh91AY&SY" + bytes(50), "bzip2"),
    "PDF": ("a.pdf", b"%PDF-1.7\n" + bytes(50), "a PDF"),
    "SQLite": ("a.db", b"SQLite format 3\x00" + bytes(50), "an SQLite database"),
    "Arrow": ("a.feather", b"ARROW1\0\0" + bytes(50), "an Arrow file"),
    "Excel in gzip": (
        "a.xlsx.gz",
        gzip.compress(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)),
        "an Excel workbook",
    ),
    "Excel as JSON": ("a.jsonl", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an Excel workbook"),
}


@pytest.mark.parametrize(("name", "content", "what"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_table_is_called_by_its_name(
    tmp_path: Path, name: str, content: bytes | list[str], what: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for each in content:
                file.writestr(each, "application/vnd.oasis.opendocument.spreadsheet" if each == "mimetype" else "x")
    with pytest.raises(DataError, match=f"{name}: this is {what}"):
        read(tmp_path / name)


PATHS = [
    "a b.csv",
    "a::b.csv",
    "[x].csv",
    "*.csv",
    "?.csv",
    "a%20b.csv",
    "#1.csv",
    "~a.csv",
    "'\".csv",
    "ü.csv",
    "-.csv",
]
PATHS += ["d:e.csv", "$HOME.csv", "simplecache::x.csv", "{a,b}.csv", "a\\b.csv", "folder[0-9]/*.csv"]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(GOOD)
    (path.parent / "x.csv").write_bytes(b"another")
    monkeypatch.chdir(tmp_path)
    for uri in (name, str(path), f"file://{path}", path.as_uri()):
        assert pairs(ingest.read(Source(uri=uri), RULES, ASKED)) == ROWS
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pairs(ingest.read(Source(uri=f"~/{name}"), RULES, ASKED)) == ROWS


def test_a_path_that_is_none_is_named(tmp_path: Path) -> None:
    for uri in ("a\0b.csv", "x" * 300, str(tmp_path / "*.csv"), "~nobody/a.csv", "file:///no/a.csv"):
        with pytest.raises(ConfigError, match=r"does not exist|is no path|is not readable"):
            ingest.read(Source(uri=uri), RULES, ASKED)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content[len(content) // 2 :])


def replace(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def rewrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


def truncate(path: Path, content: bytes) -> None:
    os.truncate(path, len(content) // 3)


def restore_time(path: Path, content: bytes) -> None:
    found = path.stat()
    rewrite(path, content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


BIG = [(f"text number {n} " + "words " * 100, ("good", "bad")[n % 2]) for n in range(3_000)]
OTHER = [(text.replace("text", "next"), label) for text, label in BIG]


def formed(name: str, rows: list[tuple[str, str]]) -> bytes:
    if name.endswith(".parquet"):
        return of_pandas(pd.DataFrame(rows, columns=["text", "label"]), row_group_size=500)
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows).encode()
    return gzip.compress(of_csv(rows), 1) if name.endswith(".gz") else of_csv(rows)


@pytest.mark.parametrize("change", [append, replace, rewrite, truncate, restore_time])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet", "a.tsv"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, name: str, change: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / name
    path.write_bytes(formed(name, BIG))
    source = Source(uri=str(path), delimiter="tab" if name == "a.tsv" else ",")
    chunks = ingest.stream(source, RULES, ["text" if name != "a.tsv" else "text,label"], rows_per_chunk=500)
    assert len(next(chunks)) == 500
    change(path, formed(name, OTHER))
    with pytest.raises(ConflictError, match=f"{path} changed while it was read; nothing was published"):
        for _ in chunks:
            pass


def test_a_file_that_became_another_one_since_it_was_looked_at_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(GOOD)
    before = ingest.digest(Source(uri=str(path)), RULES)
    path.write_bytes(ACCENTS)
    with pytest.raises(ConflictError, match="changed"):
        list(ingest.stream(Source(uri=str(path)), RULES, ASKED, rows_per_chunk=10, sha256=before))


@contextmanager
def writer(path: Path) -> Iterator[None]:
    """Somebody who writes one row after the other."""
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.001):
            with path.open("ab") as file:
                file.write(b"one more,good\n")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_no_dataset_is_made_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(of_csv(BIG))
    request = dataset.plan(
        settings.load("dev", home=tmp_path / "state"), Source(uri=str(path)), data_name="a", data_version="1"
    )
    with writer(path), pytest.raises(ConflictError, match="changed while it was read"):
        dataset.create(request)
    assert not (tmp_path / "state").exists()
    path.write_bytes(GOOD)
    dataset.create(request)
    made = dataset.load(request.data_root, "a", "1")
    assert made.source_sha256 == ingest.digest(request.source, RULES)


@contextmanager
def served(contents: list[bytes]) -> Iterator[tuple[str, list[str]]]:
    """A web server whose page is another one each time, until only the last one is left."""
    asked: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = contents[0] if len(contents) == 1 else contents.pop(0)
            self.send_response(200 if content else 500)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def test_a_url_is_fetched_once_and_what_was_fetched_is_digested() -> None:
    rules = DataRules(allowed_schemes=("http",))
    with served([GOOD, ACCENTS]) as (address, asked):
        source = Source(uri=f"{address}/a*[x].csv?sig=secret")
        table = ingest.read(source, rules, ASKED)
        assert (pairs(table), len(asked)) == (ROWS, 1)
        with pytest.raises(ConflictError, match=f"{re.escape(address)}.* changed") as refused:
            list(ingest.stream(source, rules, ASKED, rows_per_chunk=10, sha256=table.sha256))
        assert "secret" not in str(refused.value)
    with served([of_arrow()]) as (address, _):
        assert pairs(ingest.read(Source(uri=f"{address}/a.parquet"), rules, ASKED)) == ROWS


@contextmanager
def pipe(content: bytes) -> Iterator[str]:
    """The path of a pipe, such as a shell makes for `<(…)`."""
    out, into = os.pipe()

    def write() -> None:
        with os.fdopen(into, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield f"/dev/fd/{out}"
    finally:
        thread.join()
        os.close(out)


def test_of_a_url_that_cannot_be_fetched_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while somebody still holds the error."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(TransientError, match=r"a\.csv cannot be reached: ") as met,
        opening.opened(Source(uri=f"http://127.0.0.1:{free_port()}/a.csv"), DataRules(allowed_schemes=("http",))),
    ):
        pass
    assert met.value.__traceback__
    assert tree(tmp_path) == {}


def test_a_pipe_is_kept_while_it_is_needed(tmp_path: Path) -> None:
    with pipe(of_csv(BIG)) as path, piped.kept(path, tmp_path / "state") as kept:
        source = Source(uri=kept)
        assert (source.name, source.public_uri) == (path, path)
        assert pairs(ingest.read(source, RULES, ASKED)) == BIG
        assert pairs(ingest.read(source, RULES, ASKED)) == BIG
        assert Path(kept).relative_to(tmp_path / "state").parts[0].startswith(".tmp-")
        assert (tmp_path / "state" / Path(kept).relative_to(tmp_path / "state").parts[0]).stat().st_mode & 0o077 == 0
    assert not (tmp_path / "state").exists()
    os.mkfifo(tmp_path / "a.jsonl")
    thread = threading.Thread(target=lambda: (tmp_path / "a.jsonl").write_bytes(of_json()))
    thread.start()
    with piped.kept(str(tmp_path / "a.jsonl"), tmp_path / "state") as kept:
        assert pairs(ingest.read(Source(uri=kept), RULES, ASKED)) == ROWS
    thread.join()


def test_a_file_is_not_copied_and_a_device_has_no_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    for uri in (str(tmp_path / "a.csv"), "http://host/a.csv", str(tmp_path / "none.csv"), "a\0b"):
        with piped.kept(uri, tmp_path / "state") as kept:
            assert kept == uri
    with pytest.raises(ConfigError, match="/dev/zero is a device"), piped.kept("/dev/zero", tmp_path):
        pass
    with pipe(GOOD) as path, pytest.raises(ConfigError, match=f"{path} is a pipe or a device"):
        ingest.read(Source(uri=path), RULES, ASKED)  # who reads a table more than once cannot read a pipe
    with pipe(GOOD) as path, Path(path).open("rb") as file:
        file.read()


def test_a_command_that_is_given_a_pipe_calls_it_by_its_name_and_leaves_nothing(tmp_path: Path) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m cli.main data create --data-name a --data-version 1"
    script = f"{command} --source <(printf 'text,label\\na,b\\nc\\n')"
    variables = os.environ | {"MLOPS_HOME": str(tmp_path / "state"), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert re.match(r"Error: /dev/fd/\d+, row 2, line 3: 1 fields instead of 2", ended.stderr)
    assert tree(tmp_path) == {}


def test_small_tables_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, said in {
        b"text,label\n": "no data rows",
        b"text\na\n": "no column 'label'",
        b"text,label\na,b\n": "1 data rows are fewer than 20",
        b"\xef\xbb\xbf": "the file is empty",
        b"\n": "the file is empty",
        b"text,text,label,label\na,b,c,d\n": "columns 'text', 'label' stands twice",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            made(tmp_path, "a.csv", content)
