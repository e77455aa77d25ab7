"""Which columns of a table are read, and what is said when one that is asked for is not there."""

import difflib
import logging
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lifecycle.core.errors import DataError
from lifecycle.core.parameters import DELIMITERS
from lifecycle.data.readers import UNDECODABLE, Wanted

logger = logging.getLogger(__name__)

NESTED = "of lists or objects. Make columns of the parts, or write them as strings."
BYTE_ORDER_MARK = "\ufeff"


class OtherDelimiterError(DataError):
    """A header that is one name by the delimiter that was declared, and several by another one."""

    def __init__(self, name: str, header: str, word: str) -> None:
        super().__init__(f"{name}, line 1: there is one column, {header!r:.80}.", f"Declare --delimiter {word}.")
        self.delimiter = DELIMITERS.get(word, word.strip("'"))


def columns(name: str, header: Sequence[str], wanted: Wanted, *, delimiter: str = "") -> dict[str, int]:
    """The columns to read, each with its position.

    Of those that nobody asked for, one without a name (such as the index that pandas writes), one whose name stands
    twice, or whose name cannot be stored, is left out.

    Raises:
        DataError: A column that is asked for is not there, or stands twice; all of them are named.
        OtherDelimiterError: There is one column alone, whose name another delimiter divides.
    """
    if not wanted.columns and len(header) == 1 and delimiter and (word := _delimiter(header[0], [], delimiter)):
        raise OtherDelimiterError(name, header[0], word)
    counts = Counter(header)
    if twice := [column for column in wanted.columns if counts[column] > 1]:
        raise DataError(f"{name}, line 1: {_listed('column', twice)} stands twice.", "Rename one of them.")
    require(name, header, wanted, delimiter=delimiter)
    if wanted.others:
        _tell_unreadable(name, counts)
    return {
        column: position
        for position, column in enumerate(header)
        if column in wanted.columns or (wanted.others and column.strip() and _is_readable(column, counts))
    }


def _tell_unreadable(name: str, counts: Mapping[str, int]) -> None:
    """Say which columns are left out for their names; those of another encoding are not to be renamed."""
    lost = [column for column in counts if column.strip() and not _is_readable(column, counts)]
    bytes_in = [column for column in lost if UNDECODABLE.search(column)]
    if bytes_in:
        tell_left_out(name, bytes_in, "whose name is of another encoding. Declare it, for example --encoding cp1252.")
    if others := [column for column in lost if column not in bytes_in]:
        tell_left_out(name, others, "whose name appears twice or cannot be stored. Rename it.")


def tell_left_out(name: str, columns: Sequence[str], why: str) -> None:
    """Say which columns that nobody asked for are not read."""
    logger.warning("Not read from %s: %s, %s", name, _listed("column", [column[:60] for column in columns[:20]]), why)


def _is_readable(column: str, counts: Mapping[str, int]) -> bool:
    return counts[column] == 1 and is_storable(column)


def require(name: str, header: Iterable[str], wanted: Wanted, *, delimiter: str = "") -> None:
    """Refuse a table that lacks a column that is asked for.

    Raises:
        DataError: It does; what comes nearest is named, with the option that chooses it.
    """
    there = list(header)
    if missing := [column for column in wanted.columns if column not in there]:
        names = ", ".join(repr(column)[:40] for column in there[:20]) + (", …" if len(there) > 20 else "")
        what = f"{name}, line 1: no {_listed('column', missing)}; there are {names}."
        raise DataError(what, _hint(there, missing, wanted, delimiter))


def is_storable(column: str) -> bool:
    """Whether it is a name that can stand in a file."""
    return column.isprintable()


def _listed(noun: str, columns: Sequence[str]) -> str:
    return f"{noun}{'s' if len(columns) > 1 else ''} {', '.join(map(repr, columns))}"


def _hint(there: list[str], missing: list[str], wanted: Wanted, delimiter: str) -> str:
    first = there[0].lstrip().lower() if there else ""
    if first.startswith(("<!doctype", "<html")):
        return "This is a web page, not a table: was the download an error page?"
    if first.startswith(("{", "[")):
        return "This looks like JSON Lines: declare --format jsonl."
    if "\0" in first:
        return f"Declare --encoding {'utf-16-be' if first.startswith(chr(0)) else 'utf-16-le'}."
    if delimiter and (found := _delimiter(delimiter.join(there), missing, delimiter)):
        return f"Declare --delimiter {found}."
    nearest = {column: _nearest(column, there, wanted) for column in missing}
    if any(nearest.values()):
        guesses = ", ".join(repr(close) for close in nearest.values() if close)
        given = " ".join(_declared((wanted.columns[c], shlex.quote(n)) for c, n in nearest.items() if n))
        return f"Did you mean {guesses}? Declare {given}." if given else f"Did you mean {guesses}?"
    flags = " and ".join(_declared((wanted.columns[column], "") for column in missing))
    return f"Does the file have a header row? Name the columns with {flags or '--text-column and --label-column'}."


def _declared(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Options, each with the name of a column; those for the inputs of a model are entries of one option."""
    options = [(option, name) for option, name in pairs if option]
    entries = [option.replace("{}", name or "COLUMN") for option, name in options if "{}" in option]
    plain = [f"{option} {name}".rstrip() for option, name in options if "{}" not in option]
    return [*plain, *([f'--columns "{{{", ".join(entries)}}}"'] if entries else [])]


def _delimiter(line: str, missing: list[str], declared: str) -> str:
    """The word for the delimiter by which the first line holds more of the missing columns; empty if there is none."""
    by_sign = {}
    for sign in (*"\t;|,", *"^~"):
        names = [part.strip(' "').casefold() for part in line.split(sign)]
        by_sign[sign] = sum(column.casefold() in names for column in missing), len(names)
    sign = max(by_sign, key=lambda sign: by_sign[sign])
    found, parts = by_sign[sign]
    if sign == declared or parts < 2 or not (found or declared not in line):
        return ""
    return next((word for word, meant in DELIMITERS.items() if meant == sign), shlex.quote(sign))


def _nearest(column: str, there: list[str], wanted: Wanted) -> str | None:
    free = {_plain(name): name for name in there if name.strip() and name not in wanted.columns}
    plain = _plain(column)
    close = [plain] if plain in free else difflib.get_close_matches(plain, free, 1, 0.75)
    return free[close[0]] if close else None


def _plain(name: str) -> str:
    """A name without what is hard to see: blanks around it, case, byte order marks, how its letters are composed."""
    visible = "".join(sign for sign in unicodedata.normalize("NFKC", name) if sign.isprintable())
    return visible.strip(" \t\"'" + BYTE_ORDER_MARK).casefold()
