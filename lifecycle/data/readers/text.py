"""Texts in their declared encoding, and what is said of a file that is in another one, or no text at all."""

import codecs
import io
import re
import shlex
from typing import IO, Any, cast

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.data.opening import BLOCK, GZIP, Content
from lifecycle.data.readers import UNDECODABLE, Block, Problems, Wanted
from lifecycle.data.source import Source

ENCODING = "encoding"

EXCEL = "an Excel workbook", "Save its sheet as CSV (UTF-8) and give that file."
SIGNATURES: dict[bytes, tuple[str, str]] = {
    GZIP: ("gzip", "Name it so: mv {here} {here}.gz"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": EXCEL,  # .xls
    b"PK\x03\x04": ("a zip archive", "Unpack it, and give the file in it: unzip {here}"),
    b"PK\x05\x06": ("an empty zip archive", "Fetch the file again."),
    b"BZh": ("bzip2", "Unpack it: bzip2 -dc < {here} > {plain}"),
    b"\xfd7zXZ\x00": ("xz", "Unpack it: xz -dc < {here} > {plain}"),
    b"\x28\xb5\x2f\xfd": ("zstd", "Unpack it: zstd -dc < {here} > {plain}"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "Unpack it: 7z x {here}"),
    b"PAR1": ("Parquet", "Declare --format parquet."),
    b"ARROW1": ("an Arrow file", "Write it as Parquet."),
    b"ORC": ("ORC", "Write it as Parquet."),
    b"Obj\x01": ("Avro", "Write it as Parquet."),
    b"%PDF-": ("a PDF", "Give a table."),
    b"SQLite format 3\x00": ("an SQLite database", "Export the table as CSV."),
}
IN_ZIP = {
    b"xl/": EXCEL,
    b"[Content_Types].xml": EXCEL,
    b"opendocument.spreadsheet": ("an OpenDocument spreadsheet", EXCEL[1]),
}
TAR, TAR_AT = b"ustar", 257
UNTAR = "a tar archive", "Unpack it, and give the file in it: tar -xf {here}"
GUNZIP = "gzip within gzip", "Unpack it: gzip -dc < {here} > {plain}.gz"
UTF_32 = codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE
UTF_16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
"""Of which the first begins that of UTF-32."""
MOSTLY = 0.8
"""Share of bytes that are zero where each second one is."""


def decoded(source: Source, file: IO[bytes]) -> io.TextIOWrapper:
    """The file as text; a byte that does not decode is half a surrogate pair, where the encoding leaves that to us.

    Raises:
        ConfigError: The encoding is not known.
        DataError: It is no text.
    """
    try:
        encoding = "utf-8-sig" if _codec(source.encoding) == "utf-8" else source.encoding
        errors = "surrogateescape" if _is_ascii_based(encoding) else "strict"
        text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    except (LookupError, ValueError):
        raise ConfigError(f"--encoding {source.encoding!r} is not known to Python.", "Try utf-8 or cp1252.") from None
    _require_text(source, cast(io.BufferedReader, file).peek(512)[:512])
    return text


def lines(content: Content) -> int:
    """How many lines there are: never less than rows."""
    file = content.stream()
    return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def note_undecodable(block: Block, lines: list[int], wanted: Wanted, problems: Problems) -> None:
    """Note the rows of a block in which a cell that is asked for does not decode.

    `lines` says where each row begins, with 0 for those that decode.
    """
    for column in wanted.columns:
        cells = block.listed(column)
        if _is_unicode(cells):
            continue
        for row, line, cell in zip(block.rows, lines, cells, strict=True):
            if line and isinstance(cell, str) and UNDECODABLE.search(cell):
                problems.add(ENCODING, row, f"row {row}, line {line}", line=line)


def undecodable(source: Source, content: Content, line: int = 1) -> tuple[str, str]:
    """What is said of the first byte from a line on that does not decode: its place, and the way out."""
    find = _in_lines if _is_ascii_based(source.encoding) else _in_blocks
    found = find(source.encoding, content.stream(), line)
    return (found or f"line {line}: not {source.encoding}"), _encoding_hint(source, content)


def _in_lines(encoding: str, file: IO[bytes], first: int) -> str:
    offset = 0
    for number, line in enumerate(file, 1):
        if number >= first:
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                return _place(encoding, error, number, offset + error.start)
        offset += len(line)
    return "" if first == 1 else _in_lines(encoding, file, 1)


def _in_blocks(encoding: str, file: IO[bytes], _first: int) -> str:
    decoder, offset, line = codecs.getincrementaldecoder(encoding)(), 0, 1
    while True:
        block, pending = file.read(BLOCK), decoder.getstate()[0]
        try:
            line += decoder.decode(block, final=not block).count("\n")
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "replace").count("\n")
            return _place(encoding, error, line, offset - len(pending) + error.start)
        except UnicodeError as error:  # no byte order mark
            return f"line {line}: not {encoding}: {error}"
        if not block:
            return ""
        offset += len(block)


