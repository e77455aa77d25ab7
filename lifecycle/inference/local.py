"""The engine `local`: a stream of chunks, scored by one process or by all cores; the memory of a few chunks."""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import cache, partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import cpu_count  # type: ignore[import-untyped]
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lifecycle.core import children, progress
from lifecycle.core.errors import TransientError
from lifecycle.data import ingest, tombstones
from lifecycle.data.cells import storable
from lifecycle.inference import sample
from lifecycle.inference.inputs import Inputs, Refusal, refusals
from lifecycle.inference.manifest import REJECTED, BatchRequest, Counts
from lifecycle.inference.predictions import Tally, predict
from lifecycle.models import loading
from lifecycle.problems.classification.summary import PROBABILITY
from lifecycle.problems.contract import TEXT
from lifecycle.problems.known import named
from lifecycle.storage.files import publish_file

SPLIT = "split"
"""In a dataset version: which of its splits a row is in."""
ROWS_SHA256 = b"rows_sha256"
"""In the metadata of a part: the digest of the rows that it was made of."""

ALONE, WORTH = 5.0, 20.0
"""After so many seconds of scoring, other processes join in if it would take so many more: to start one takes three, of
a whole core."""

Part = tuple[int, pd.DataFrame]


class Scored(NamedTuple):
    """What became of the rows of a part; `path` is None where no row was scored."""

    rows_in: int
    rows_erased: int
    tally: Tally
    rejected: pd.DataFrame
    path: Path | None
    sample: pd.DataFrame | None = None


class Work(NamedTuple):
    """What there is to score, with a loaded model, whose files are in one folder, into another folder."""

    request: BatchRequest
    model: Any
    model_folder: Path
    folder: Path
    parts: Iterator[Part]
    rows: Callable[[], int]
    """How many rows there are, or a few more."""


Engine = Callable[[ExitStack, Work], Iterator[Scored]]
"""What scores the parts of a table."""

logger = logging.getLogger(__name__)

_request: BatchRequest | None = None
_model: Any = None
"""In a process of the pool: what it scores, and the model, loaded once."""


def score(request: BatchRequest, folder: Path) -> Counts:
    """Score the input on the cores of this machine; see `score_with`."""
    return score_with(_on_cores, request, folder)


def score_with(engine: Engine, request: BatchRequest, folder: Path) -> Counts:
    """Score the input into part files; parts that are there from an interrupted run are kept.

    A row that the model cannot score is rejected with its reason: its text is blank, a cell is unreadable or of another
    kind than its column. A malformed table is an error.
    """
    rejected: list[pd.DataFrame] = []
    tallies: list[Tally] = []
    totals, expected, written = Counter[str](), 0, set[Path]()
    count = cache(partial(ingest.line_count, request.input, request.rules))
    kept: pd.DataFrame | None = None
    pace, begun, is_anew = progress.Pace(), time.monotonic(), not any(folder.glob("part-*"))
    with loading.private_copy(request.model) as model_folder, ExitStack() as stack:
        stack.enter_context(threadpool_limits(1, "blas"))  # several wait for each other busily, on rows as few as these
        model = loading.load_verified(model_folder, request.model)
        inputs = Inputs.of(request, model)
        for done in engine(stack, Work(request, model, model_folder, folder, _parts(request, inputs), count)):
            totals += Counter(rows_in=done.rows_in, rows_erased=done.rows_erased)
            tallies.append(done.tally)
            rejected.append(done.rejected)
            kept = done.sample if kept is None else sample.of(pd.concat([kept, done.sample]))
            written |= {done.path} if done.path else set()
            if done.rows_in == request.inference.rows_per_part:  # there may be more than this part
                expected = count()
            progress.report(totals["rows_in"], expected)
            if pace.is_due():
                of_all = f" of about {expected:,}" if expected else ""
                logger.info("Scored %s%s rows", f"{totals['rows_in']:,}", of_all)
    for stale in set(folder.glob("part-*.parquet")) - written:  # of an interrupted run over other rows
        stale.unlink()
    if request.sample and kept is not None:
        sample.keep(request.sample, kept, time.monotonic() - begun if is_anew else None)
    reasons, tally = _write_rejected(rejected, folder / REJECTED), Tally.merged(tallies)
    return Counts(
        problem=model.problem,
        columns=inputs.by_source,
        rows_in=totals["rows_in"],
        scored=tally.rows,
        rows_erased=totals["rows_erased"],
        rejected=reasons,
        labels=dict(sorted(tally.labels.items())),
        numbers=tally.numbers,
        beside=_beside(request, written),
    )


