"""Requests to a server or endpoint: those of an hour or day are measured like a batch.

They lie in an inference table: what `mlops serve` keeps, or that of an endpoint in Databricks. Of both one row is one
request, with its body and that of the answer as JSON. A window is measured once it is over and all of it is there.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import binom

from lifecycle.core.errors import CHECK_PLACE, DataError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import ProblemName
from lifecycle.core.provenance import code_version
from lifecycle.core.references import ModelRef
from lifecycle.data import delta
from lifecycle.inference import sample
from lifecycle.inference.manifest import BatchManifest
from lifecycle.inference.predictions import Tally
from lifecycle.monitoring import answers as windows_answered
from lifecycle.monitoring import inference_table, shadow, store, watch
from lifecycle.monitoring.findings import SERVED, Line, Measured
from lifecycle.monitoring.inference_table import Asked
from lifecycle.monitoring.measure import Observed, measured
from lifecycle.monitoring.subject import Subject
from lifecycle.problems.known import named
from lifecycle.registry import promotion
from lifecycle.registry import store as registry
from lifecycle.registry.store import Target
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules, Percentile

logger = logging.getLogger(__name__)

FREQUENCIES, FORMS = {"hour": "h", "day": "D"}, {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d"}
"""Of windows: as pandas calls them, and how their beginnings are written."""
PERCENTILES: dict[Percentile, float] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
CHANCE = 0.005
HERE, ELSEWHERE = timedelta(minutes=1), timedelta(hours=1)
"""So long after its end a window may still get requests: of a server here, and of Databricks' best effort."""


class Requests(Frozen):
    """Which requests are measured, by which rules, and where that lies."""

    target: Target
    table: str
    champion: int
    since: datetime
    """When it became champion: a table that names no version is about it from then on."""
    rules: MonitoringRules
    root: Path
    data_root: Path
    gate: GateRules = GateRules()
    key: str | None = None
    """The column of a request that identifies a row, for labels that come later."""
    former: int | None = None
    """The version that has to answer the same, since the champion is on probation."""


class Window(NamedTuple):
    """An hour or day of one version."""

    version: int
    start: pd.Timestamp
    name: str


def requests_of(subject: Subject, table: str, key: str | None = None) -> Requests | None:
    """The requests to a model in a table, or in the folder of a server here; None while there is no such folder."""
    if not delta.is_name(table) and "://" not in table and not Path(table).exists():
        if subject.rules.served.table is None:
            return None
        raise NotFoundError(f"{table} is not there: monitoring.served.table names it.", CHECK_PLACE)
    now = promotion.read_log(subject.target)
    if now.champion is None or not now.changes:
        return None
    last = registry.version(subject.target, now.changes[-1].number)
    probation = shadow.stands(subject)
    return Requests(
        key=key,
        former=probation.former if probation.state == "running" and not probation.is_over else None,
        target=subject.target,
        table=table,
        champion=now.champion,
        since=datetime.fromtimestamp(last.created_at / 1000, UTC),
        rules=subject.rules,
        root=subject.root,
        data_root=subject.data_root,
        gate=subject.gate,
    )


def measure(requests: Requests) -> None:
    """Measure each window that is over and was not measured before.

    One that cannot be measured, since its version has no baseline or no request can be read, is told.

    Raises:
        ConfigError: The table cannot be reached from here, or is none of requests.
    """
    windows = [window for window in _windows(requests) if not _is_measured(requests, window)]
    if not windows:
        return
    parts = (_among(frame, windows) for frame in _read(requests, whole=True))
    rows = pd.concat([part for part in parts if len(part)])
    for window in windows:
        there = rows[(rows["version"] == window.version) & (rows["start"] == window.start)]
        try:
            found = _observed(requests, window, there)
        except (NotFoundError, DataError) as error:  # of one version, or one hour: the others are measured
            logger.warning("%s of v%d was not measured: %s", window.name, window.version, error)
            continue
        store.keep(requests.root, "drift", found)
        beyond = ", ".join(f"{line.name} ({line.measure} {line.value:.3g})" for line in found.beyond)
        logger.info("Measured %s: %s", window.name, f"beyond the limits: {beyond}" if beyond else "within its limits")


