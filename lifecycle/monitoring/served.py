"""Requests to a server or endpoint: those of an hour or day are measured like a batch.

They lie in an inference table: what `mlops serve` keeps, or that of an endpoint in Databricks. Of both one row is one
request, with its body and that of the answer as JSON. A window is measured once it is over and all of it is there.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from scipy.stats import binom

from lifecycle.core.errors import CHECK_PLACE, ConfigError, DataError, NotFoundError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import ProblemName
from lifecycle.core.provenance import code_version
from lifecycle.core.references import ModelRef
from lifecycle.data import delta
from lifecycle.inference import sample
from lifecycle.inference.manifest import BatchManifest
from lifecycle.inference.predictions import Tally
from lifecycle.monitoring import answers as windows_answered
from lifecycle.monitoring import shadow, store, watch
from lifecycle.monitoring.findings import SERVED, Line, Measured
from lifecycle.monitoring.measure import Observed, measured
from lifecycle.monitoring.shadow import Subject
from lifecycle.problems.known import Problem, named
from lifecycle.registry import promotion
from lifecycle.registry import store as registry
from lifecycle.registry.store import Target
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules, Percentile

logger = logging.getLogger(__name__)

TIMES, DURATIONS = ("request_time", "timestamp_ms"), ("execution_duration_ms", "execution_time_ms")
"""What a column is called in the inference tables of now, and in those before."""
VERSIONS = ("model_version", "request_metadata")
BODIES = ("status_code", "request", "response")
IDS = ("client_request_id", "databricks_request_id", "request_id")
"""What names a request: first what who asked calls it."""
OK = 200
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


class Asked(NamedTuple):
    """The requests of a window, row by row."""

    rows_in: int
    rejected: int
    inputs: pd.DataFrame
    answers: pd.DataFrame
    keys: list[str]
    """What identifies each row that was answered: its key, or the name of the request; empty if nothing does."""
    milliseconds: "np.ndarray[Any, np.dtype[np.float64]]"


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


def canonical(table: pd.DataFrame, champion: int, since: datetime) -> pd.DataFrame:
    """The rows of an inference table as `at`, `ms`, `version`, status and bodies, whichever release wrote them.

    Args:
        table: With the columns of Databricks' inference tables, of now or before, or of a server of ours.
        champion: The version of rows that name none.
        since: Earlier rows of these are left out.
    """
    time, duration = _one_of(table, TIMES), _one_of(table, DURATIONS)
    moments = table[time].astype("datetime64[ms]") if table[time].dtype.kind in "iu" else table[time]
    at = pd.to_datetime(moments, utc=True).astype("datetime64[us, UTC]")
    version = pd.Series(np.nan, table.index)
    for name in VERSIONS:
        if name in table:
            version = version.fillna(pd.to_numeric(table[name].map(_version_in), errors="coerce"))
    nameless = version.isna()
    rows = pd.DataFrame({"at": at, "ms": table[duration].astype("float64"), "version": version.fillna(champion)})
    rows = rows.astype({"version": "int64"}).join(table[[name for name in BODIES if name in table]])
    ids = [table[name] for name in IDS if name in table]
    if ids:
        rows["id"] = pd.concat(ids, axis="columns").bfill(axis="columns").iloc[:, 0].fillna("").astype(str)
    return rows.loc[~nameless | (at >= pd.Timestamp(since))]


def rows_of(body: Any) -> list[dict[str, Any]]:
    """The rows that a query asks about, in any form that a scoring server takes.

    Raises:
        ValueError: It is none of these.
    """
    if not isinstance(body, Mapping):
        raise ValueError("the body is no object")
    if "dataframe_split" in body:
        split = body["dataframe_split"]
        return [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    found = next((body[name] for name in ("dataframe_records", "instances", "inputs") if name in body), [dict(body)])
    if isinstance(found, Mapping):
        columns = {name: cells if isinstance(cells, list) else [cells] for name, cells in found.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not all(isinstance(row, Mapping) for row in found):
        raise ValueError("its rows name no columns")
    return [dict(row) for row in found]


def asked(rows: pd.DataFrame, problem: Problem, key: str | None = None) -> Asked:
    """The requests of some canonical rows; what cannot be read is left out, and told.

    Args:
        rows: Of an inference table.
        problem: Says what is predicted.
        key: The column that identifies a row, where a request names it.

    Raises:
        DataError: Nothing can be read.
    """
    inputs, answers, rejected, unreadable = list[dict[str, Any]](), list[dict[str, Any]](), 0, list[str]()
    keys, ids = list[str](), rows["id"] if "id" in rows else [""] * len(rows)
    bodies = (rows[name] for name in BODIES)
    for status, request, response, name in zip(*bodies, ids, strict=True):
        try:
            given = rows_of(json.loads(request)) if isinstance(request, str) else [{}]
            if status != OK:
                rejected += max(1, len(given))
                continue
            said = _answers_in(json.loads(response), [*problem.prediction], len(given))
        except (ValueError, TypeError, KeyError) as error:
            if status != OK:
                rejected += 1
            else:
                unreadable.append(str(error))
            continue
        inputs += given
        answers += said
        keys += _keys(given, key, name)
    if unreadable:
        what = f"{len(unreadable):,} of {len(rows):,} requests cannot be read: {unreadable[0]:.200}"
        if len(unreadable) == len(rows):
            raise DataError(f"{what}.", "Is it the inference table of this model? monitoring.served.table names it.")
        logger.warning("%s", what)
    index = pd.RangeIndex(1, len(inputs) + 1, name="row")
    return Asked(
        len(inputs) + rejected,
        rejected,
        pd.DataFrame(inputs, index, dtype=object),
        pd.DataFrame(answers, index, columns=[*problem.prediction]),
        keys,
        rows["ms"].to_numpy(np.float64),
    )


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
    found = asked(rows, named(baseline.problem), requests.key)
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


def _keys(rows: Sequence[Mapping[str, Any]], key: str | None, name: str) -> list[str]:
    """What identifies the rows of a request: their key where they have one, else its name with the row's number."""
    of_request = [name] if len(rows) == 1 or not name else [f"{name}/{number}" for number in range(len(rows))]
    if not name:
        of_request = [""] * len(rows)
    return [
        str(row[key]) if key and row.get(key) is not None else other
        for row, other in zip(rows, of_request, strict=True)
    ]


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
    names, parts = _opened(requests.table)
    for wanted in (TIMES, DURATIONS, *((each,) for each in BODIES)):
        if not {*wanted} & {*names}:
            what = f"{requests.table} has no column {' or '.join(wanted)}: it is no inference table."
            raise ConfigError(what, "Name that of the endpoint: monitoring.served.table")
    taken = [name for name in names if name in {*TIMES, *DURATIONS, *VERSIONS, *((*BODIES, *IDS) if whole else ())}]
    for part in parts(taken):
        rows = canonical(part.to_pandas(), requests.champion, requests.since)
        yield rows.assign(start=rows["at"].dt.floor(FREQUENCIES[requests.rules.served.window]))


