"""What a server was asked and has answered, kept for monitoring: Parquet files in the form of an inference table.

A thread writes them. A request waits for nothing and does not fail of it: what cannot be kept is counted and told. Each
file is written under a hidden name and renamed, so who is killed loses what waited and leaves none that is half.
"""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.references import ModelRef
from lifecycle.settings.rules import RequestRules
from lifecycle.storage.files import publish_file

SCHEMA = pa.schema(
    {
        "request_id": pa.string(),
        "request_time": pa.timestamp("us", "UTC"),
        "status_code": pa.int32(),
        "execution_duration_ms": pa.float64(),
        "request": pa.string(),
        "response": pa.string(),
        "model_name": pa.string(),
        "model_version": pa.int64(),
    }
)
"""As Databricks names the columns of an inference table, and which version has answered."""
OK = 200
SERVER_ERROR = 500
ID = b"x-request-id"
"""The header by which who asks names a request, and which the answer has in any case: labels are joined by it."""
A_NAME = re.compile(rb"[!-~]{1,200}")


class Call:
    """One request while it is answered: what the model is given and answers comes from wherever it runs."""

    def __init__(self, ref: ModelRef, named: bytes, key: str | None) -> None:
        self.ref, self.at, self._begun = ref, datetime.now(UTC), time.perf_counter()
        self.name, self.key = (named if A_NAME.fullmatch(named) else uuid4().hex.encode()), key
        self.status, self.milliseconds = SERVER_ERROR, 0.0
        self.inputs: pd.DataFrame | dict[str, Any] | None = None
        self.keys: list[Any] | None = None
        self.answers: Any = None

    def ends(self) -> None:
        """It is answered, or never will be."""
        self.milliseconds = 1000 * (time.perf_counter() - self._begun)

    @property
    def rows(self) -> int:
        """How much it takes in the buffer."""
        return max(1, len(self.inputs)) if isinstance(self.inputs, pd.DataFrame) else 1


_CALL: ContextVar[Call | None] = ContextVar("call", default=None)


def note_keys(asked: Any) -> None:
    """Note what identifies the rows of a request, before the columns that no model reads are dropped from it."""
    call = _CALL.get()
    if call is not None and call.key and isinstance(asked, pd.DataFrame) and call.key in asked:
        call.keys = asked[call.key].to_list()


def note(inputs: Any, predict: Callable[[Any], Any]) -> Any:
    """Let a model answer, and note both if the request that it answers is to be kept."""
    call = _CALL.get()
    if call is not None and isinstance(inputs, pd.DataFrame | dict):
        call.inputs = inputs.copy()  # a model may change what it is given
    answers = predict(inputs)
    if call is not None:
        call.answers = answers
    return answers


class RequestLog:
    """The files of one server."""

    def __init__(self, folder: Path, rules: RequestRules, tell: Callable[[str], None], key: str | None = None) -> None:
        self._folder, self._rules, self._tell, self._key = folder, rules, tell, key
        self._waiting: SimpleQueue[Call | None] = SimpleQueue()
        self._rows, self._lost, self._lock, self._told = 0, 0, Lock(), ""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write what comes until the block ends, and then what waits."""
        thread = Thread(target=self._write_on, name="request log", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._waiting.put(None)
            thread.join(10)

    def kept(self, app: Any, ref: ModelRef) -> Any:
        """The same application (ASGI), whose requests to the model are kept."""

        async def call(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["path"] != "/invocations":
                await app(scope, receive, send)
                return
            heard = Call(ref, dict(scope["headers"]).get(ID, b""), self._key)

            async def answer(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    heard.status = message["status"]
                    message["headers"] = [*message.get("headers", ()), (ID, heard.name)]
                await send(message)

            token = _CALL.set(heard)
            try:
                await app(scope, receive, answer)
            finally:
                _CALL.reset(token)
                heard.ends()
                self._take(heard)

        return call

    def _take(self, call: Call) -> None:
        with self._lock:
            if self._rows + call.rows > self._rules.buffer_rows:
                self._lost += 1
                return
            self._rows += call.rows
        self._waiting.put(call)

    def _write_on(self) -> None:
        """Write a file of what has come, as often as the rules say."""
        is_over = False
        while not is_over:
            self._remove_old()
            calls, is_over = self._collected()
            if calls or self._lost:
                self._write(calls)

    def _collected(self) -> tuple[list[Call], bool]:
        """What comes within some seconds, and whether nothing will come any more."""
        until, calls = time.monotonic() + self._rules.seconds, list[Call]()
        while (left := until - time.monotonic()) > 0:
            try:
                call = self._waiting.get(timeout=left)
            except Empty:
                break
            if call is None:
                return calls, True
            calls.append(call)
        return calls, False

    def _write(self, calls: list[Call]) -> None:
        """Write one file; whatever goes wrong is told once, and serving goes on."""
        with self._lock:
            self._rows -= sum(call.rows for call in calls)
            lost, self._lost = self._lost, 0
        if lost:
            self._tell(f"{lost} requests were answered and not kept: more rows waited than buffer_rows.")
        if not (rows := [row for call in calls if (row := self._row(call))]):
            return
        path = self._folder / f"{calls[0].at:%Y-%m-%d}" / f"{calls[0].at:%H%M%S%f}-{uuid4().hex[:8]}.parquet"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with publish_file(path) as temporary:
                pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
        except (OSError, pa.ArrowException) as error:
            self._say(f"{len(rows)} requests are not kept: {error}")

    def _row(self, call: Call) -> dict[str, Any] | None:
        try:
            asked, answered = self._asked(call), _answered(call.answers) if call.status == OK else None
        except Exception as error:  # whatever pandas makes of what no JSON holds
            self._say(f"A request is not kept: {type(error).__name__}: {error}")
            return None
        return {
            "request_id": call.name.decode(),
            "request_time": call.at,
            "status_code": call.status,
            "execution_duration_ms": call.milliseconds,
            "request": asked,
            "response": answered,
            "model_name": call.ref.name,
            "model_version": call.ref.version,
        }

    def _asked(self, call: Call) -> str | None:
        """The inputs that are to be kept, as a query."""
        if call.inputs is None:
            return None
        rows, wanted = call.inputs, self._rules.columns
        if isinstance(rows, dict):
            return json.dumps({name: cell for name, cell in rows.items() if wanted is None or name in wanted})
        kept = rows if wanted is None else rows[[name for name in rows if name in wanted]]
        if call.keys is not None:
            kept = kept.assign(**{str(call.key): call.keys})
        if not len(kept.columns):  # so many rows, of which nothing is kept
            return f'{{"dataframe_records":[{",".join(["{}"] * len(rows))}]}}'
        return f'{{"dataframe_split":{kept.to_json(orient="split", index=False, date_format="iso")}}}'

    def _remove_old(self) -> None:
        """Remove the days that are past the limit of the rules."""
        first = f"{datetime.now(UTC) - timedelta(days=self._rules.days):%Y-%m-%d}"
        for day in self._folder.glob("????-??-??"):
            if day.name < first:
                shutil.rmtree(day, ignore_errors=True)

    def _say(self, said: str) -> None:
        if said != self._told:
            self._tell(said)
        self._told = said


def _answered(answers: Any) -> str:
    if isinstance(answers, list) and not any(isinstance(answer, dict) for answer in answers):
        return json.dumps({"predictions": answers})
    table = answers if isinstance(answers, pd.DataFrame) else pd.DataFrame(answers)
    return f'{{"predictions":{table.to_json(orient="records")}}}'
