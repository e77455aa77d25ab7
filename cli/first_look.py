"""The first rows of a table that nobody has described yet, and how it is written as far as that shows."""

from typing import TYPE_CHECKING, NamedTuple

from lifecycle import settings
from lifecycle.core.errors import DataError
from lifecycle.core.names import Environment
from lifecycle.data import ingest, piped
from lifecycle.data.readers.header import OtherDelimiterError
from lifecycle.data.source import Source

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from lifecycle.data.ingest import Columns

MOST_ROWS = 20_000
"""Rows that are looked at."""
WRITTEN = {"csv", "jsonl"}
"""Formats whose bytes are a text, in an encoding."""


class Look(NamedTuple):
    """The first rows, every cell a text, and the table as it has to be declared."""

    rows: "pd.DataFrame"
    source: Source


def look(source: Source, *, delimiter_is_open: bool, dropped: "Collection[str]" = ()) -> Look:
    """Read the first rows; the delimiter is taken from the header where nobody declared one.

    An encoding is not guessed: another one would read the same bytes as other letters.

    Raises:
        DataError: A column that is not dropped holds bytes of another encoding; the message names a place.
    """
    from lifecycle.problems.tabular.proposal import BYTES

    config = settings.load(Environment.DEV)
    with piped.kept(source.uri, config.state) as path:
        here = source.model_copy(update={"uri": path})
        try:
            rows = _rows(here, config)
        except OtherDelimiterError as error:
            if not delimiter_is_open:
                raise
            here = here.model_copy(update={"delimiter": error.delimiter})
            rows = _rows(here, config)
        if source.kind in WRITTEN and (held := [str(name) for name in rows if rows[name].str.contains(BYTES).any()]):
            _rows(here, config, [name for name in held if name not in dropped])
    return Look(rows, source.model_copy(update={"delimiter": here.delimiter}))


def require_rows(rows: "pd.DataFrame", name: str) -> None:
    """Refuse a table of which no dataset version could be made."""
    least = settings.load(Environment.DEV).data.min_rows
    if len(rows) < least:
        what = f"{name}: {len(rows)} data rows are fewer than {least} (data.min_rows)."
        raise DataError(what, "Check that the export finished, or lower data.min_rows.")


def _rows(source: Source, config: settings.Settings, columns: "Columns" = ()) -> "pd.DataFrame":
    return ingest.read(source, config.data, columns, most=MOST_ROWS).rows
