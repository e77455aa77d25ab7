"""What a table may be good for: the problem, the target, what its columns are, and what would tell the target."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.errors import ConfigError
from lifecycle.core.names import ProblemName
from lifecycle.problems.contract import DROP, TEXT
from lifecycle.problems.tabular.columns import NEARLY_ALL, UNIQUE, Judged, are_written, judge, listed
from lifecycle.problems.tabular.spelling import DATE, NUMBER, is_missing
from lifecycle.problems.text_pair_classification.proposal import pair_of

TARGETS = [
    "target",
    "label",
    "labels",
    "y",
    "class",
    "outcome",
    "churn",
    "churned",
    "price",
    "amount",
    "fare",
    "cost",
    "sales",
    "revenue",
    "demand",
    "count",
    "cnt",
    "default",
    "survived",
    "fraud",
    "response",
    "score",
    "rating",
    "quality",
    "diagnosis",
    "sentiment",
    "category",
    "topic",
]
"""Words that a column to be predicted is called by, whole or at the end or beginning of its name."""
OUTPUTS = re.compile(r"^(pred|prediction|predicted|y_?pred|y_?hat)(_.*)?$|_(pred|prediction|predicted)$", re.IGNORECASE)
"""What a model's own answers are called: they tell the target as far as it does."""
MOST_CLASSES = 50
"""A target of more different texts is none; of more different whole numbers, a number."""
WORDS = 4
"""A text of so many words is no category."""
WHEN = {"year", "month", "week", "weekday", "day", "date", "hour", "time"}
"""Words in the names of columns that say when; they are given, not predicted."""
OFFSET = r":\d\d[^+-]*(?:[Zz]|[+-]\d\d:?(?:\d\d)?)$"
"""What a time ends with that tells its zone."""
GLANCE = 1000
"""Rows after which most columns turn out not to tell the target."""
PAIRS = 40
"""Numeric columns of which each pair is tried; a wider table has other problems."""


BYTES = r"\\udc[89a-f][0-9a-f]"
"""How a byte that no text has is written."""


class ProposedColumn(NamedTuple):
    """One column of a table: its kind, or `drop` with the reason."""

    name: str
    kind: str
    missing: int
    distinct: int
    examples: tuple[str, ...]
    note: str


class Proposal(NamedTuple):
    """How a model of a table may be defined; without a target, the likeliest first among `candidates`."""

    problem: ProblemName
    target: str | None
    candidates: tuple[str, ...]
    columns: tuple[ProposedColumn, ...]
    key: str | None
    split_by: Literal["random", "time"]
    time_column: str | None
    notes: tuple[str, ...]
    sizes: Mapping[str, float] = {}
    """Of the splits, where the usual ones will not do."""


def propose(frame: pd.DataFrame, target: str | None = None) -> Proposal:
    """Look at a table whose cells are texts.

    Raises:
        ConfigError: The target is not there.
    """
    if target is not None and target not in frame:
        raise ConfigError(f"There is no column {target!r}; there are {listed(frame.columns)}.", "Name one of them.")
    if held := [str(name) for name in frame.columns if name != target and frame[name].str.contains(BYTES).any()]:
        rest = propose(frame.drop(columns=held), target)
        left_out = (ProposedColumn(name, DROP, 0, frame[name].nunique(), (), "holds bytes, no text") for name in held)
        return rest._replace(columns=(*rest.columns, *left_out))
    judged = {str(name): judge(str(name), frame[name]) for name in frame.columns}
    free = [name for name, of in judged.items() if name != target and _is_free_text(frame[name], of, WORDS)]
    words = [name for name, of in judged.items() if name != target and _is_free_text(frame[name], of, 1)]
    pair = pair_of(free, words)
    key = next((name for name in judged if name not in (target, *free) and _is_key(name, frame[name])), None)
    targets = [target] if target else _targets(frame, judged, {key, *free})
    chosen = targets[0] if len(targets) == 1 else None
    classes = [name for name in judged if name not in (key, *free) and _is_class(judged[name], len(frame))]
    texts = pair or (tuple(free) if len(free) == 1 else ())
    if texts and chosen in classes:
        return _of_texts(frame, judged, texts, chosen, key)
    if texts and not target and len(classes) == 1:
        return _of_texts(frame, judged, texts, classes[0], key)
    found = _of_columns(frame, judged, chosen, targets, key)
    is_guessed = not target and chosen == frame.columns[-1] and _rank(str(chosen)) == len(TARGETS)
    guess = (f"{chosen!r} is taken for the target, since it is the last column",) if is_guessed else ()
    return found._replace(notes=(*guess, *found.notes))


