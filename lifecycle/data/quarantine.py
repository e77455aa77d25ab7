"""Which rows are set aside before a split, each with its reason, and whether what is left can be split."""

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from lifecycle.core import class_names
from lifecycle.core.errors import DataError
from lifecycle.data.columns import OTHER_SIDE
from lifecycle.data.keys import repeated
from lifecycle.settings.rules import DataRules

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

DUPLICATE, CONFLICT, RARE = "duplicate", "conflicting_label", "rare_class"
CLEANED_AWAY = "cleaned_away"
"""Taken out on purpose, by a cleaning step."""
MAJORITY, AHEAD = 2 / 3, 2
"""What makes a label that of a text: so large a share of its rows, and so many more than any other label has."""
MOST_CLASSES = 0.5
"""Where more different labels than this share of the rows are, they are none."""
NAMED = 5
"""How many classes one line names."""


class Wanted(NamedTuple):
    """What the classes of a table must be, to be on every side.

    Attributes:
        column: What the source calls the labels.
        needed: Rows that a class must have.
        before: The classes of the parent version.
        options: The columns that were named, each with the option that names it.
    """

    column: str
    needed: int
    before: frozenset[str] = frozenset()
    options: Mapping[str, str] = MappingProxyType({})

    @property
    def option(self) -> str:
        """What names the column of the labels."""
        return self.options.get(self.column, "--target")


def wanted(
    column: str,
    fractions: Iterable[float],
    before: Iterable[str] = (),
    options: Mapping[str, str] = MappingProxyType({}),
) -> Wanted:
    """What the classes must be at these sizes of the sides."""
    return Wanted(column, max(math.ceil(1 / share - 1e-9) for share in fractions), frozenset(before), options)


