"""Which row goes to which side: the one place that knows about strata, near twins, groups, times and the parent."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.names import Side
from lifecycle.data import shared_texts, split, twins, units
from lifecycle.data.columns import ByColumn
from lifecycle.data.manifest import CreateDataRequest, Manifest, NearDuplicates, in_order
from lifecycle.data.shared_texts import BySharedTexts
from lifecycle.data.units import Unit
from lifecycle.problems.contract import TEXT, TEXT_COLUMNS, Columns
from lifecycle.problems.text_classification.identity import normalised

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

By = ByColumn | BySharedTexts
"""What decides on the side of a row beside its identity and its class."""


class Earlier(NamedTuple):
    """What the parent version settled: its rows, and at which moments its sides begin."""

    rows: "pd.DataFrame | None" = None
    starts: Mapping[str, str] = {}

    def of(self, column: str) -> dict[str, str]:
        """The side of each value of a column."""
        if self.rows is None or column not in self.rows:
            return {}
        return dict(zip(self.rows[column], self.rows["split"], strict=True))

    @property
    def by_identity(self) -> dict[str, str]:
        """The side of each row by its identity."""
        if self.rows is None:
            return {}
        return dict(zip(identities(self.rows["key"]).tolist(), self.rows["split"].tolist(), strict=True))


def groups_of(manifest: Manifest, rows: "pd.DataFrame") -> "pd.Series[str] | None":
    """What rows of a version have in common and is on one split alone: a cell, or texts; None where it is not so."""
    if group := manifest.parameters.get("group_column"):
        return rows[f"source_{group}"].str.strip()
    if manifest.parameters.get("group_texts"):
        return shared_texts.together(rows, tuple(column.stored for column in manifest.inputs))
    return None


def identities(keys: "pd.Series[str]") -> "pd.Series[str]":
    """What rows are known by in all versions: of their keys the first sixteen digits."""
    return keys.str[:16]


class Division(NamedTuple):
    """The rows with their side, what was found of near twins, and at which moments later sides begin."""

    rows: "pd.DataFrame"
    near_duplicates: NearDuplicates | None
    starts: dict[str, str]


def require_one_way(request: CreateDataRequest, parent: Manifest | None) -> None:
    """Refuse to divide by another column than the parent: its promise would end without a word.

    Raises:
        ConfigError: The parent was divided by another column, or by none.
    """
    if not parent:
        return
    for option, before in (("problem", parent.problem), ("key", parent.parameters.get("key"))):
        if before != getattr(request, option):
            what = f"{request.data_name} {parent.data_version} was made with {option} {before}, "
            raise ConfigError(f"{what}and its rows keep their splits.", "Say the same, or choose another --data-name.")
    for option in ("group_column", "time_column", "group_texts"):
        before, flag = parent.parameters.get(option), f"--{option.replace('_', '-')}"
        if before != (getattr(request, option) or None):
            how = f"with {flag}{'' if before is True else f' {before}'}" if before else f"without {flag}"
            what = f"{request.data_name} {parent.data_version} was made {how}, and its texts keep their splits."
            raise ConfigError(what, "Say the same, or choose another --data-name.")


def by_content(request: CreateDataRequest, earlier: Earlier) -> By | None:
    """How a column of the table or what pairs share decides, if one does."""
    if request.group_texts:
        names = request.table.names(request, ())
        texts = tuple(names[column] for column, kind in request.columns.items() if kind == TEXT)
        known = {normalised(text): side for name in texts for text, side in earlier.of(name).items()}
        return BySharedTexts(texts, request.source.name, request.fractions, known)
    if not (column := request.group_column or request.time_column):
        return None
    starts = in_order(earlier.starts)
    by = ByColumn(column, bool(request.time_column), request.source.name, request.fractions, starts=starts)
    groups = {str(group).strip(): side for group, side in earlier.of(by.cells).items()}
    return by._replace(inherited=earlier.by_identity, groups={} if by.is_time else groups)


def divide(
    rows: "pd.DataFrame",
    request: CreateDataRequest,
    by: By | None,
    earlier: Earlier,
    inputs: Columns = TEXT_COLUMNS,
) -> Division:
    """Give each row its side, and look for near twins among texts.

    Raises:
        DataError: A side stays empty, or a class has no row in train.
    """
    strata, starts, texts = _strata(rows, request, inputs), dict[str, str](), _texts(inputs)
    found = None if request.rules.near_duplicates == "off" or not texts else _twins(rows, earlier, texts)
    if by:
        sides, starts = by.divide(rows, strata)
    elif not texts:
        sides = _by_identity(identities(rows["key"]), strata, request.fractions, earlier.by_identity)
        _require_every_side(rows, sides, request)
    else:
        together = found if request.keeps_twins else None
        sides = _by_quota(rows["key"], strata, request.fractions, earlier.of("key"), together or ())
    near = None if found is None else _near(found, dict(zip(rows["key"], sides, strict=True)), request)
    divided = rows.assign(split=sides)
    divided = divided[in_file(divided.columns, request)]
    if request.table.has_classes:
        _require_classes_in_train(divided, by)
    _tell(divided, near, request)
    return Division(divided, near, starts)


def in_file(columns: Iterable[str], request: CreateDataRequest) -> list[str]:
    """Columns in the order in which the file of a version's rows has them."""
    names = [*columns]
    first = [name for name in ("row", "key", "text", request.table.target, "split") if name in names]
    return first + [name for name in names if name not in first]


