"""A table as a dataset version takes it: without what was erased, cleaned, and with what cannot be used known."""

from typing import TYPE_CHECKING

from lifecycle.data import cells, cleaning, ingest, tombstones
from lifecycle.data.division import By
from lifecycle.data.manifest import CreateDataRequest, Manifest
from lifecycle.data.quarantine import check_budget
from lifecycle.problems.contract import TEXT, Before, Canonical

if TYPE_CHECKING:
    import pandas as pd


def canonical(table: ingest.Table, request: CreateDataRequest, parent: Manifest | None, by: By | None) -> Canonical:
    """The canonical form of a table, with every row that cannot be used: also as a group, as a time, or by a character.

    It has the rows that a cleaning step has taken out, too. A row may be one of those that were erased only after it
    was cleaned.

    Raises:
        DataError: Too many rows cannot be used.
    """
    table = _without_erased(table, request)
    rows, away = cleaning.cleaned(table.rows, request)
    if request.clean:
        kept = {row: reason for row, reason in table.unusable.items() if row not in away.index}
        table = _without_erased(table._replace(rows=rows, unusable=kept), request)
    before = parent.before if parent else Before()
    form = cleaning.with_what_is_away(request.table.canonical(table.rows, request, before), away, request, before)
    table, form = _without_erased_keys(table, form, request)
    unusable = {**form.unusable, **table.unusable}
    unfit, said = by.unfit(form.frame.drop(index=[*unusable])) if by else ({}, "")
    odd = {row for column in form.inputs for row in _odd(form.frame, column.stored)}
    unusable = {**unfit, **dict.fromkeys(odd, cells.UNUSABLE_CHARACTER), **unusable}
    said = table.said or form.said or said
    check_budget(unusable, len(form.frame), request.source.name, request.rules, said)
    return form._replace(unusable=unusable, said=said)


def _odd(frame: "pd.DataFrame", column: str) -> "pd.Index[int]":
    """The rows of which a cell holds a character that cannot be used; each different cell is looked at once."""
    if frame[column].dtype != object:
        return frame.index[:0]
    odd = [cell for cell in frame[column].dropna().unique() if cells.UNUSABLE.search(cell)]
    return frame.index[frame[column].isin(odd)] if odd else frame.index[:0]


def _without_erased(table: ingest.Table, request: CreateDataRequest) -> ingest.Table:
    """A table without the rows that were erased, here or in an earlier version; of an unusable cell nothing is said."""
    names = request.table.names(request, ())
    texts = [name for name, stored in names.items() if TEXT in {stored, request.columns.get(name)}]
    erased = tombstones.load(request.data_root).among(table.rows, texts)
    if not erased.any():
        return table
    rows = table.rows[~erased]
    return table._replace(
        rows=rows, unusable={row: reason for row, reason in table.unusable.items() if row in rows.index}, said=""
    )


def _without_erased_keys(
    table: ingest.Table, canonical: Canonical, request: CreateDataRequest
) -> tuple[ingest.Table, Canonical]:
    """Both without the rows that were erased by their key alone, which only the canonical form tells."""
    graves = tombstones.load(request.data_root)
    if tombstones.KEY not in graves.columns:
        return table, canonical
    keys = request.table.keys(canonical.frame, canonical.inputs, request)
    frame = canonical.frame[~keys.map(lambda key: graves.hold(tombstones.KEY, key)).astype(bool)]
    gone = {*canonical.frame.index} - {*frame.index}
    usable = [{row: why for row, why in of.unusable.items() if row not in gone} for of in (table, canonical)]
    said = ("", "") if gone else (table.said, canonical.said)
    table = table._replace(unusable=usable[0], said=said[0])
    return table, canonical._replace(frame=frame, unusable=usable[1], said=said[1])