def _place(encoding: str, error: UnicodeDecodeError, line: int, offset: int) -> str:
    byte = error.object[error.start : error.start + 1].hex()
    return f"line {line}, byte offset {offset} (0x{byte}): not {encoding}: {error.reason}"


def _encoding_hint(source: Source, content: Content) -> str:
    """The encoding that fits the whole file, as far as it can be told from others."""
    for marks, encoding in ((UTF_32, "utf-32"), (UTF_16, "utf-16")):
        if content.head().startswith(marks):
            return f"Declare --encoding {encoding}."
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good, bad, is_cp1252, file = 0, 0, True, content.stream()
    for block in iter(lambda: file.read(BLOCK), b""):
        text = decoder.decode(block)
        bad += len(UNDECODABLE.findall(text))
        good += len(re.findall("[^\x00-\x7f\udc80-\udcff]", text))
        is_cp1252 &= not re.search(rb"[\x81\x8d\x8f\x90\x9d]", block)
    if not bad:
        return "Declare --encoding utf-8."
    if good > bad and _codec(source.encoding) == "utf-8":
        return "All else in the file is UTF-8: correct what is not."
    if not is_cp1252 or _codec(source.encoding) == "cp1252":
        return "Declare the encoding it was written in: --encoding."
    return "Declare the encoding it was written in, for example --encoding cp1252."


def _require_text(source: Source, head: bytes) -> None:
    """Refuse what is no text by how it begins.

    Raises:
        DataError: It is something else, which is named.
        UnicodeError: It is a text in another encoding.
    """
    is_ascii_based = _is_ascii_based(source.encoding)
    if is_ascii_based and head.startswith((*UTF_32, *UTF_16)):
        raise UnicodeError(f"it begins with the byte order mark of UTF-{32 if head.startswith(UTF_32) else 16}")
    if is_ascii_based and (known := _signed(source.name, head)):
        what, fix = known
        here, plain = shlex.quote(source.uri), shlex.quote(_unpacked(source.uri))
        raise DataError(f"{source.name}: this is {what}.", fix.format(here=here, plain=plain))
    if is_ascii_based and (encoding := _by_zeros(head)):
        what = f"{source.name}: every other byte is zero, as in a text in UTF-16 without a byte order mark."
        raise DataError(what, f"Declare --encoding {encoding}.")


def _by_zeros(head: bytes) -> str:
    """The encoding of a text of Latin letters in two bytes each; empty if it is none."""
    halves = {"utf-16-be": head[0::2], "utf-16-le": head[1::2]}
    shares = {name: half.count(0) / max(1, len(half)) for name, half in halves.items()}
    likely = max(shares, key=lambda name: shares[name])
    return likely if shares[likely] > MOSTLY and sum(shares.values()) < 1 + MOSTLY / 2 else ""


def _unpacked(uri: str) -> str:
    """What a packed file is called once it is unpacked: never as it is called now."""
    plain = re.sub(r"\.(bz2|xz|zst)$", "", uri)
    is_told = plain != uri and plain.endswith((".csv", ".tsv", ".jsonl", ".ndjson"))
    return plain if is_told else plain.removesuffix(".gz") + ".csv"


def _signed(name: str, head: bytes) -> tuple[str, str] | None:
    """What a file is by its first bytes, and the way out; None where they are no sign of anything."""
    if head[TAR_AT:].startswith(TAR) or (head.startswith(GZIP) and name.endswith(".tgz")):
        return UNTAR
    if head.startswith(GZIP) and name.endswith(".gz"):  # one layer has been taken off
        return GUNZIP
    found = next((signature for signature in SIGNATURES if head.startswith(signature)), None)
    if found and found.startswith(b"PK"):
        return next((told for part, told in IN_ZIP.items() if part in head), SIGNATURES[found])
    return SIGNATURES[found] if found else None


def _is_ascii_based(encoding: str) -> bool:
    return 'a,"\n'.encode(encoding).endswith(b'a,"\n')


def _codec(encoding: str) -> str:
    return codecs.lookup(encoding).name


def _is_unicode(cells: list[Any]) -> bool:
    """Whether no cell holds half a surrogate pair."""
    try:
        "".join(cell for cell in cells if isinstance(cell, str)).encode()
    except UnicodeEncodeError:
        return False
    return True