def deciding(frame: "pd.DataFrame", request: CreateDataRequest, by: By | None, inputs: Columns) -> list[str]:
    """The columns of a canonical frame that the split and the description of a version depend on, in their order."""
    names = request.table.names(request, inputs)
    needed = {request.table.target, *(names.get(column, f"source_{column}") for column in request.strata)}
    needed |= {by.cells} if isinstance(by, ByColumn) else set()
    looks_at_texts = isinstance(by, BySharedTexts) or request.rules.near_duplicates != "off"
    needed |= {column.stored for column in inputs if looks_at_texts or not column.is_text}
    return [name for name in frame if name in needed]


def _strata(rows: "pd.DataFrame", request: CreateDataRequest, inputs: Columns) -> "pd.Series[str]":
    """A name for what the cells of the chosen columns are, written once for equal ones."""
    import pandas as pd

    names = request.table.names(request, inputs)
    chosen = [names.get(column, f"source_{column}") for column in request.strata]
    if not chosen:
        return pd.Series("", index=rows.index, dtype="str")
    cells = rows[chosen].astype("str")
    which = cells.groupby(chosen, sort=False, dropna=False).ngroup()
    written = [json.dumps(list(row)) for row in cells[~which.duplicated()].itertuples(index=False, name=None)]
    return which.map(dict(enumerate(written)))


def _by_identity(
    of_rows: "pd.Series[str]", strata: "pd.Series[str]", fractions: Mapping[Side, float], inherited: Mapping[str, str]
) -> "pd.Series[str]":
    """Sides by `split.assign`, after rows of one identity, which may be of several strata, were placed as one."""
    known = of_rows.map(dict(inherited))
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for (stratum, side), count in Counter(
        zip(strata[known.notna()].tolist(), known.dropna().tolist(), strict=True)
    ).items():
        taken[stratum][side] = count
    shared = of_rows[known.isna() & of_rows.duplicated(keep=False)]
    whole: dict[str, Counter[str]] = defaultdict(Counter)
    for (identity, stratum), count in Counter(zip(shared.tolist(), strata[shared.index].tolist(), strict=True)).items():
        whole[identity][stratum] = count
    room = units.rooms(Counter(strata.tolist()), fractions, taken)
    placed = units.place((Unit(*unit) for unit in whole.items()), room, fractions)
    return split.assign(of_rows, strata, fractions, {**inherited, **placed})


def _texts(inputs: Columns) -> list[str]:
    """The columns of a dataset by which rows are near twins; a table has none."""
    return [column.stored for column in inputs if column.is_text]


def _twins(rows: "pd.DataFrame", earlier: Earlier, texts: Sequence[str]) -> list[twins.Pair]:
    """The near twins among the rows, and of the rows among the parent's, also of those that are gone."""
    before = {} if earlier.rows is None else _by_key(earlier.rows, texts)
    return twins.pairs(before | _by_key(rows, texts))


