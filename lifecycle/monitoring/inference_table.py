"""Inference tables: what requests asked and were answered, as servers here and the endpoints of Databricks keep it."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from lifecycle.core.errors import CHECK_PLACE, ConfigError, DataError, NotFoundError
from lifecycle.data import delta
from lifecycle.problems.contract import OverHttp
from lifecycle.problems.known import Problem

logger = logging.getLogger(__name__)

TIMES, DURATIONS = ("request_time", "timestamp_ms"), ("execution_duration_ms", "execution_time_ms")
"""What a column is called in the inference tables of now, and in those before."""
VERSIONS = ("model_version", "request_metadata")
BODIES = ("status_code", "request", "response")
IDS = ("client_request_id", "databricks_request_id", "request_id")
"""What names a request: first what who asked calls it."""
OK = 200

Parts = Callable[[list[str]], Iterator[pa.RecordBatch]]


class Asked(NamedTuple):
    """The requests of a window, row by row."""

    rows_in: int
    rejected: int
    inputs: pd.DataFrame
    answers: pd.DataFrame
    keys: list[str]
    """What identifies each row that was answered: its key, or the name of the request; empty if nothing does."""
    milliseconds: "np.ndarray[Any, np.dtype[np.float64]]"


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
    form = problem.over_http
    needed = form.tells if form else (*problem.prediction,)
    inputs, answers, rejected, unreadable = list[dict[str, Any]](), list[dict[str, Any]](), 0, list[str]()
    keys, ids = list[str](), rows["id"] if "id" in rows else [""] * len(rows)
    bodies = (rows[name] for name in BODIES)
    for status, request, response, name in zip(*bodies, ids, strict=True):
        try:
            given = rows_of(json.loads(request)) if isinstance(request, str) else [{}]
            given = form.asked(given) if form else given
            if status != OK:
                rejected += max(1, len(given))
                continue
            said = _answers_in(json.loads(response), needed, len(given), form)
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
    columns = [name for name in problem.prediction if all(name in answer for answer in answers)]
    index = pd.RangeIndex(1, len(inputs) + 1, name="row")
    return Asked(
        len(inputs) + rejected,
        rejected,
        pd.DataFrame(inputs, index, dtype=object),
        pd.DataFrame(answers, index, columns=columns),
        keys,
        rows["ms"].to_numpy(np.float64),
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


def read(table: str, *, whole: bool) -> Iterator[pd.DataFrame]:
    """The rows of a table as they stand there, one part after the other; without bodies if these are not wanted.

    Raises:
        ConfigError: It is no inference table.
        NotFoundError: It is no folder.
    """
    names, parts = _opened(table)
    for wanted in (TIMES, DURATIONS, *((each,) for each in BODIES)):
        if not {*wanted} & {*names}:
            what = f"{table} has no column {' or '.join(wanted)}: it is no inference table."
            raise ConfigError(what, "Name that of the endpoint: monitoring.served.table")
    taken = [name for name in names if name in {*TIMES, *DURATIONS, *VERSIONS, *((*BODIES, *IDS) if whole else ())}]
    yield from (part.to_pandas() for part in parts(taken))


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


def _answers_in(body: Any, columns: Sequence[str], rows: int, form: OverHttp | None) -> list[dict[str, Any]]:
    """The predictions in an answer, one for each row of the query."""
    said = body.get("predictions", [body]) if isinstance(body, Mapping) else body
    if not isinstance(said, list) or len(said) != rows:
        raise ValueError(f"the answer has no prediction for each of {rows} rows")
    if form:
        found = [form.told(each) for each in said]
    else:
        found = [dict(each) if isinstance(each, Mapping) else {columns[0]: each} for each in said]
    if missing := {name for each in found for name in columns if name not in each}:
        raise ValueError(f"predictions have no {', '.join(sorted(missing))}")
    return found