Parts = Callable[[list[str]], Iterator[pa.RecordBatch]]


def _opened(table: str) -> tuple[Sequence[str], Parts]:
    """The columns of a table, and what reads some of them."""
    if delta.is_name(table):
        frame = delta.table_of(table, None)
        return frame.columns, lambda names: iter(frame.select(*names).toArrow().to_batches())
    if "://" in table or Path(table, "_delta_log").is_dir():
        return delta.schema(table).names, lambda names: delta.batches(table, names)
    if not Path(table).is_dir():
        raise NotFoundError(f"{table} is no folder of requests.", CHECK_PLACE)
    found = ds.dataset(table, format="parquet")
    return found.schema.names, lambda names: found.to_batches(columns=names)


def _one_of(table: pd.DataFrame, names: Sequence[str]) -> str:
    return next(name for name in names if name in table)


def _version_in(cell: Any) -> Any:
    """The version that a cell names: itself, or an entry of a map as Arrow or Spark give it."""
    if isinstance(cell, list | tuple | Mapping):
        return dict(cell).get("model_version")
    return cell


def _answers_in(body: Any, columns: Sequence[str], rows: int) -> list[dict[str, Any]]:
    """The predictions in an answer, one for each row of the query."""
    said = body.get("predictions", [body]) if isinstance(body, Mapping) else body
    if not isinstance(said, list) or len(said) != rows:
        raise ValueError(f"the answer has no prediction for each of {rows} rows")
    found = [each if isinstance(each, Mapping) else {columns[0]: each} for each in said]
    if missing := {*columns} - {*found[0]} if found else ():
        raise ValueError(f"predictions have no {', '.join(sorted(missing))}")
    return [{name: each[name] for name in columns} for each in found]
