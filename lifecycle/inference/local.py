"""The engine `local`: a stream of chunks, scored by one process or by all cores; the memory of a few chunks."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import progress
from lifecycle.data import ingest
from lifecycle.files import publish_file
from lifecycle.inference.batch import REJECTED, BatchRequest, Counts
from lifecycle.models import loading

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Part = tuple[int, "pd.DataFrame"]

_model: Any = None
_request: BatchRequest | None = None


def score(request: BatchRequest, folder: Path) -> Counts:
    """Score the input into part files; parts that are there from an interrupted run are kept.

    A row whose text is blank or unreadable is rejected with its reason; a malformed table is an error.
    """
    columns = [request.text_column, *([request.key_column] if request.key_column else [])]
    size = request.inference.rows_per_part
    chunks = enumerate(ingest.stream(request.input, request.rules, columns, rows_per_chunk=size))
    rejected: list[pd.DataFrame] = []
    totals, labels = Counter[str](), Counter[str]()
    with loading.private_copy(request.model) as model_folder, ExitStack() as stack:
        expected = 0
        for done in _scored(stack, request, folder, model_folder, chunks):
            totals += Counter(rows_in=done["rows_in"], scored=done["scored"])
            labels += Counter(done["labels"])
            rejected.append(done["rejected"])
            if done["rows_in"] == size:  # there may be more than this part
                expected = expected or ingest.line_count(request.input, request.rules)
            progress.report(totals["rows_in"], expected)
    reasons = _write_rejected(rejected, folder / REJECTED)
    return Counts(
        rows_in=totals["rows_in"], scored=totals["scored"], rejected=reasons, labels=dict(sorted(labels.items()))
    )


def _scored(
    stack: ExitStack, request: BatchRequest, folder: Path, model_folder: Path, chunks: Iterator[Part]
) -> Iterator[dict[str, Any]]:
    """Score in this process while there is one chunk, else on all cores with a bounded number of chunks in flight."""
    workers = request.inference.workers or len(os.sched_getaffinity(0))
    first = list(islice(chunks, 2))
    if len(first) < 2 or workers == 1:
        _prepare(request, model_folder)
        yield from (_score_part(part, folder) for part in chain(first, chunks))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (request, model_folder))
    stack.callback(pool.shutdown, cancel_futures=True)
    yield from _bounded(pool, folder, chain(first, chunks), 2 * workers)


def _bounded(pool: ProcessPoolExecutor, folder: Path, parts: Iterable[Part], limit: int) -> Iterator[dict[str, Any]]:
    running: set[Future[dict[str, Any]]] = set()
    for part in parts:
        if len(running) >= limit:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        running.add(pool.submit(_score_part, part, folder))
    yield from (future.result() for future in running)


def _prepare(request: BatchRequest, model_folder: Path) -> None:
    """Load the verified model once per process."""
    global _model, _request
    _model, _request = loading.load_verified(model_folder, request.model), request


def _score_part(part: Part, folder: Path) -> dict[str, Any]:
    """Write one part file unless it is there, and report what it holds."""
    import pyarrow.parquet as pq

    number, chunk = part
    if _request is None:
        raise RuntimeError("_prepare runs first")
    problems = chunk[_request.text_column].map(_problem)
    good, bad = chunk[problems.isna()], chunk[problems.notna()]
    path = folder / f"part-{number:05d}.parquet"
    if good.empty:
        labels: list[str] = []
    elif path.exists():
        labels = pq.read_table(path, columns=["label"])["label"].to_pylist()
    else:
        table = _predict(good, _request)
        labels = table["label"].to_pylist()
        with publish_file(path) as temporary:
            pq.write_table(table, temporary)
    texts = bad[[_request.text_column]].set_axis(["text"], axis="columns")
    rejected = texts.assign(input_key=_keys(bad, _request), reason=problems[problems.notna()])
    return {"rows_in": len(chunk), "scored": len(good), "labels": Counter(labels), "rejected": rejected}


def _predict(rows: "pd.DataFrame", request: BatchRequest) -> "pa.Table":
    import pyarrow as pa

    predicted = _model.predict(None, rows[[request.text_column]].rename(columns={request.text_column: "text"}))
    model, count = request.model, len(rows)
    return pa.table(
        {
            "row": pa.array(rows.index.to_numpy(), pa.int64()),
            "input_key": pa.array(_keys(rows, request), pa.string()),
            "label": pa.array(predicted["label"].to_list(), pa.string()),
            "score": pa.array(predicted["score"].to_numpy(), pa.float64()),
            "model_name": pa.array([model.name] * count, pa.string()),
            "model_version": pa.array([model.version] * count, pa.int64()),
            "run_id": pa.array([model.run_id] * count, pa.string()),
        }
    )


def _problem(text: str) -> str | None:
    if not text.strip():
        return "blank_text"
    if _request and (found := ingest.unreadable(text, _request.rules)):
        return "unusable_character" if "U+" in found else "long_text"
    return None


def _keys(rows: "pd.DataFrame", request: BatchRequest) -> list[str]:
    return [_storable(str(key)) for key in (rows[request.key_column] if request.key_column else rows.index)]


def _storable(text: str) -> str:
    """The text with `?` for the halves of surrogate pairs, which JSON can hold and Parquet cannot."""
    return text.encode("utf-8", "replace").decode()


def _write_rejected(rejected: "list[pd.DataFrame]", path: Path) -> dict[str, int]:
    """Write the rows that could not be scored, with their text as far as it can be stored, and count them by reason."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (record.Index, record.input_key, record.reason, _storable(str(record.text))[:1000])
        for frame in rejected
        for record in frame.itertuples()
    ]
    rows.sort()
    names = {"row": pa.int64(), "input_key": pa.string(), "reason": pa.string(), "text": pa.string()}
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(names.values())]
    with publish_file(path) as temporary:
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), temporary)
    return dict(sorted(Counter(str(row[2]) for row in rows).items()))