def _of_texts(
    frame: pd.DataFrame, judged: Mapping[str, Judged], texts: Sequence[str], target: str, key: str | None
) -> Proposal:
    others = {name: "not read by a model of texts" for name in judged if name not in (*texts, target)}
    if key and key not in texts:
        others[key] = "identifies a row"
    read = {name: judged[name]._replace(kind=TEXT, note="") for name in texts}
    columns = _proposed({**judged, **read}, target, others)
    by_time = _time(frame, judged, target)
    split_by: Literal["random", "time"] = "time" if by_time else "random"
    problem: ProblemName = "text-classification" if len(texts) == 1 else "text-pair-classification"
    return Proposal(problem, target, (), columns, None, split_by, by_time, _told_time(by_time))


def _of_columns(
    frame: pd.DataFrame, judged: Mapping[str, Judged], target: str | None, targets: Sequence[str], key: str | None
) -> Proposal:
    dropped = {name: "looks like the answers of a model" for name in judged if OUTPUTS.search(name) and name != target}
    if target:
        dropped |= _telling(frame.drop(columns=[key] if key else []), judged, target)
    notes = [f"{name!r} {note}" for name, note in dropped.items()]
    if key:
        dropped[key] = "identifies a row"
    is_number = target is not None and _is_number(frame[target], judged[target])
    problem: ProblemName = "tabular-regression" if is_number else "tabular-classification"
    by_time = _time(frame, judged, target)
    if not target:
        notes.insert(0, f"no column is clearly the target: {listed(targets)} could be")
    notes += _told_time(by_time)
    candidates = () if target else tuple(targets)
    split_by: Literal["random", "time"] = "time" if by_time else "random"
    columns = _proposed(judged, target, dropped)
    return Proposal(problem, target, candidates, columns, key, split_by, by_time, tuple(notes))


def _proposed(
    judged: Mapping[str, Judged], target: str | None, dropped: Mapping[str, str]
) -> tuple[ProposedColumn, ...]:
    """All columns but the target."""
    final = {
        name: of._replace(kind=DROP, note=dropped[name]) if name in dropped else of
        for name, of in judged.items()
        if name != target
    }
    return tuple(ProposedColumn(name, *of) for name, of in final.items())


def _is_free_text(cells: "pd.Series[str]", of: Judged, words: int) -> bool:
    """Whether a column has many different texts, of at least so many words."""
    if of.kind not in ("categorical", DROP) or of.distinct <= MOST_CLASSES:
        return False
    stripped = cells.str.strip()
    blanks = stripped[stripped != ""].head(GLANCE).str.count(r"\s+")
    return bool(blanks.median() >= words - 1)


def _is_key(name: str, cells: "pd.Series[str]") -> bool:
    """Whether no two cells are the same, and they are texts, or numbers that count up."""
    stripped = cells.str.strip()
    if stripped.duplicated().any() or is_missing(stripped, "categorical").any() or len(cells) < 2:
        return False
    judged = judge(name, cells)
    if not stripped.str.fullmatch(NUMBER).all():
        return judged.kind == DROP and not (are_written(stripped) or stripped.str.fullmatch(DATE).all())
    steps = pd.to_numeric(stripped, errors="coerce").diff().dropna()
    return judged.kind == DROP or bool((steps == 1).all())


def _is_number(cells: "pd.Series[str]", of: Judged) -> bool:
    """Whether a target is a number to be predicted, mistakes aside, and not one of some classes."""
    if _is_class(of, len(cells)):
        return False
    stripped = cells.str.strip()
    there = stripped[~is_missing(stripped, "numeric")]
    return are_written(there) or bool(there.str.fullmatch(NUMBER).mean() >= NEARLY_ALL)