def _beside(request: BatchRequest, parts: Collection[Path]) -> dict[str, str]:
    """The columns beside the prediction, as the first part has them, each with its type."""
    if not request.form or not parts:
        return {}
    written = {field.name: str(field.type) for field in pq.read_schema(min(parts))}
    return {name: kind for name, kind in written.items() if name in request.kept or name.startswith(PROBABILITY)}


def _parts(request: BatchRequest, inputs: Inputs) -> Iterator[Part]:
    """The columns of the table that the model, the reader and the erased rows are told by, in chunks."""
    columns = dict.fromkeys(request.kept.values(), "inference.keep")
    columns |= ({request.key_column: "--key-column"} if request.key_column else {}) | inputs.options
    chunks = ingest.stream(
        request.input,
        request.rules,
        columns | ({SPLIT: ""} if request.splits else {}),
        rows_per_chunk=request.inference.rows_per_part,
        sha256=request.input_sha256,
        also=tombstones.load(request.output_root).columns,
    )
    if request.splits:
        rows = (chunk[chunk[SPLIT].isin(request.splits)].drop(columns=SPLIT) for chunk in chunks)
        chunks = (chunk for chunk in rows if len(chunk))
    return enumerate(chunks)


def _on_cores(stack: ExitStack, work: Work) -> Iterator[Scored]:
    """Score in this process and, if that takes long, beside it in one more for each other core."""
    request, parts = work.request, work.parts
    here = partial(score_part, request, work.model, work.folder)
    workers, begun, done = request.inference.workers or cpu_count(), time.monotonic(), 0
    for part in parts:
        if workers > 1 and (request.inference.workers or _takes_long(time.monotonic() - begun, done, work.rows)):
            parts = chain([part], parts)
            break
        yield here(part)
        done += len(part[1])
    first = list(islice(parts, 2))
    if len(first) < 2:
        yield from map(here, first)
        return
    pool = ProcessPoolExecutor(workers - 1, get_context("spawn"), _prepare, (os.getpid(), request, work.model_folder))
    stack.callback(pool.shutdown, cancel_futures=True)
    there = partial(_score_in_worker, work.folder)
    try:
        yield from _shared(pool, there, here, chain(first, parts), 2 * (workers - 1))
    except BrokenProcessPool:
        what = f"One of the {workers} processes that score was killed, as the system does when memory is short."
        fix = "Give the command again: what is scored is kept. Fewer need less: export MLOPS_INFERENCE__WORKERS=1"
        raise TransientError(what, fix) from None


def _takes_long(seconds: float, done: int, count: Callable[[], int]) -> bool:
    """Whether so much is left, at the pace so far, that another process is worth its start."""
    return seconds > ALONE and done > 0 and seconds * (count() / done - 1) > WORTH


def _shared(
    pool: Executor, there: Callable[[Part], Scored], here: Callable[[Part], Scored], parts: Iterator[Part], limit: int
) -> Iterator[Scored]:
    """Score parts in a pool, at most `limit` of them waiting or worked on there, and the others here meanwhile."""
    running: set[Future[Scored]] = set()
    for part in parts:
        done, running = wait(running, timeout=0)
        yield from (future.result() for future in done)
        if len(running) < limit:
            running.add(pool.submit(there, part))
        else:
            yield here(part)
    yield from (future.result() for future in running)


def bounded(pool: Executor, scorer: Callable[[Part], Scored], parts: Iterable[Part], limit: int) -> Iterator[Scored]:
    """Score parts in a pool, at most `limit` of them in memory; they come back in the order of completion."""
    running: set[Future[Scored]] = set()
    for part in parts:
        if len(running) >= limit:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        running.add(pool.submit(scorer, part))
    yield from (future.result() for future in running)


def _prepare(parent: int, request: BatchRequest, model_folder: Path) -> None:
    """Load the verified model once per process, which keeps to one core."""
    global _request, _model
    children.end_with(parent)
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # what joblib takes for all cores
    threadpool_limits(1)
    _request, _model = request, loading.load_verified(model_folder, request.model)


