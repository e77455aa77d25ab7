"""A cleaning step of a team's own, `package.module:function`: the table as it was read to the table as it should be.

It is called once, when a dataset version is made, with a DataFrame of texts by row number, and gives one with the same
row numbers or some of them. What must happen to the rows that a model scores belongs into its pipeline.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from lifecycle.core import own_code
from lifecycle.core.errors import ConfigError, DataError
from lifecycle.data.quarantine import CLEANED_AWAY
from lifecycle.problems.contract import DROP, Before, Canonical
from lifecycle.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from lifecycle.data.manifest import CreateDataRequest

CORRECT = "Correct the cleaning step."


class Cleaned(NamedTuple):
    """What a step has left, and the rows that it has taken out, under the columns that it has left."""

    rows: "pd.DataFrame"
    away: "pd.DataFrame"


def planned(config: Settings, path: str | None) -> dict[str, Any]:
    """What a request says of its cleaning step besides the path.

    Raises:
        ConfigError: Its code is not trusted, or not there.
    """
    if path is None:
        return {}
    own_code.require_trusted(path, config.trusted_modules)
    return {"clean_code": own_code.digest(path), "trusted_modules": config.trusted_modules}


def cleaned(rows: "pd.DataFrame", request: "CreateDataRequest") -> Cleaned:
    """What the cleaning step of a request makes of rows; without one they stay as they are.

    Raises:
        ConfigError: Its code is not trusted, is not what it was, or gives no such table.
        DataError: It fails on these rows, or leaves too few of them.
    """
    path = request.clean
    if path is None:
        return Cleaned(rows, rows[:0])
    own_code.require_trusted(path, request.trusted_modules)
    code = own_code.sources(path)
    if own_code.digest_of(code) != request.clean_code:
        raise ConfigError(f"{path} has changed since the dataset version was planned.", "Give the command again.")
    step = own_code.attribute(path, code)
    with own_code.running(path, DataError, CORRECT):
        left = step(rows.copy())
    _require_table(path, left, rows)
    for column in {request.target, *filter(None, (request.key, request.group_column, request.time_column))}:
        if column not in left:
            raise DataError(f"{path} leaves no column {column!r}.", CORRECT)
    if len(left) < request.rules.min_rows:
        what = f"{path} leaves {len(left)} of {len(rows)} rows: fewer than {request.rules.min_rows} (data.min_rows)."
        raise DataError(what, CORRECT)
    left = left.sort_index().rename_axis(rows.index.name).apply(_texts)
    return Cleaned(left, rows.drop(index=left.index).reindex(columns=left.columns, fill_value=""))


def with_what_is_away(
    canonical: Canonical, away: "pd.DataFrame", request: "CreateDataRequest", before: Before
) -> Canonical:
    """The canonical form of a cleaned table with the rows that were taken out, as rows that cannot be used."""
    if away.empty:
        return canonical
    import pandas as pd

    inputs = {column.name for column in canonical.inputs}
    others = {name: DROP for name in away if name not in inputs | {request.target}}
    asked = request.model_copy(update={"columns": others | request.columns})
    apart = request.table.canonical(away, asked, before._replace(inputs=canonical.inputs))
    frame = pd.concat([canonical.frame, apart.frame[canonical.frame.columns]]).sort_index()
    unusable = canonical.unusable | dict.fromkeys(away.index, CLEANED_AWAY)
    return canonical._replace(frame=frame, unusable=unusable)


def _require_table(path: str, left: Any, rows: "pd.DataFrame") -> None:
    import pandas as pd

    if not isinstance(left, pd.DataFrame):
        raise ConfigError(f"{path} gave a {type(left).__name__}, no DataFrame.", CORRECT)
    if left.index.has_duplicates or not left.index.isin(rows.index).all():
        what = f"{path} gave rows that it was not given: its index must be that of the table, or a part of it."
        raise ConfigError(what, f"{CORRECT} Keep the index: no reset_index, no concat of new rows.")
    if left.columns.has_duplicates or not all(isinstance(name, str) for name in left.columns):
        raise ConfigError(f"{path} gave columns whose names are no texts, or stand twice.", CORRECT)


def _texts(cells: "pd.Series[Any]") -> "pd.Series[str]":
    """Cells as the readers give them: texts, empty where something is missing."""
    import pandas as pd

    from lifecycle.problems.tabular.model import spelled

    words = spelled(cells)
    texts = [cell if isinstance(cell, str) else word or "" for cell, word in zip(cells, words, strict=True)]
    return pd.Series(texts, index=cells.index, dtype="str")
