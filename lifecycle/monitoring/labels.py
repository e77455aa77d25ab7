"""Truths that come later: joined to what was predicted by the key of the input, with how well each batch was answered.

A delivery is kept with its time, so that a corrected label has its history and the newest one counts. Keys are kept as
digests: they join, and say nobody's number. What joins nothing, comes twice or contradicts itself is counted and told.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from lifecycle.core import class_names
from lifecycle.core.errors import ConfigError, DataError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset, ingest
from lifecycle.data.source import Source
from lifecycle.evaluation.baseline import Baseline
from lifecycle.evaluation.bootstrap import bootstrapped
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import MANIFEST, REJECTED, BatchManifest
from lifecycle.monitoring import answers as windows
from lifecycle.monitoring import slices, store
from lifecycle.monitoring.answers import Answered, digests
from lifecycle.monitoring.examples import SHOWN, line_of
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.monitoring.performance import Found, Yardstick
from lifecycle.monitoring.watch import baseline_of
from lifecycle.monitoring.worst import WorstRow, worst
from lifecycle.problems.classification.labels import spelled
from lifecycle.problems.known import Problem, named
from lifecycle.problems.metric import Scores
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import DataRules, MonitoringRules
from lifecycle.storage import volumes

logger = logging.getLogger(__name__)

CONFIDENCE, RESAMPLES = 0.99, 1000
KEY, TRUTH, LABELS = "key", "truth", "labels"


class Answers(Frozen):
    """The predictions of a registered model, and by which rules they are measured."""

    name: str
    tracking_uri: str
    registry_uri: str = ""
    root: Path
    output_root: Path
    data_root: Path
    gate: GateRules = GateRules()
    rules: MonitoringRules = MonitoringRules()


class Delivery(Answers):
    """A table of labels for them."""

    source: Source
    key_column: str
    label_column: str
    slice_columns: tuple[str, ...] = ()
    data: DataRules = DataRules()


class Joined(Frozen):
    """What became of the rows of a delivery, and how the batches that they are about were answered."""

    rows: int
    new: int
    repeated: int
    corrected: int
    contradictory: int
    unusable: int
    unknown: int
    other_classes: dict[str, int] = Field(default_factory=dict)
    """Labels that are no class of the version that answered, with how many rows they are of; they are not measured."""
    lag_days: float | None = None
    batches: tuple[Measured, ...] = ()


class Scored(NamedTuple):
    """A published batch with a key: what it is, its predictions by the digest of the key, and the classes they are of.

    No classes are told of numbers, and of a version whose dataset is not there any more.
    """

    batch: str
    manifest: BatchManifest
    answers: pd.DataFrame
    classes: frozenset[str] = frozenset()

    def truths(self, delivered: "Mapping[str, str] | pd.Series[str]") -> "pd.Series[str]":
        """The labels of its rows that have one, by the digest of their key."""
        return self.answers.index.to_series().map(delivered).dropna()

    def are_known(self, labels: "pd.Series[str]") -> "pd.Series[bool]":
        """Which labels are a class that the version could have answered: another one is a mistake, or a new class."""
        if not self.classes:
            return pd.Series(data=True, index=labels.index)
        return class_names.canonicals(labels).isin(self.classes)


def join(delivery: Delivery) -> Joined:
    """Join a delivery to all published batches of its model and measure these; again changes nothing.

    Raises:
        ConfigError: No batch of the model has a key, or key and label are one column.
        DataError: The table is malformed, or not one of its keys was ever scored; nothing is kept.
    """
    if delivery.key_column == delivery.label_column:
        what = f"{delivery.key_column!r} cannot be both the key and the label."
        raise ConfigError(what, "Name two columns: --key-column and --label-column")
    scored = [*_with_classes(delivery, chain(_scored(delivery), _served(delivery)))]
    if not scored:
        what = (
            f"No published batch of {delivery.name} has a key that labels could be joined by, and no request was kept."
        )
        raise ConfigError(what, "Score with one: mlops infer --key-column …, or `key` in the model's definition.")
    columns = {delivery.key_column: "--key-column", delivery.label_column: "--label-column"}
    sliced = dict.fromkeys(delivery.slice_columns, "--slice-column")
    rows = ingest.read(delivery.source, delivery.data, columns | sliced).rows
    read = rows[[*columns]]
    given, report = _usable(read.set_axis([KEY, TRUTH], axis="columns"), scored)
    if report["unusable"] == len(read):
        what = f"{delivery.source.name}: not one of {len(read):,} rows has a key and a usable label in "
        raise DataError(f"{what}{delivery.label_column!r}.", "Name the column of the labels: --label-column")
    known = {key for each in scored for key in each.answers.index}
    unknown = [key for key in given.index if key not in known]
    if len(unknown) == len(given):
        raise _nothing_joins(delivery, read[delivery.key_column], known)
    others = _other_classes(delivery, scored, given)
    if sliced:
        values = rows[[*sliced]].set_axis(digests(rows[delivery.key_column])).groupby(level=0).last()
        slices.keep(delivery.root, delivery.name, values.loc[given.index])
    before = _truths(delivery.root, delivery.name)
    old = given.index.to_series().map(before)
    same = old == given
    changed = given[~same]
    report |= {"new": int(old.isna().sum()), "corrected": int((old.notna() & ~same).sum()), "unknown": len(unknown)}
    report["repeated"] += int(same.sum())
    if len(changed):
        _keep(delivery, changed)
    about = [each for each in scored if each.are_known(each.truths(given)).any()]
    measured = _kept(delivery, about)
    store.refresh(delivery.root, delivery.name, delivery.rules)
    return Joined(rows=len(read), **report, other_classes=others, lag_days=_lag(about, given), batches=measured)


def _nothing_joins(delivery: Delivery, keys: "pd.Series[str]", known: set[str]) -> DataError:
    """Why no label could be used: its keys were never scored, or those that were have more than one."""
    if known.isdisjoint(digests(keys)):
        what = f"{delivery.source.name}: none of {len(keys):,} keys in {delivery.key_column!r} was scored."
        return DataError(what, "Name the column that was the key of the batch: --key-column")
    what = f"{delivery.source.name}: each scored key in {delivery.key_column!r} comes with different labels."
    return DataError(what, "Give each key one label: the one that holds.")


def _other_classes(delivery: Delivery, scored: list[Scored], given: "pd.Series[str]") -> dict[str, int]:
    """How many rows have each label that is no class of the version which scored them, the most frequent first.

    Raises:
        DataError: None has one that is: the column is another one.
    """
    truths = [(each, each.truths(given)) for each in scored]
    others = pd.concat([labels[~each.are_known(labels)] for each, labels in truths])
    if len(others) == sum(len(labels) for _, labels in truths):
        classes = ", ".join(f"{name:.40}" for name in sorted(set().union(*(each.classes for each in scored)))[:20])
        what = f"{delivery.source.name}: not one label in {delivery.label_column!r} is a class of {delivery.name}"
        raise DataError(f"{what} ({classes}), but {others.iloc[0]!r:.60}.", "Name their column: --label-column")
    return {str(label): int(rows) for label, rows in others.value_counts().items()}


def _kept(delivery: Delivery, about: list[Scored]) -> tuple[Measured, ...]:
    """Measure batches by all labels that there are; again if some came meanwhile: who keeps last has seen all."""
    while True:
        seen = store.tables(delivery.root, f"{delivery.name}/{LABELS}/*.parquet")
        truths = _truths(delivery.root, delivery.name)
        measured = tuple(_measured(delivery, each, truths) for each in about)
        for each in measured:
            store.keep(delivery.root, "performance", each)
        if store.tables(delivery.root, f"{delivery.name}/{LABELS}/*.parquet") == seen:
            return measured


def known(about: Answers) -> dict[str, Measured]:
    """How well batches that lie elsewhere were answered, by the labels that were delivered so far; nothing is kept."""
    truths = _truths(about.root, about.name)
    scored = (each for each in _with_classes(about, _scored(about)) if each.are_known(each.truths(truths)).any())
    return {f"v{each.manifest.model_version}/{each.batch}": _measured(about, each, truths) for each in scored}


def worst_rows(root: Path, output_root: Path, performance: Sequence[Measured]) -> list[WorstRow]:
    """The worst rows of the last batch that has labels, if it is still there."""
    last = max(performance, key=lambda each: each.order, default=None)
    scored = _of(root, output_root, last) if last else None
    if last is None or scored is None:
        return []
    truths = _truths(root, last.model)
    answers = scored.answers[scored.answers.index.isin(truths.keys())]
    problem = named(scored.manifest.problem)
    return worst(problem, last.batch, answers.assign(truth=_typed(problem, answers.index, truths).to_numpy()))


def _of(root: Path, output_root: Path, measured: Measured) -> Answered | None:
    """The predictions of a batch or window that was measured, if they are still there."""
    if measured.is_served:
        return windows.of(root, measured.model, measured.version, measured.batch)
    folder = output_root / measured.model / str(measured.version) / measured.batch
    return _read(folder, batches.load(folder)) if volumes.is_published(folder) else None


def _scored(delivery: Answers) -> Iterator[Answered]:
    """The published batches of all versions that have a key."""
    for path in volumes.glob(delivery.output_root, f"{delivery.name}/*/*/{MANIFEST}"):
        if path.parent.name.startswith("."):  # a killed process was about to publish it
            continue
        manifest = batches.load(path.parent)
        if manifest.key_column and manifest.scored:
            yield _read(path.parent, manifest)


def _served(delivery: Answers) -> Iterator[Answered]:
    """The windows of requests that all versions have answered."""
    return (each for each in windows.every(delivery.root, delivery.name) if len(each.answers))


def _with_classes(delivery: Answers, answered: Iterable[Answered]) -> Iterator[Scored]:
    """The same with the classes that each version could have answered."""
    classes: dict[str, frozenset[str]] = {}
    for each in answered:
        manifest = each.manifest
        if manifest.run_id not in classes:
            classes[manifest.run_id] = _classes(delivery, manifest)
        known = classes[manifest.run_id]
        yield Scored(*each, classes=known | manifest.labels.keys() if known else known)


def _classes(delivery: Answers, manifest: BatchManifest) -> frozenset[str]:
    """The classes of the dataset version that a model was judged on, which are those it was trained on."""
    if not named(manifest.problem).table.has_classes:
        return frozenset()
    baseline = _baseline(delivery, manifest)
    with suppress(NotFoundError):
        return frozenset(dataset.load(delivery.data_root, baseline.data_name, baseline.data_version).classes)
    return frozenset()


def _read(place: Path, manifest: BatchManifest) -> Answered:
    """A batch with a key and its predictions."""
    folder = volumes.local(place)
    columns = ["input_key", "row", *named(manifest.problem).prediction]
    names = [name for name in sorted(manifest.parts) if name != REJECTED]
    answers = pd.concat([pq.read_table(folder / name, columns=columns).to_pandas() for name in names])
    return Answered(place.name, manifest, answers.set_index(digests(answers.pop("input_key"))))


def _usable(rows: pd.DataFrame, scored: list[Scored]) -> tuple["pd.Series[str]", dict[str, int]]:
    """One label for each digest of a key, in one spelling, and what became of the other rows."""
    problem = named(scored[0].manifest.problem)
    cells = rows[TRUTH].str.strip()
    if problem.table.has_classes:
        classes = {label for each in scored for label in (each.classes or each.manifest.labels)}
        cells = spelled(cells, sorted(classes))
    elif problem.model_type == "regressor":
        numbers = pd.to_numeric(cells, errors="coerce")
        cells = numbers.map(repr).where(np.isfinite(numbers), "")
    usable = (cells != "") & (rows[KEY].str.strip() != "")
    there = pd.DataFrame({KEY: digests(rows.loc[usable, KEY]), TRUTH: cells[usable].to_numpy()})
    distinct = there.drop_duplicates()
    contradictory = distinct.loc[distinct[KEY].duplicated(keep=False), KEY].unique()
    kept = distinct[~distinct[KEY].isin(contradictory)].set_index(KEY)[TRUTH]
    aside = int(there[KEY].isin(contradictory).sum())
    repeated = len(there) - aside - len(kept)
    return kept, {"unusable": int((~usable).sum()), "contradictory": aside, "repeated": repeated}


def _truths(root: Path, name: str) -> dict[str, str]:
    """The newest label of each key that was delivered before."""
    found: dict[str, str] = {}
    for path in store.tables(root, f"{name}/{LABELS}/*.parquet"):
        table = pq.read_table(volumes.local(path))
        found |= dict(zip(table[KEY].to_pylist(), table[TRUTH].to_pylist(), strict=True))
    return found


def _keep(delivery: Delivery, labels: "pd.Series[str]") -> None:
    now = datetime.now(UTC)
    table = pa.table({KEY: labels.index.to_list(), TRUTH: labels.to_list(), "at": [now] * len(labels)})
    store.put(delivery.root / delivery.name / LABELS / f"{now:%Y%m%dT%H%M%S%f}.parquet", table)


def _measured(delivery: Answers, scored: Scored, truths: Mapping[str, str]) -> Measured:
    """How well a batch was answered, as far as its labels are there."""
    manifest, now = scored.manifest, datetime.now(UTC)
    words = scored.answers.index.to_series().map(truths)
    answers = scored.answers[(words.notna() & scored.are_known(words)).to_numpy()]
    problem = named(manifest.problem)
    truth = _typed(problem, answers.index, truths)
    scores = problem.judging.scores_of(truth, {"": answers.reset_index(drop=True)})[""]
    baseline = _baseline(delivery, manifest)
    values = slices.known(delivery.root, delivery.name).reindex(answers.index)
    lines = (
        *_lines(delivery, problem, scores, baseline),
        *slices.lines(problem, scores, truth, values, delivery.rules),
    )
    if any(line.beyond for line in lines):
        bad = worst(problem, scored.batch, answers.assign(truth=truth.to_numpy()))[:SHOWN]
        lines += tuple(line_of(each.row, "answered worst", len(truth)) for each in bad)
    return Measured(
        model=delivery.name,
        version=manifest.model_version or 0,
        batch=scored.batch,
        day=manifest.logical_date or now.date(),
        at=now,
        baseline=baseline.digest,
        rows_in=manifest.rows_in,
        scored=manifest.scored,
        lines=lines,
    )


def _typed(problem: Problem, keys: pd.Index, truths: Mapping[str, str]) -> "pd.Series[Any]":
    """The labels of some keys, as the problem measures them."""
    words = keys.to_series().map(truths).reset_index(drop=True)
    return words if problem.model_type != "regressor" else words.astype("float64")


def _lines(delivery: Answers, problem: Problem, scores: Scores, baseline: Baseline) -> Iterator[Line]:
    """Each metric with its interval."""
    yardstick = Yardstick(baseline, delivery.gate, delivery.rules)
    there = {metric.name: metric for metric in problem.judging.standard(scores) if metric.name in baseline.metrics}
    deciding = yardstick.deciding(there)
    ordered = sorted(there.values(), key=lambda metric: metric.name != deciding)
    spreads, _ = bootstrapped(ordered, {"challenger": scores}, CONFIDENCE, RESAMPLES)
    intervals = {name: spread.interval for (_, name), spread in spreads.items()}
    found = (Found(there[name], each.value, each.low, each.high) for name, each in intervals.items())
    yield from yardstick.lines("performance", found, len(scores.truth))


def _baseline(delivery: Answers, manifest: BatchManifest) -> Baseline:
    model = ModelRef(
        tracking_uri=delivery.tracking_uri,
        registry_uri=delivery.registry_uri,
        uri="",
        run_id=manifest.run_id,
        artifact_sha256=manifest.artifact_sha256,
        name=manifest.model_name,
        version=manifest.model_version,
    )
    return baseline_of(model, delivery.data_root)


def _lag(scored: list[Scored], given: "pd.Series[str]") -> float | None:
    """How many days after the day of a batch its labels come: the median over those that came now."""
    today = datetime.now(UTC).date()
    days = [
        (today - each.manifest.logical_date).days
        for each in scored
        if each.manifest.logical_date
        for _ in range(int(each.answers.index.isin(given.index).sum()))
    ]
    return float(np.median(days)) if days else None