def _is_class(of: Judged, rows: int) -> bool:
    """Whether a column may be one of some classes, of each of which there are rows to learn from."""
    few = 2 <= of.distinct <= min(MOST_CLASSES, max(2, rows // 5))
    return few and of.kind in ("categorical", "boolean")


def _targets(frame: pd.DataFrame, judged: Mapping[str, Judged], others: Iterable[str | None]) -> list[str]:
    """The columns that may be the target, the likeliest first; one alone is clear."""
    free = [name for name in judged if name not in {*others} and not OUTPUTS.search(name)]
    numbers = {name for name in free if judged[name].distinct > MOST_CLASSES and _is_number(frame[name], judged[name])}
    useful = [name for name in free if judged[name].kind != DROP or name in numbers]
    possible = [
        name
        for name in useful
        if judged[name].kind == "numeric" or name in numbers or _is_class(judged[name], len(frame))
    ]
    named = [name for name in possible if _rank(name) < len(TARGETS)]
    clear = [name for name in named if name.lower() in TARGETS] or named
    last = possible[-1] if possible else ""
    if not named and last and last == useful[-1] and not judged[last].missing and WHEN.isdisjoint(_words(last)):
        clear = [last]
    if len(clear) == 1:
        return clear
    away = {name: _away(place, len(possible)) for place, name in enumerate(possible)}
    is_less = {name: bool(judged[name].missing) or not WHEN.isdisjoint(_words(name)) for name in possible}
    return sorted(possible, key=lambda name: (_rank(name), is_less[name], away[name]))


def _rank(name: str) -> int:
    """The place of a name, or of its first or last word, among those that targets have."""
    words = _words(name)
    ends = {name.lower(), *words[:1], *words[-1:]}
    return min((TARGETS.index(word) for word in ends if word in TARGETS), default=len(TARGETS))


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _away(place: int, count: int) -> int:
    """How far a column is from either end of the table, where targets stand; of two as far, the last first."""
    return min(2 * (count - 1 - place), 2 * place + 1)


def _telling(frame: pd.DataFrame, judged: Mapping[str, Judged], target: str) -> dict[str, str]:
    """The columns from which the target follows without anything to learn."""
    truth = frame[target].str.strip()
    told = {name: note for name in frame.columns if name != target and (note := _tells(frame[name], truth))}
    numeric = [
        name for name, of in judged.items() if of.kind == "numeric" and name in frame and name not in (*told, target)
    ]
    if judged[target].kind != "numeric":
        return told
    values = frame[[*numeric, target]].apply(lambda cells: pd.to_numeric(cells.str.strip(), errors="coerce"))
    sums = values[target].to_numpy()
    for one, other in combinations(numeric[:PAIRS], 2):
        total = values[one].to_numpy() + values[other].to_numpy()
        if np.allclose(total[:GLANCE], sums[:GLANCE], equal_nan=True) and np.allclose(total, sums, equal_nan=True):
            told |= dict.fromkeys((one, other), f"tells the target: {one} + {other} = {target}")
    return told


def _tells(cells: "pd.Series[str]", truth: "pd.Series[str]") -> str:
    """Whether a column is the target, or has one value of the target for each of its own, most of which repeat."""
    cells = cells.str.strip()
    numbers = [pd.to_numeric(of, errors="coerce") for of in (cells, truth)]
    if (cells == truth).all() or (numbers[0].notna().all() and (numbers[0] == numbers[1]).all()):
        return "tells the target: it is the same"
    repeated = cells[cells.duplicated(keep=False) & ~is_missing(cells, "categorical")]
    if len(repeated) < UNIQUE * len(cells) or truth.nunique() < 2 or cells.nunique() < 2:
        return ""
    for some in (repeated.head(GLANCE), repeated):
        if truth[some.index].groupby(some).nunique().max() > 1:
            return ""
    return "tells the target: it has one value of it for each of its own"


def _time(frame: pd.DataFrame, judged: Mapping[str, Judged], target: str | None) -> str | None:
    """The first column of times by which the rows are sorted; of times some of which have an offset nobody knows."""
    for name, of in judged.items():
        if of.kind == "datetime" and name != target and not of.missing and of.distinct > 2:
            cells = frame[name].str.strip()
            times = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
            is_sorted = times.is_monotonic_increasing or times.is_monotonic_decreasing
            if is_sorted and cells.str.contains(OFFSET).nunique() == 1:
                return name
    return None


def _told_time(by_time: str | None) -> tuple[str, ...]:
    return (f"rows are in the order of {by_time!r}: the newest are held out",) if by_time else ()