def _by_key(rows: "pd.DataFrame", texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return dict(zip(rows["key"], zip(*(rows[name] for name in texts), strict=True), strict=True))


def _by_quota(
    keys: "pd.Series[str]",
    strata: "pd.Series[str]",
    fractions: Mapping[Side, float],
    inherited: Mapping[str, str],
    found: Sequence[twins.Pair],
) -> "pd.Series[str]":
    """Sides by `split.assign`, near twins first; where they would leave a stratum without a side, they are parted."""
    if not found:
        return split.assign(keys, strata, fractions, inherited)
    stratum_of = dict(zip(keys, strata, strict=True))
    followers, groups = twins.linked(found, len(keys), inherited)
    while True:
        known = {**inherited, **followers}
        sides = split.assign(keys, strata, fractions, known | _placed(groups, stratum_of, fractions, known))
        lacking = _lacking(sides, strata, fractions)
        fewer = {key: side for key, side in followers.items() if stratum_of[key] not in lacking}
        kept = [group for group in groups if lacking.isdisjoint(stratum_of[key] for key in group)]
        if len(fewer) == len(followers) and len(kept) == len(groups):
            return sides
        followers, groups = fewer, kept


def _placed(
    groups: Sequence[Sequence[str]],
    stratum_of: Mapping[str, str],
    fractions: Mapping[Side, float],
    known: Mapping[str, str],
) -> dict[str, str]:
    """The side of each text of a group whose side is free, by key."""
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for key, stratum in stratum_of.items():
        if key in known:
            taken[stratum][known[key]] += 1
    room = units.rooms(Counter(stratum_of.values()), fractions, taken)
    named = {group[0]: group for group in groups}
    whole = (Unit(name, Counter(stratum_of[key] for key in group)) for name, group in named.items())
    chosen = units.place(whole, room, fractions)
    return {key: chosen[name] for name, group in named.items() for key in group}


def _lacking(sides: "pd.Series[str]", strata: "pd.Series[str]", fractions: Mapping[Side, float]) -> set[str]:
    """The strata that are not on every side on which their quota has a row."""
    there = set(zip(strata, sides, strict=True))
    room = units.rooms(Counter(strata), fractions, {})
    return {
        stratum
        for stratum, quotas in room.items()
        if any(n and (stratum, side) not in there for side, n in quotas.items())
    }


def recounted(near: NearDuplicates | None, rows: "pd.DataFrame", inputs: Columns) -> NearDuplicates | None:
    """The same of a version of which only these rows stay."""
    if near is None:
        return None
    found = twins.pairs(_by_key(rows, _texts(inputs)))
    return near.model_copy(update=_counts(found, dict(zip(rows["key"], rows["split"], strict=True)), near.beside_train))


def _near(found: Sequence[twins.Pair], sides: Mapping[str, str], request: CreateDataRequest) -> NearDuplicates:
    later = [str(side) for side in request.fractions if side is not Side.TRAIN]
    return NearDuplicates(
        together=request.keeps_twins,
        similarity=twins.SIMILARITY,
        pairs=sum(pair.one in sides or pair.other in sides for pair in found),
        **_counts(found, sides, later),
    )


def _counts(found: Sequence[twins.Pair], sides: Mapping[str, str], later: Iterable[str]) -> dict[str, Any]:
    here = [pair for pair in found if pair.one in sides and pair.other in sides]
    beside = twins.beside(here, sides, Side.TRAIN)
    return {
        "rows": len({key for pair in here for key in pair[:2]}),
        "beside_train": {each: beside[each] for each in later},
    }


def _require_every_side(rows: "pd.DataFrame", sides: "pd.Series[str]", request: CreateDataRequest) -> None:
    there = {*sides.unique()}
    if lacking := [str(side) for side in request.fractions if str(side) not in there]:
        what = f"{request.source.name}: no row is left for the split {lacking[0]}, of {len(rows):,} in all, "
        what += f"which have {identities(rows['key']).nunique():,} identities."
        raise DataError(what, "Add rows, raise the sizes, declare --key, or leave the holdout out: --no-holdout.")


def _require_classes_in_train(rows: "pd.DataFrame", by: By | None) -> None:
    there, labels = {*rows["label"].unique()}, rows["label"].groupby(rows["split"]).unique()
    missing = {side: there - {*of_side} for side, of_side in labels.items()}
    if lacking := missing.get(str(Side.TRAIN), there):
        hint = f"Its rows are all held out by {by.said}: choose another split." if by else ""
        raise DataError(f"Class {min(lacking)!r} has no row in train.", hint or "Stratify by the label.")
    for side, classes in missing.items():
        if classes:
            logger.warning("Class %r has no row in %s: nothing will be known of it there", min(classes), side)


def _tell(rows: "pd.DataFrame", near: NearDuplicates | None, request: CreateDataRequest) -> None:
    counts = {str(side): int((rows["split"] == side).sum()) for side in request.fractions}
    logger.info("Split %s rows: %s", f"{len(rows):,}", ", ".join(f"{k} {v:,}" for k, v in counts.items()))
    if near and near.rows:
        logger.info("Near duplicates: %s", near.told)