def _score_in_worker(folder: Path, part: Part) -> Scored:
    if _request is None:
        raise RuntimeError("_prepare runs first")
    return score_part(_request, _model, folder, part)


def score_part(request: BatchRequest, model: Any, folder: Path, part: Part) -> Scored:
    """Write one part file unless it is there, of the same rows, and report what it holds."""
    (number, rows), inputs = part, Inputs.of(request, model)
    chunk = rows[~tombstones.load(request.output_root).among(rows, inputs.text_sources)]
    refused = refusals(inputs.taken_from(chunk), inputs.columns, request.rules)
    is_refused = chunk.index.isin([*refused])
    good, path = chunk[~is_refused], folder / f"part-{number:05d}.parquet"
    return Scored(
        rows_in=len(rows),
        rows_erased=len(rows) - len(chunk),
        tally=Tally(0, Counter(), None) if good.empty else _tally(request, model, good, path),
        rejected=_rejected(chunk[is_refused], refused, request),
        path=None if good.empty else path,
        sample=sample.of(inputs.taken_from(good)) if request.sample else None,
    )


def _rejected(rows: pd.DataFrame, refused: dict[int, Refusal], request: BatchRequest) -> pd.DataFrame:
    told = pd.DataFrame([refused[row] for row in rows.index], rows.index, [*Refusal._fields], dtype=object)
    return told.assign(input_key=_keys(rows, request))


def _tally(request: BatchRequest, model: Any, rows: pd.DataFrame, path: Path) -> Tally:
    """What the predictions of a part say, which is written unless an interrupted run has written it of these rows."""
    digest = _digest(rows, request.form)
    if path.exists() and (pq.read_metadata(path).metadata or {}).get(ROWS_SHA256) == digest:
        return Tally.of(pq.read_table(path, columns=[*named(model.problem).prediction]), model.problem)
    table = _predict(request, model, rows).replace_schema_metadata({ROWS_SHA256: digest})
    with publish_file(path) as temporary:
        pq.write_table(table, temporary)
    return Tally.of(table, model.problem)


def _digest(rows: pd.DataFrame, form: Sequence[Any]) -> bytes:
    """What names the rows of a part: their numbers and their cells, and what is to stand beside their predictions."""
    content = [rows.index.to_list(), *([str(cell) for cell in rows[name]] for name in rows), *form]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest().encode()


def _predict(request: BatchRequest, model: Any, rows: pd.DataFrame) -> pa.Table:
    made_by, count = request.model, len(rows)
    inputs, asked = Inputs.of(request, model).taken_from(rows), request.inference.probabilities
    predicted = predict(model, made_by.label, inputs, probabilities=asked)
    return pa.table(
        {
            "row": pa.array(rows.index.to_numpy(), pa.int64()),
            "input_key": _keys(rows, request),
            **{name: predicted[name] for name in predicted.column_names},
            "model_name": pa.array([made_by.name] * count, pa.string()),
            "model_version": pa.array([made_by.version] * count, pa.int64()),
            "run_id": pa.array([made_by.run_id] * count, pa.string()),
            **{name: _texts(rows[column]) for name, column in request.kept.items()},
        }
    )


def _keys(rows: pd.DataFrame, request: BatchRequest) -> "pa.StringArray":
    return _texts(rows[request.key_column] if request.key_column else rows.index)


def _texts(cells: Iterable[Any]) -> "pa.StringArray":
    return storable([*map(str, cells)]).cast(pa.string())


def _storable(text: str) -> str:
    """The text with `?` for the halves of surrogate pairs, which JSON can hold and Parquet cannot."""
    return text.encode("utf-8", "replace").decode()


def _write_rejected(rejected: list[pd.DataFrame], path: Path) -> dict[str, int]:
    """Write the rows that could not be scored, with their text as far as it can be stored, and count them by reason."""
    rows = [
        (record.Index, record.input_key, record.reason, _storable(str(record.text))[:1000])
        for frame in rejected
        for record in frame.itertuples()
    ]
    rows.sort()
    names = {"row": pa.int64(), "input_key": pa.string(), "reason": pa.string(), TEXT: pa.string()}
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(names.values())]
    with publish_file(path) as temporary:
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), temporary)
    return dict(sorted(Counter(str(row[2]) for row in rows).items()))
