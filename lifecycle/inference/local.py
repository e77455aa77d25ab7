"""The engine `local`: a stream of chunks, scored by one process or by all cores; the memory of a few chunks."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.core import children, progress
from lifecycle.core.errors import DataError, TransientError
from lifecycle.data import cells, ingest, tombstones
from lifecycle.inference.manifest import REJECTED, BatchRequest, Counts
from lifecycle.models import loading
from lifecycle.models.refusals import CANNOT_SCORE, refused_by_the_library
from lifecycle.settings.rules import DataRules
from lifecycle.storage.files import publish_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_SHA256 = b"rows_sha256"
"""In the metadata of a part: the digest of the rows that it was made of."""

Part = tuple[int, "pd.DataFrame"]

Engine = Callable[[ExitStack, BatchRequest, Path, Path, Iterator[Part]], Iterator[dict[str, Any]]]
"""What scores the parts of a request into a folder with the model in another, and says what each part holds."""

_request: BatchRequest | None = None
_model: Any = None
"""In a process of the pool: what it scores, and the model, loaded once."""


def score(request: BatchRequest, folder: Path) -> Counts:
    """Score the input on the cores of this machine; see `score_with`."""
    return score_with(_on_cores, request, folder)


def score_with(engine: Engine, request: BatchRequest, folder: Path) -> Counts:
    """Score the input into part files; parts that are there from an interrupted run are kept.

    A row whose text is blank or unreadable is rejected with its reason; a malformed table is an error.
    """
    columns = {request.key_column: "--key-column"} if request.key_column else {}
    columns |= {request.text_column: "--text-column"}
    size = request.inference.rows_per_part
    given = ingest.stream(
        request.input,
        request.rules,
        columns,
        rows_per_chunk=size,
        sha256=request.input_sha256,
        also=tombstones.load(request.output_root).columns,  # by them it is told whose rows were erased
    )
    chunks = enumerate(given)
    rejected: list[pd.DataFrame] = []
    totals, labels = Counter[str](), Counter[str]()
    with loading.private_copy(request.model) as model_folder, ExitStack() as stack:
        expected, written = 0, set[Path]()
        for done in engine(stack, request, folder, model_folder, chunks):
            totals += Counter(rows_in=done["rows_in"], scored=done["scored"], rows_erased=done["rows_erased"])
            labels += Counter(done["labels"])
            rejected.append(done["rejected"])
            written.add(done["path"])
            if done["rows_in"] == size:  # there may be more than this part
                expected = expected or ingest.line_count(request.input, request.rules)
            progress.report(totals["rows_in"], expected)
    for stale in set(folder.glob("part-*.parquet")) - written:  # of an interrupted run over other rows
        stale.unlink()
    reasons = _write_rejected(rejected, folder / REJECTED)
    return Counts(
        rows_in=totals["rows_in"],
        scored=totals["scored"],
        rows_erased=totals["rows_erased"],
        rejected=reasons,
        labels=dict(sorted(labels.items())),
    )


def _on_cores(
    stack: ExitStack, request: BatchRequest, folder: Path, model_folder: Path, chunks: Iterator[Part]
) -> Iterator[dict[str, Any]]:
    """Score in this process while there is one chunk, else on all cores with a bounded number of chunks in flight."""
    from joblib import cpu_count  # type: ignore[import-untyped]

    workers = request.inference.workers or cpu_count()
    first = list(islice(chunks, 2))
    if len(first) < 2 or workers == 1:
        model = loading.load_verified(model_folder, request.model)
        yield from (score_part(request, model, folder, part) for part in chain(first, chunks))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (os.getpid(), request, model_folder))
    stack.callback(pool.shutdown, cancel_futures=True)
    try:
        yield from bounded(pool, partial(_score_in_worker, folder), chain(first, chunks), 2 * workers)
    except BrokenProcessPool:
        what = f"One of the {workers} processes that score was killed, as the system does when memory is short."
        fix = "Give the command again: what is scored is kept. Fewer need less: export MLOPS_INFERENCE__WORKERS=1"
        raise TransientError(what, fix) from None


def bounded(
    pool: Executor, scorer: Callable[[Part], dict[str, Any]], parts: Iterable[Part], limit: int
) -> Iterator[dict[str, Any]]:
    """Score parts in a pool, at most `limit` of them in memory; they come back in the order of completion."""
    running: set[Future[dict[str, Any]]] = set()
    for part in parts:
        if len(running) >= limit:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        running.add(pool.submit(scorer, part))
    yield from (future.result() for future in running)


def _prepare(parent: int, request: BatchRequest, model_folder: Path) -> None:
    """Load the verified model once per process."""
    global _request, _model
    children.end_with(parent)
    _request, _model = request, loading.load_verified(model_folder, request.model)


def _score_in_worker(folder: Path, part: Part) -> dict[str, Any]:
    if _request is None:
        raise RuntimeError("_prepare runs first")
    return score_part(_request, _model, folder, part)


def score_part(request: BatchRequest, model: Any, folder: Path, part: Part) -> dict[str, Any]:
    """Write one part file unless it is there, of the same rows, and report what it holds."""
    number, given = part
    chunk = given[~tombstones.load(request.output_root).among(given, request.text_column)]
    problems = chunk[request.text_column].map(partial(_problem, request.rules))
    good, bad = chunk[problems.isna()], chunk[problems.notna()]
    path = folder / f"part-{number:05d}.parquet"
    labels = [] if good.empty else _labels(request, model, good, path)
    texts = bad[[request.text_column]].set_axis(["text"], axis="columns")
    rejected = texts.assign(input_key=_keys(bad, request), reason=problems[problems.notna()])
    return {
        "rows_in": len(given),
        "rows_erased": len(given) - len(chunk),
        "scored": len(good),
        "labels": Counter(labels),
        "rejected": rejected,
        "path": None if good.empty else path,
    }


def _labels(request: BatchRequest, model: Any, rows: "pd.DataFrame", path: Path) -> list[str]:
    """The labels of a part, which is written unless an interrupted run has written it of these very rows."""
    import pyarrow.parquet as pq

    digest = _digest(rows)
    if path.exists() and (pq.read_metadata(path).metadata or {}).get(ROWS_SHA256) == digest:
        return list(pq.read_table(path, columns=["label"])["label"].to_pylist())
    table = _predict(request, model, rows).replace_schema_metadata({ROWS_SHA256: digest})
    with publish_file(path) as temporary:
        pq.write_table(table, temporary)
    return list(table["label"].to_pylist())


def _digest(rows: "pd.DataFrame") -> bytes:
    """What names the rows of a part: their numbers and their cells."""
    content = [rows.index.to_list(), *([str(cell) for cell in rows[name]] for name in rows)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest().encode()


def _predict(request: BatchRequest, model: Any, rows: "pd.DataFrame") -> "pa.Table":
    import pyarrow as pa

    texts = rows[[request.text_column]].rename(columns={request.text_column: "text"})
    with refused_by_the_library(f"{request.model.label} cannot score these texts: ", DataError, CANNOT_SCORE):
        predicted = model.predict(None, texts)
    if len(predicted) != len(rows):
        what = f"{request.model.label} answers {len(rows):,} texts with {len(predicted):,} predictions."
        raise DataError(what, CANNOT_SCORE)
    made_by, count = request.model, len(rows)
    return pa.table(
        {
            "row": pa.array(rows.index.to_numpy(), pa.int64()),
            "input_key": pa.array(_keys(rows, request), pa.string()),
            "label": pa.array(predicted["label"].to_list(), pa.string()),
            "score": pa.array(predicted["score"].to_numpy(), pa.float64()),
            "model_name": pa.array([made_by.name] * count, pa.string()),
            "model_version": pa.array([made_by.version] * count, pa.int64()),
            "run_id": pa.array([made_by.run_id] * count, pa.string()),
        }
    )


def _problem(rules: DataRules, text: Any) -> str | None:
    if isinstance(text, str) and not text.strip():
        return "blank_text"
    found = cells.unusable(text, rules)
    return found[0] if found else None


def _keys(rows: "pd.DataFrame", request: BatchRequest) -> list[str]:
    return [
        str(key).encode("utf-8", "backslashreplace").decode()
        for key in (rows[request.key_column] if request.key_column else rows.index)
    ]


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
