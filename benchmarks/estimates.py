"""How near estimates of performance come to what labels say later, and whether they say when not to believe them.

    python -m benchmarks.estimates [--sentences FILE] [--census FOLDER]

Real sentences (`examples/financial_news.csv`) and made tables, whose batches first come from the source of the baseline
and then change; labels of a batch come with the next one. What learns, estimates and judges is the product's own code.
"""

import argparse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lifecycle.core.names import ProblemName, Side
from lifecycle.evaluation.baseline import Baseline, measured
from lifecycle.evaluation.estimates import learnt
from lifecycle.monitoring import trust
from lifecycle.monitoring.compare import compared
from lifecycle.monitoring.findings import Measured
from lifecycle.monitoring.performance import Found, Yardstick
from lifecycle.problems import distributions
from lifecycle.problems.contract import Column
from lifecycle.problems.distributions import Distribution
from lifecycle.problems.known import named
from lifecycle.problems.metric import Metric, reads_labels
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules

RULES, DEVIATIONS = MonitoringRules(), 2.576
START, CHANGED_AT, BATCHES = datetime(2026, 1, 1, tzinfo=UTC), 4, 10


class Workload(NamedTuple):
    """A model with its judged rows, and batches of it."""

    problem: ProblemName
    columns: tuple[Column, ...]
    answers: Callable[[pd.DataFrame], pd.DataFrame]
    judged: pd.DataFrame
    metric: str


class Change(NamedTuple):
    """What becomes of batches from one on."""

    name: str
    drawn: Callable[[np.random.Generator], pd.DataFrame]
    truth: Callable[[pd.DataFrame, np.random.Generator], pd.Series]


def baseline_of(load: Workload) -> Baseline:
    problem, told = named(load.problem), load.answers(load.judged).assign(truth=load.judged["truth"].to_numpy())
    seen = [*_seen(load, load.judged, {})]
    scores = problem.judging.scores_of(told["truth"], {"": told})[""]
    return Baseline(
        problem=load.problem,
        data_name="",
        data_version="",
        dataset_digest="",
        source_sha256="",
        side=Side.HOLDOUT,
        rows=len(told),
        columns=load.columns,
        distributions=tuple(Distribution.of(each) for each in seen),
        vocabularies={},
        metrics=dict(measured(problem, scores)),
        learnt=learnt(problem, distributions.features(seen), told),
    )


def _seen(load: Workload, rows: pd.DataFrame, known: dict[str, Any]) -> Iterator[distributions.Seen]:
    inputs = rows[[column.name for column in load.columns]].reset_index(drop=True)
    yield from distributions.of_inputs(inputs, load.columns, known)
    yield from distributions.of_predictions(load.answers(rows), named(load.problem))


def day(load: Workload, yardstick: Yardstick, rows: pd.DataFrame, number: int) -> tuple[Measured, Measured]:
    """What is measured of a batch, without and with its labels."""
    problem, baseline, answers = named(load.problem), yardstick.baseline, load.answers(rows)
    seen = [*_seen(load, rows, {})]
    values = {(each.part, each.name): each.values for each in seen}
    lines = compared([(each, each.counted(values[each.part, each.name])) for each in baseline.distributions], RULES)
    assert baseline.learnt is not None
    found = [
        Found(
            each.metric, each.value, each.value - DEVIATIONS * each.deviation, each.value + DEVIATIONS * each.deviation
        )
        for each, _ in baseline.learnt.estimates(problem, distributions.features(seen), [answers])
    ]
    scores = problem.judging.scores_of(rows["truth"].reset_index(drop=True), {"": answers})[""]
    real = [_realised(each.metric, scores) for each in found if each.metric.name == load.metric]
    at = START + timedelta(days=number)
    about = {
        "model": "m",
        "version": 1,
        "batch": str(number),
        "baseline": "",
        "rows_in": len(rows),
        "scored": len(rows),
    }
    estimated = (*lines, *yardstick.lines("estimate", found, len(rows)))
    labelled = tuple(yardstick.lines("performance", real, len(rows)))
    return (Measured(**about, day=at.date(), at=at, lines=each) for each in (estimated, labelled))  # type: ignore[return-value]


def _realised(metric: Metric, scores: Any) -> Found:
    """What labels say of a metric; rows that are the same to it are drawn as one that counts more often."""
    every = np.arange(len(scores.truth))
    first, place = scores.alike() if reads_labels(metric, alone=True) else (every, every)
    rows, counts = scores.take(first), np.bincount(place).astype(float)
    drawn = np.random.default_rng(0).multinomial(len(every), counts / len(every), 300).astype(float)
    value, spread = float(metric.measure(rows, counts)), DEVIATIONS * metric.measure(rows, drawn).std()
    return Found(metric, value, value - spread, value + spread)


def run(name: str, load: Workload, change: Change, before: Change) -> None:
    """One line: how far estimates were off that were believed when they were made, and those that were not."""
    rng = np.random.default_rng(7)
    yardstick = Yardstick(baseline_of(load), GateRules(metric=load.metric), RULES)
    drift, labels, believed, doubted, signs = [], [], [0.0], [0.0], ""
    for number in range(BATCHES):
        source = change if number >= CHANGED_AT else before
        rows = source.drawn(rng)
        rows = rows.assign(truth=source.truth(rows, rng).to_numpy())
        estimate, real = day(load, yardstick, rows, number)
        drift.append(estimate)
        verdict = trust.statements(drift, labels, RULES)[1, str(number)].verdict
        labels.append(real)
        now, then = (
            next(x.now for x in each.lines if x.name == load.metric and x.measure == "loss")
            for each in (estimate, real)
        )
        (doubted if verdict == "do not trust" else believed).append(abs(float(now or 0) - float(then or 0)))
        later = trust.statements(drift, labels, RULES)[1, str(number)].verdict
        signs += "x" if verdict == "do not trust" else "!" if later == "do not trust" else "."
    print(
        f"| {name}: {change.name} | {len(rows):,} | {max(believed):.3f} | {max(doubted):.3f} | `{signs}` |", flush=True
    )


