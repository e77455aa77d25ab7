"""How often monitoring finds a planted change within five batches, and how often it alarms for nothing.

    python -m benchmarks.monitoring [--streams 200]

Each stream has a fresh baseline and batches of ten columns from one source; then one thing changes. In further ones
a model says a class of three and how sure it is, and fewer answers are right than that. What measures and decides is
the product's own code, with its defaults.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.estimates import Workload, baseline_of
from benchmarks.estimates import day as measured_day
from lifecycle.inference import sample
from lifecycle.monitoring import findings, trust
from lifecycle.monitoring.compare import compared
from lifecycle.monitoring.findings import Measured
from lifecycle.monitoring.performance import Yardstick
from lifecycle.problems.distributions import Distribution, Seen
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules

Columns = dict[str, pd.Series]
RULES = MonitoringRules()
BASELINE_ROWS, SIZES, WITHIN, CLEAN = 1_000, (200, 2_000, 50_000), 5, 50
ALARMS = "false alarms per 1,000 clean batches"
LOST = {
    "calibration: 10 % fewer right than said": 0.1,
    "calibration: 20 % fewer right than said": 0.2,
    f"calibration as it was: {ALARMS}": 0.0,
}
SEEN_BY = ", seen by estimates, without labels", ", seen by labels"
CHANGES: dict[str, Callable[[Columns, np.random.Generator], Columns]] = {
    "label: 20 % become 30 %": lambda c, r: c | {"label": levels(r, len(c["label"]), [0.3, 0.35, 0.35])},
    "label: 20 % become 40 %": lambda c, r: c | {"label": levels(r, len(c["label"]), [0.4, 0.3, 0.3])},
    "unseen words: 10 % become 20 %": lambda c, r: c | {"unseen": unseen(r, len(c["unseen"]), 0.2)},
    "language: 10 % of the texts in another": lambda c, r: c | {"unseen": in_another(r, c["unseen"], 0.1)},
    "language: 30 % of the texts in another": lambda c, r: c | {"unseen": in_another(r, c["unseen"], 0.3)},
    "texts a third longer": lambda c, _: c | {"length": (c["length"] * 1.33).round()},
    "unit error (Celsius told in Fahrenheit)": lambda c, _: c | {"temp": c["temp"] * 1.8 + 32},
    "numbers moved by a quarter of their deviation": lambda c, _: c | {"income": c["income"] * np.exp(0.25)},
    "numbers moved by half of their deviation": lambda c, _: c | {"income": c["income"] * np.exp(0.5)},
    "missing cells: 3 % become 10 %": lambda c, r: c | {"age": c["age"].where(r.random(len(c["age"])) > 0.07)},
    "missing cells: 3 % become 20 %": lambda c, r: c | {"age": c["age"].where(r.random(len(c["age"])) > 0.17)},
    "a level of 10 % renamed": lambda c, _: c | {"shop": c["shop"].replace("b", "B")},
    "scores fall by 0.1": lambda c, _: c | {"score": (c["score"] - 0.1).clip(0)},
}


def levels(r: np.random.Generator, rows: int, shares: list[float]) -> pd.Series:
    return pd.Series(r.choice(list("abcdefghijklmnopqrstuvwxyz")[: len(shares)], rows, p=shares)).astype(object)


def unseen(r: np.random.Generator, rows: int, share: float) -> pd.Series:
    words = 5 + r.poisson(15, rows)
    return pd.Series(r.binomial(words, share) / words)


def in_another(r: np.random.Generator, before: pd.Series, share: float) -> pd.Series:
    """The same texts, some of which are in a language of which training has seen one word in twenty."""
    return before.where(r.random(len(before)) > share, unseen(r, len(before), 0.95))


def drawn(r: np.random.Generator, rows: int) -> Columns:
    many = np.arange(20, 0, -1) / 210
    return {
        "temp": pd.Series(r.normal(15, 8, rows)),
        "income": pd.Series(r.lognormal(0, 1, rows)),
        "age": pd.Series(r.integers(18, 90, rows).astype(float)).where(r.random(rows) > 0.03),
        "shop": levels(r, rows, [0.6, 0.1, 0.3]),
        "town": levels(r, rows, [*many]),
        "length": pd.Series(np.floor(r.gamma(4, 30, rows))),
        "unseen": unseen(r, rows, 0.1),
        "count": pd.Series(r.poisson(1.5, rows).astype(float)),
        "label": levels(r, rows, [0.2, 0.4, 0.4]),
        "score": pd.Series(r.beta(6, 2, rows)),
    }


def stream(
    seed: int,
    size: int,
    batches: int,
    change: Callable[[Columns, np.random.Generator], Columns] | None = None,
) -> tuple[int]:
    """How many alerts a stream gives."""
    r, start = np.random.default_rng((seed, size)), datetime(2026, 1, 1, tzinfo=UTC)
    before = {name: Distribution.of(Seen("input", name, values)) for name, values in drawn(r, BASELINE_ROWS).items()}
    measured = []
    for day in range(batches):
        columns = drawn(r, size)
        looked_at = sample.of(pd.DataFrame(change(columns, r) if change else columns))
        lines = compared([(before[name], before[name].counted(looked_at[name])) for name in before], RULES)
        about = {"model": "m", "version": 1, "batch": str(day), "baseline": "", "rows_in": size, "scored": size}
        at = start + timedelta(days=day)
        measured.append(Measured(**about, day=at.date(), at=at, lines=lines))
    return (len(findings.alerts(measured, "drift", RULES)),)


def answered(seed: int, size: int, lost: float) -> tuple[int, int]:
    """How many alerts of performance a stream gives that is right less often than it says: without labels and with."""
    r = np.random.default_rng((seed, size))

    def rows(count: int, lost: float) -> pd.DataFrame:
        said, sure = levels(r, count, [0.2, 0.4, 0.4]), pd.Series(1 / 3 + 2 / 3 * r.beta(6, 2, count))
        is_right = r.random(count) < sure * (1 - lost)
        other = said.map({"a": "b", "b": "c", "c": "a"})
        return pd.DataFrame({"label": said, "score": sure, "truth": said.where(is_right, other)})

    def answers(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[["label", "score"]].reset_index(drop=True)

    load = Workload("text-classification", (), answers, rows(BASELINE_ROWS, 0), "f1_macro")
    yardstick = Yardstick(baseline_of(load), GateRules(metric=load.metric), RULES)
    batches = WITHIN if lost else CLEAN
    days = [measured_day(load, yardstick, rows(size, lost), day) for day in range(batches)]
    drift, labelled = zip(*days, strict=True)
    each = (trust.answered(drift, labels, RULES) for labels in ((), labelled))
    without, with_labels = (len(findings.alerts(found, "performance", RULES)) for found in each)
    return without, with_labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Rows of a batch.")
    parser.add_argument("--only", default="", help="Lines that begin so.")
    given = parser.parse_args()
    print(f"| rows of a batch | {' | '.join(f'{size:,}' for size in given.sizes)} |", flush=True)
    print("|---" * (1 + len(given.sizes)) + "|")
    lines: dict[str, tuple[int, Callable[[int, int], tuple[int, ...]]]]
    lines = {ALARMS: (CLEAN, partial(stream, batches=CLEAN))}
    lines |= {name: (0, partial(stream, batches=WITHIN, change=change)) for name, change in CHANGES.items()}
    lines |= {name: (0 if lost else CLEAN, partial(answered, lost=lost)) for name, lost in LOST.items()}
    for name, (batches, alerts) in lines.items():
        if not name.startswith(given.only):
            continue
        found = np.array([[alerts(seed, size) for seed in range(given.streams)] for size in given.sizes])
        for how, each in zip(SEEN_BY if name in LOST else ("",), np.moveaxis(found, -1, 0), strict=True):
            cells = [f"{1000 * n.mean() / batches:.2f}" if batches else f"{(n > 0).mean():.0%}" for n in each]
            print(f"| {name}{how} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
