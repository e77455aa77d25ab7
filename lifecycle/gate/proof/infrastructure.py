"""What it takes to run a model here: the packages that it pins, its size, the time it needs, and a scoring server.

`Proof`                    what the fresh process answers
`milliseconds_per_1000`    latency
`megabytes`                size
`as_query`                 inputs as a server takes them
`differing`                how many answers of a server are not what was recorded
`serve_and_compare`        the predictions asked for again through MLflow's scoring server
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lifecycle.core import guard
from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef
from lifecycle.models import scoring_server
from lifecycle.models.loading import NOT_CONTENT
from lifecycle.problems.classification.summary import PROBABILITY

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-6
"""How far a number may differ, of one above 1 as a part of it: enough for another order of floating-point sums, far too
little for another model."""
BESIDE = frozenset({"row", "key", "truth"})
"""What stands beside the answers of a model where they were recorded."""

TIMED_ROWS = 1000
TIMED_RUNS = 5
TIMED_SECONDS = 0.05
"""Runs are repeated for this long: a fast model is timed a few times, a slow one once."""

ROWS_PER_QUERY = 100
"""Small enough that a slow model answers within MLflow's limit for one request, which is 60 s."""
ANSWER_SECONDS = 120


class Proof(Frozen):
    """What a fresh process found out about a model that reproduces its recorded predictions."""

    outcome: str
    requirements: tuple[str, ...] = Field((), description="Where what is installed is not what the model pins.")
    load_seconds: float = Field(description="From its files to a model; what every model imports is there before.")
    milliseconds_per_1000: float = Field(description="Time to predict 1,000 rows in one call.")
    megabytes: float = Field(description="Size of its files, in 10^6 bytes.")
    scoring_server: str = Field("", description="What MLflow's scoring server did; empty if it was not asked.")


def milliseconds_per_1000(predict: "Callable[[pd.DataFrame], Any]", inputs: "pd.DataFrame") -> float:
    """Time to predict 1,000 rows of inputs in one call; fewer rows are repeated.

    The best of several runs: whatever else the machine does can only make one slower. Threads are left as they are.
    """
    rows = inputs.iloc[list(islice(cycle(range(len(inputs))), TIMED_ROWS))].reset_index(drop=True)
    best, spent = math.inf, 0.0
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        predict(rows)
        seconds = time.perf_counter() - began
        best, spent = min(best, seconds), spent + seconds
        if spent >= TIMED_SECONDS:
            break
    return best * 1000


def megabytes(folder: Path) -> float:
    """Size of a model's files."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_CONTENT)
    return sum(path.stat().st_size for path in files) / 1e6


def serve_and_compare(folder: Path, model: Any, ref: ModelRef, inputs: "pd.DataFrame", recorded: "pd.DataFrame") -> str:
    """Serve a loaded model by MLflow's scoring server on loopback and ask it for what is recorded of some inputs.

    Raises:
        IntegrityError: It did not answer, or answered something else.
    """
    credential = guard.new_credential()
    with scoring_server.serving(folder, model, ref, credential) as port:
        try:
            answers = [answer for part in _parts(inputs) for answer in _ask(port, credential, part)]
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            what = f"{ref.label}: MLflow's scoring server did not answer with predictions: {error!s:.300}."
            raise IntegrityError(what) from None
    if wrong := differing(answers, recorded):
        what = f"{ref.label}: {wrong} of {len(recorded)} predictions of MLflow's scoring server differ."
        raise IntegrityError(what, "A model must not depend on the thread or process that it is asked in.")
    return f"{len(recorded)} predictions repeated by MLflow's scoring server"


def differing(predictions: Sequence[Any], recorded: "pd.DataFrame") -> int:
    """How many answers are not what was recorded; answers that are missing count too."""
    expected = recorded[[name for name in answers_in(recorded) if not name.startswith(PROBABILITY)]].to_dict("records")
    right = sum(_agrees(answer, row) for answer, row in zip(predictions, expected, strict=False))
    return max(len(recorded), len(predictions)) - right


def answers_in(recorded: "pd.DataFrame") -> list[str]:
    """The columns of recorded answers that a model has given."""
    return [str(name) for name in recorded if name not in BESIDE]


def _agrees(answer: Any, recorded: dict[Any, Any]) -> bool:
    if not isinstance(answer, dict):
        return False
    return bool(recorded) and all(_is_same(answer.get(name), value) for name, value in recorded.items())


def _is_same(answer: Any, recorded: Any) -> bool:
    if isinstance(recorded, str) or not isinstance(answer, int | float):
        return bool(answer == recorded)
    return bool(abs(answer - recorded) <= TOLERANCE * max(1, abs(recorded)))


def _parts(rows: "pd.DataFrame") -> "Iterator[pd.DataFrame]":
    return (rows.iloc[start : start + ROWS_PER_QUERY] for start in range(0, len(rows), ROWS_PER_QUERY))


def as_query(inputs: "pd.DataFrame") -> dict[str, list[Any]]:
    """Inputs as the `dataframe_split` of a query: what is missing as null, a time as ISO 8601 writes it."""
    cells = inputs.astype(object).where(inputs.notna(), None).to_numpy().tolist()
    data = [[cell.isoformat() if isinstance(cell, datetime) else cell for cell in row] for row in cells]
    return {"columns": [*inputs], "data": data}


def _ask(port: int, credential: str, inputs: "pd.DataFrame") -> list[Any]:
    """Ask a scoring server for predictions; not by `requests`, which would ask a proxy for loopback too."""
    body = json.dumps({"dataframe_split": as_query(inputs)})
    connection = HTTPConnection(guard.LOOPBACK, port, timeout=ANSWER_SECONDS)
    headers = {"Content-Type": "application/json", **guard.authorization(credential)}
    try:
        connection.request("POST", "/invocations", body, headers)
        reply = connection.getresponse()
        answer = reply.read().decode()
    finally:
        connection.close()
    if reply.status != 200:
        raise ValueError(f"status {reply.status}, {_reason(answer)}")
    return list(json.loads(answer)["predictions"])


def _reason(answer: str) -> str:
    """Why MLflow's scoring server refused; of a failed prediction only the end of the traceback tells."""
    try:
        told = json.loads(answer)
    except ValueError:
        return answer
    return str(told.get("stack_trace") or told.get("message")).strip().splitlines()[-1]