def sentences(table: str) -> tuple[Workload, list[Change]]:
    rows = pd.read_csv(table).rename(columns={"Sentence": "text", "Sentiment": "truth"})
    rows = rows.dropna().drop_duplicates("text").sample(frac=1, random_state=0).reset_index(drop=True)
    third = len(rows) // 3
    train, judged, rest = rows.iloc[:third], rows.iloc[third : 2 * third], rows.iloc[2 * third :]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(C=4, max_iter=500))
    model.fit(train["text"], train["truth"])

    def answers(batch: pd.DataFrame) -> pd.DataFrame:
        likely = model.predict_proba(batch["text"])
        return pd.DataFrame({"label": model.classes_[likely.argmax(axis=1)], "score": likely.max(axis=1)})

    def swapped(batch: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
        other = {"positive": "neutral", "neutral": "positive"}
        return (
            batch["truth"]
            .map(lambda label: other.get(label, label))
            .where(rng.random(len(batch)) < 0.6, batch["truth"])
        )

    some = min(400, len(rest))
    short = rest[rest["text"].str.len() < 90]
    same = Change("no drift", lambda rng: rest.sample(some, random_state=rng), lambda batch, _: batch["truth"])
    return Workload("text-classification", (Column(name="text", kind="text"),), answers, judged, "accuracy"), [
        same,
        Change("short sentences only", lambda rng: short.sample(min(some, len(short)), random_state=rng), same.truth),
        Change("60 % of positive and neutral swapped", same.drawn, swapped),
    ]


def census(folder: Path) -> tuple[Workload, list[Change]]:
    """2015 as the baseline, years after it as batches; the predictions are those of the table."""
    reference = pd.read_parquet(folder / "employment_ma_reference.parquet")
    later = pd.read_parquet(folder / "employment_ma_analysis.parquet")
    later = later.merge(pd.read_parquet(folder / "employment_ma_labels_later.parquet"), on="id")
    both = [each.assign(truth=each["employed"].map({0: "no", 1: "yes"})) for each in (reference, later)]

    def answers(batch: pd.DataFrame) -> pd.DataFrame:
        likely = batch["predicted_probability"].to_numpy()
        label = np.where(likely >= 0.5, "yes", "no")
        return pd.DataFrame({"label": label, "score": np.maximum(likely, 1 - likely)})

    years = both[1]
    flipped = {"yes": "no", "no": "yes"}
    same = Change("2016 to 2018", lambda rng: years.sample(20_000, random_state=rng), lambda batch, _: batch["truth"])
    middle = years[years["AGEP"].between(25, 60)]
    return Workload("tabular-classification", (Column(name="AGEP", kind="numeric"),), answers, both[0], "accuracy"), [
        same,
        Change("aged 25 to 60 only", lambda rng: middle.sample(20_000, random_state=rng), same.truth),
        Change("ages in months", lambda rng: same.drawn(rng).assign(AGEP=lambda rows: rows["AGEP"] * 12), same.truth),
        Change(
            "all under 40 the other way round",
            same.drawn,
            lambda batch, _: batch["truth"].where(batch["AGEP"] >= 40, batch["truth"].map(flipped)),
        ),
    ]


def rentals() -> tuple[Workload, list[Change]]:
    rng = np.random.default_rng(0)

    def drawn(rng: np.random.Generator, low: float = 0, high: float = 30, rows: int = 1000) -> pd.DataFrame:
        return pd.DataFrame({"temp": rng.uniform(low, high, rows), "hour": rng.integers(0, 24, rows).astype(float)})

    def truth(batch: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
        noise = rng.normal(size=len(batch)) * (1 + 0.4 * batch["temp"]) * np.where(batch["hour"] < 6, 0.5, 2)
        return 10 * batch["temp"] + 5 * batch["hour"] + noise

    train = drawn(rng, rows=4000)
    model = HistGradientBoostingRegressor(random_state=0).fit(train, truth(train, rng))
    judged = drawn(rng, rows=2000).pipe(lambda rows: rows.assign(truth=truth(rows, rng)))

    def answers(batch: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": model.predict(batch[["temp", "hour"]])})

    columns = tuple(Column(name=name, kind="numeric") for name in ("temp", "hour"))
    return Workload("tabular-regression", columns, answers, judged, "root_mean_squared_error"), [
        Change("no drift", drawn, truth),
        Change("warm days only", lambda rng: drawn(rng, 20, 30), truth),
        Change("warmer than ever", lambda rng: drawn(rng, 20, 45), truth),
        Change("a third more of them", drawn, lambda batch, rng: truth(batch, rng) * 1.33),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--census", type=Path, help="Folder of the employment tables of the American Community Survey.")
    parser.add_argument("--sentences", default="examples/financial_news.csv", help="Table of `Sentence`, `Sentiment`.")
    given = parser.parse_args()
    loads = {"sentences": sentences(given.sentences), "rentals": rentals()}
    if given.census:
        loads["census"] = census(given.census)
    header = "| what changes with the fifth batch | rows | error while believed | error when not | by batch |"
    print(f"{header}\n|---|---|---|---|---|")
    for name, (load, changes) in loads.items():
        for change in changes:
            run(name, load, change, changes[0])


if __name__ == "__main__":
    main()