def latencies(milliseconds: "np.ndarray[Any, np.dtype[np.float64]]", rules: MonitoringRules) -> Iterator[Line]:
    """How long requests took, with the interval that order statistics give a percentile (99 %)."""
    ordered = np.sort(milliseconds[np.isfinite(milliseconds)])
    count = len(ordered)
    for name, share in PERCENTILES.items() if count else ():
        low, high = (int(binom.ppf(chance, count, share)) for chance in (CHANCE, 1 - CHANCE))
        value, limit = float(np.quantile(ordered, share)), rules.max_latency.get(name, 0.0)
        least, most = float(ordered[max(0, low - 1)]), float(ordered[min(high, count - 1)])
        yield Line(
            part="latency",
            name="requests",
            measure=name,
            value=value,
            limit=limit,
            now=value,
            low=least,
            high=most,
            rows=count,
            beyond=bool(limit) and least > limit and count >= rules.min_rows,
        )


def _observed(requests: Requests, window: Window, rows: pd.DataFrame) -> Measured:
    """Measure a window, and keep what labels and the former champion need of it; who is killed does all of it again."""
    model = promotion.reference(requests.target, window.version)
    baseline = watch.baseline_of(model, requests.data_root)
    found = inference_table.asked(rows, named(baseline.problem), requests.key)
    observed = Observed(
        model=requests.target.name,
        version=window.version,
        batch=window.name,
        day=window.start.date(),
        rows_in=found.rows_in,
        rejected=found.rejected,
        scored=len(found.answers),
        inputs=lambda: sample.of(found.inputs),
        answers=lambda: iter([found.answers]),
        lines=tuple(latencies(found.milliseconds, requests.rules)),
    )
    windows_answered.keep(
        requests.root, window.name, _manifest(window, model, found, baseline.problem), found.answers, found.keys
    )
    if requests.former and window.version == requests.champion and found.inputs.shape[1]:
        every = found.inputs.assign(
            **{shadow.REQUEST: [key or str(row) for row, key in zip(found.inputs.index, found.keys, strict=True)]}
        )
        shadow.keep_requests(requests.root, requests.target.name, requests.former, window.name, every)
    return measured(observed, baseline, requests.rules, requests.gate)


def _manifest(window: Window, model: ModelRef, found: Asked, problem: ProblemName) -> BatchManifest:
    """A window as if it were a batch."""
    tally = Tally.of(pa.Table.from_pandas(found.answers, preserve_index=False), problem)
    return BatchManifest(
        model_name=model.name or "",
        model_version=window.version,
        run_id=model.run_id,
        artifact_sha256=model.artifact_sha256,
        problem=problem,
        input=window.name,
        input_digest="",
        logical_date=window.start.date(),
        key_column=shadow.REQUEST,
        rows_in=found.rows_in,
        scored=len(found.answers),
        rejected={"refused": found.rejected} if found.rejected else {},
        labels=dict(sorted(tally.labels.items())),
        numbers=tally.numbers,
        parts={},
        code_version=code_version(),
    )


def _windows(requests: Requests) -> list[Window]:
    """The windows that are over and have requests, in their order."""
    kind = requests.rules.served.window
    late = ELSEWHERE if requests.rules.served.table else HERE
    over = pd.Timestamp(datetime.now(UTC) - late).floor(FREQUENCIES[kind])
    parts = _read(requests, whole=False)
    found = {pair for part in parts for pair in zip(part["start"], part["version"], strict=True)}
    return [
        Window(int(version), start, f"{SERVED}{start.strftime(FORMS[kind])}")
        for start, version in sorted(found)
        if start < over
    ]


def _among(frame: pd.DataFrame, windows: Sequence[Window]) -> pd.DataFrame:
    """The rows of some windows."""
    wanted = pd.MultiIndex.from_tuples([(window.version, window.start) for window in windows])
    return frame[pd.MultiIndex.from_frame(frame[["version", "start"]]).isin(wanted)]


def _is_measured(requests: Requests, window: Window) -> bool:
    path = store.place(requests.root, requests.target.name, "drift", window.version, window.name)
    return path in store.tables(path.parent, "*.parquet")


def _read(requests: Requests, *, whole: bool) -> Iterator[pd.DataFrame]:
    """The canonical rows of the table, one part after the other; without bodies if these are not wanted."""
    for part in inference_table.read(requests.table, whole=whole):
        rows = inference_table.canonical(part, requests.champion, requests.since)
        yield rows.assign(start=rows["at"].dt.floor(FREQUENCIES[requests.rules.served.window]))