def set_aside(
    frame: "pd.DataFrame",
    keys: "pd.Series[str]",
    failed: Mapping[int, str],
    name: str,
    rules: DataRules,
    classes: Wanted | None,
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Part the rows that may be split from those in quarantine.

    In this order: rows in `failed` (row number to reason); the rows of a key with different targets, or those that its
    majority is against; repeats of a row, each naming the row that is kept, the first one; and, where the target is one
    of some `classes`, all rows of a class that is too small to be on every side.

    Returns:
        The rows to split (with `row` and `key`) and the quarantine (with `row`, `reason` and `kept_row`).

    Raises:
        DataError: More rows than the budget fail, what is left cannot be split, or what is wrong is not tolerated.
    """
    import pandas as pd

    reasons = pd.Series(dict(failed), dtype="object").reindex(frame.index)
    target = frame["label" if classes else "target"]
    reasons.loc[_conflicting(target[reasons.isna()], keys, name, rules)] = CONFLICT
    usable = reasons.isna()
    shared = keys[usable & repeated(keys)]
    shared = shared[shared.duplicated(keep=False)]
    first = pd.Series(shared.index, index=shared.index).groupby(shared).transform("min")
    repeats = first.index[first != first.index]
    reasons.loc[repeats] = DUPLICATE
    out: dict[int, str] = dict(reasons.dropna().items())  # type: ignore[arg-type]  # the index holds row numbers
    key = str(keys.name)
    is_shared = key.startswith("source_") and CONFLICT in out.values()
    fix = (
        f"Does the key {key.removeprefix('source_')!r} identify a row? Name another one, or none." if is_shared else ""
    )
    check_budget(out, len(reasons), name, rules, fix)

    if classes:
        rare = rare_rows(target[reasons.isna()], out, name, rules, classes)
        reasons.loc[usable & target.isin(target[rare].unique())] = RARE  # their repeats repeat no kept row
    elif reasons.notna().all():
        raise DataError(f"{name}: no row is left that can be used.", "Correct the source.")
    kept_row = first.reindex(reasons.index[reasons == DUPLICATE]).astype("Int64")
    aside, table = reasons.notna(), frame.assign(key=keys)
    kept = (table[~aside] if aside.any() else table).reset_index(names="row")
    away = frame[aside].assign(reason=reasons[aside].astype("str"), kept_row=kept_row).reset_index(names="row")
    if classes:
        _tell_rare(target[reasons == RARE], kept["label"], classes)
    return kept, away


def rare_rows(
    labels: "pd.Series[str]", aside: Mapping[int, str], name: str, rules: DataRules, classes: Wanted
) -> "pd.Index[int]":
    """The rows of classes that are too small to be on every side, which can be set aside.

    Args:
        labels: Of the rows that are usable but for that.
        aside: Row number to reason, of those that are not.
        name: What the table is called.
        rules: The budget, and whether rare classes are tolerated.
        classes: What they must be.

    Raises:
        DataError: Fewer than two classes would be left, the budget does not allow it, a class of the parent has become
            rare, which later models would then not know, or rare classes are not tolerated.
    """
    counts = {str(label): int(count) for label, count in labels.value_counts().items()}
    rare = [label for label, count in counts.items() if count < classes.needed]
    if len(counts) < 2:
        raise DataError(_too_few_classes(counts, name, classes.column), "A classifier needs two classes or more.")
    if rare and len(counts) > MOST_CLASSES * len(labels):
        raise _no_classes(len(counts), len(labels), name, classes)
    shrunken = [label for label in rare if label in classes.before]
    if shrunken or (rare and (rules.rare_classes == "fail" or len(counts) - len(rare) < 2)):
        raise _rare_class((shrunken or rare)[0], rare, counts, name, classes)
    rows = labels.index[labels.isin(rare)]
    if rare:
        told = "; ".join(_named(rare, counts, counts.keys() - set(rare)))
        fix = f"Rare are {told}. Correct them, choose another {classes.option}, or raise the budget on purpose."
        check_budget({**aside, **dict.fromkeys(rows, RARE)}, len(labels) + len(aside), name, rules, fix)
    return rows


def _too_few_classes(counts: Mapping[str, int], name: str, column: str) -> str:
    if not counts:
        return f"{name}: no row is left with a text and a label in column {column!r}."
    return f"{name}: 1 class is left in column {column!r} ({_shown(counts)})."


def _no_classes(distinct: int, rows: int, name: str, classes: Wanted) -> DataError:
    """A column of texts or ids in place of the labels, as when the two columns are swapped."""
    what = f"{name}: column {classes.column!r} has {distinct:,} different values in {rows:,} rows: "
    others = [(column, option) for column, option in classes.options.items() if option == "--text-column"]
    fix = f"Name the column of the classes: {classes.option} COLUMN."
    if others:
        ((column, option),) = others
        fix += f" Are the two swapped? {option} {classes.column!r} {classes.option} {column!r}"
    return DataError(f"{what}they are texts or ids, not classes.", fix)


def _rare_class(label: str, rare: Collection[str], counts: Mapping[str, int], name: str, classes: Wanted) -> DataError:
    what = f"{name}: class {label!r} of column {classes.column!r} has {counts[label]} usable rows; "
    what += f"for one on every split it needs {classes.needed} at these sizes ({_shown(counts)})."
    if label in classes.before:
        what += " The parent version has this class: later models would not know it any more."
        return DataError(what, "Add rows, merge classes, or take its rows out of the source if it is to go.")
    if len(counts) - len(rare) < 2:
        return DataError(what, "Add rows, merge classes, or raise the smallest size.")
    told = "; ".join(_named(rare, counts, counts.keys() - {*rare}))
    return DataError(f"{what} Rare are {told}.", "Correct them, add rows, or set data.rare_classes to quarantine.")


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label!r}: {count}" for label, count in list(counts.items())[:10])


def _named(rare: Iterable[str], counts: Mapping[str, int], usable: Iterable[str]) -> Iterator[str]:
    """Rare classes with their rows, each beside the class that it may have been meant to be."""
    others = sorted(usable)
    ordered = sorted(rare)
    for label in ordered[:NAMED]:
        meant = class_names.nearest(label, others)
        asked = f", did you mean {meant!r:.40}?" if meant is not None else ""
        yield f"{label!r:.40} ({counts[label]} row{'s' if counts[label] > 1 else ''}{asked})"
    if len(ordered) > NAMED:
        yield f"{len(ordered) - NAMED} more"


def _tell_rare(rare: "pd.Series[str]", kept: "pd.Series[str]", classes: Wanted) -> None:
    if not rare.empty:
        counts = {str(label): int(count) for label, count in rare.value_counts().items()}
        told = "; ".join(_named(counts, counts, kept.unique()))
        logger.warning(
            "Set aside the rows of classes with fewer than %d, too few for every split: %s", classes.needed, told
        )


def _conflicting(
    labels: "pd.Series[str]", keys: "pd.Series[str]", name: str, rules: DataRules
) -> "list[int] | pd.Index[int]":
    """The rows to set aside because their key carries different labels; where a majority counts, those against it.

    Raises:
        DataError: There are such rows, and the rules do not tolerate them.
    """
    twice = repeated(keys)
    shared = labels[twice[labels.index]]
    different = shared.groupby(keys[shared.index]).transform("nunique")
    rows = different.index[different > 1]
    if len(rows) and rules.conflicting_labels == "fail":
        of = str(keys.name).removeprefix("source_")
        what = f"{name}: {len(rows)} rows carry {of}s with different {labels.name}s, such as row {rows[0]}."
        raise DataError(what, "Correct them, or set data.conflicting_labels to quarantine.")
    if rules.conflicting_labels != "majority":
        return rows
    return [row for _, text in labels[rows].groupby(keys[rows]) for row in text.index[text != _majority(text)]]


def _majority(labels: "pd.Series[str]") -> str | None:
    """The label that a text has in two thirds of its rows and in two more than any other; None if there is none."""
    (label, most), (_, second) = Counter(labels).most_common(2)
    return label if most >= MAJORITY * len(labels) - 1e-9 and most - second >= AHEAD else None


def check_budget(reasons: Mapping[int, str], count: int, name: str, rules: DataRules, said: str = "") -> None:
    """Refuse a table of which too many rows cannot be used.

    Repeats, here or of a text on another side, do not count, nor does what a cleaning step has taken out.

    Args:
        reasons: Row number to reason.
        count: How many rows there are.
        name: What the table is called.
        rules: The budget.
        said: A sentence about the first of them.

    Raises:
        DataError: More rows than the budget cannot be used.
    """
    counted = {row: reason for row, reason in reasons.items() if reason not in {DUPLICATE, OTHER_SIDE, CLEANED_AWAY}}
    if len(counted) > rules.max_quarantine_fraction * count:
        counts = ", ".join(f"{reason} {n}" for reason, n in Counter(counted.values()).most_common())
        what = f"{name}: {len(counted)} of {count} rows cannot be used ({counts}), such as row "
        what += f"{min(counted)}: more than data.max_quarantine_fraction={rules.max_quarantine_fraction:g}."
        raise DataError(what, said or "Correct the source, or raise the budget on purpose.")
