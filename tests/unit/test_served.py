"""What a server keeps of requests, and how windows of them are measured: real files, tables and a real model."""

import asyncio
import json
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, DataError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.erasure import requests
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.wanted import Subject as Erased
from lifecycle.erasure.wanted import Wanted
from lifecycle.models import request_log
from lifecycle.models.request_log import RequestLog
from lifecycle.monitoring import findings, inference_table, served, store
from lifecycle.monitoring.findings import Measured
from lifecycle.monitoring.subject import Subject
from lifecycle.problems.known import named
from lifecycle.settings.rules import MonitoringRules, RequestRules, ServedRules
from lifecycle.storage.files import TEMPORARY
from tests.probation import RULES as WATCHED
from tests.probation import hours, promoted, trained

REF = ModelRef(tracking_uri="sqlite://", uri="", run_id="0", artifact_sha256="0", name="dev.ml.bikes", version=2)
RULES = RequestRules(enabled=True, seconds=0.05)
ROW = {"temp": 3.5, "season": "winter", "holiday": True}


async def _ask(app: Any, path: str = "/invocations") -> list[int]:
    sent: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    await app({"type": "http", "path": path, "headers": []}, None, send)
    return sent


def answering(status: int = 200, rows: int = 1) -> Any:
    """An application that lets a model answer, as MLflow's scoring server does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        if status == 200:
            inputs = pd.DataFrame([ROW] * rows)
            request_log.note(inputs, lambda frame: pd.DataFrame({"prediction": frame.pop("temp") * 2}))
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": b""})

    return app


def test_what_is_asked_is_kept_as_an_inference_table(tmp_path: Path) -> None:
    old = tmp_path / "2020-01-01"
    old.mkdir()
    log = RequestLog(tmp_path, RULES.model_copy(update={"columns": ("temp", "season")}), pytest.fail)
    with log.writing():
        assert asyncio.run(_ask(log.kept(answering(rows=2), REF))) == [200]
        assert asyncio.run(_ask(log.kept(answering(400), REF))) == [400]
        asyncio.run(_ask(log.kept(answering(), REF), "/ping"))
    good, bad = pq.read_table(tmp_path).select(request_log.SCHEMA.names).to_pylist()
    body = json.loads(good["request"])["dataframe_split"]
    assert body == {"columns": ["temp", "season"], "data": [[3.5, "winter"]] * 2}
    assert json.loads(good["response"]) == {"predictions": [{"prediction": 7.0}] * 2}
    assert (good["status_code"], good["model_version"], good["execution_duration_ms"] > 0) == (200, 2, True)
    assert (bad["status_code"], bad["request"], bad["response"]) == (400, None, None)
    assert not old.exists()


def test_a_full_buffer_and_a_folder_that_cannot_be_written_fail_no_request(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("")
    for folder, rules in ((tmp_path / "file", RULES), (tmp_path / "log", RULES.model_copy(update={"buffer_rows": 3}))):
        log = RequestLog(folder, rules, said.append)
        app = log.kept(answering(rows=2), REF)
        assert [asyncio.run(_ask(app)) for _ in range(3)] == [[200]] * 3
        with log.writing():
            pass
    assert "3 requests are not kept" in said[0]
    assert said[1:] == ["2 requests were answered and not kept: more rows waited than buffer_rows."]
    assert pq.read_table(tmp_path / "log").num_rows == 1
    assert "request log" not in {thread.name for thread in threading.enumerate()}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(), min_size=3), min_size=1, max_size=4))
def test_rows_are_the_same_in_every_form_of_a_query(rows: list[dict[str, int]]) -> None:
    columns = sorted(rows[0])
    split = {"columns": columns, "data": [[row[name] for name in columns] for row in rows]}
    forms = (
        {"dataframe_split": split},
        {"dataframe_records": rows},
        {"instances": rows},
        {"inputs": {name: [row[name] for row in rows] for name in columns}},
    )
    assert [inference_table.rows_of(form) for form in forms] == [rows] * 4


NOW = datetime.now(UTC)


def table_of(form: str) -> pd.DataFrame:
    """Two requests as Databricks writes them: now, or in the tables before."""
    at = [NOW - timedelta(hours=3), NOW - timedelta(hours=2)]
    bodies = {"status_code": [200, 400], "request": ["{}", "x"], "response": ["{}", None]}
    if form == "now":
        return pd.DataFrame(
            {"request_time": at, "execution_duration_ms": [12, 7], "served_entity_id": ["e1", "e1"]} | bodies
        )
    stamps = [int(moment.timestamp() * 1000) for moment in at]
    facts = [[("endpoint_name", "prod"), ("model_name", "bikes"), ("model_version", "4")]] * 2
    return pd.DataFrame({"timestamp_ms": stamps, "execution_time_ms": [12, 7], "request_metadata": facts} | bodies)


def test_inference_tables_of_databricks_are_read_in_both_forms() -> None:
    now = inference_table.canonical(table_of("now"), 3, NOW - timedelta(hours=2.5))
    assert now[["version", "ms", "status_code"]].to_numpy().tolist() == [[3, 7, 400]]
    before = inference_table.canonical(table_of("before"), 3, NOW)
    assert before["version"].tolist() == [4, 4]
    assert [round((NOW - at).total_seconds() / 3600) for at in before["at"]] == [3, 2]


def test_what_cannot_be_read_is_told_and_the_rest_counts(caplog: pytest.LogCaptureFixture) -> None:
    good = json.dumps({"dataframe_records": [ROW]}), json.dumps({"predictions": [2.5]})
    bodies = [(200, *good), (200, good[0], '{"predictions": []}'), (500, "{", None), (400, good[0], None)]
    rows = pd.DataFrame(bodies, columns=["status_code", "request", "response"]).assign(ms=1.0)
    found = inference_table.asked(rows, named("tabular-regression"))
    assert (found.rows_in, found.rejected, found.answers["prediction"].tolist()) == (3, 2, [2.5])
    assert "1 of 4 requests cannot be read" in caplog.text
    with pytest.raises(DataError, match="no prediction for each of 1 rows"):
        inference_table.asked(rows[1:2], named("tabular-regression"))


def test_questions_and_answers_in_words_are_read_in_each_form_and_kept_in_it(tmp_path: Path) -> None:
    """A chain is asked by messages and answers with a string and its source; of questions in a column with a table."""
    asked = {"role": "user", "content": "When?"}
    talk = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here. [a.md]"}, asked]
    forms = [
        {"dataframe_split": {"columns": ["messages"], "data": [["When?"], [[asked]]]}},
        {"messages": talk},
        {"inputs": {"messages": [asked]}},
    ]
    told = ["At [about] ten. [a.md, One]", "That is not in the documents."]
    bodies = [
        (200, json.dumps(form), json.dumps({"predictions": told[: 2 if "dataframe_split" in form else 1]}))
        for form in forms
    ]
    rows = pd.DataFrame(bodies, columns=["status_code", "request", "response"]).assign(ms=1.0)
    found = inference_table.asked(rows, named("chat"))
    assert found.inputs["text"].tolist() == ["When?"] * 4
    said = "At [about] ten."
    assert found.answers.to_dict("list") == {"answer": [said, told[1], said, said]}
    table = [{"answer": said, "sources": "[]", "score": 0.5}]
    of_table = pd.DataFrame(
        [(200, '{"dataframe_records": [{"text": "When?"}]}', json.dumps(table), 1.0)], columns=rows.columns
    )
    assert inference_table.asked(of_table, named("chat")).answers.to_dict("records") == table

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        request_log.note({"messages": talk}, lambda _: told[:1])
        await send({"type": "http.response.start", "status": 200})

    with (log := RequestLog(tmp_path, RULES, pytest.fail)).writing():
        asyncio.run(_ask(log.kept(app, REF)))
    (kept,) = pq.read_table(tmp_path).to_pylist()
    assert (json.loads(kept["request"]), json.loads(kept["response"])) == (
        {"messages": talk},
        {"predictions": told[:1]},
    )


def test_latency_is_beyond_its_limit_by_more_than_chance() -> None:
    rules = MonitoringRules(max_latency={"p95": 100})
    slow, usual = np.repeat([50.0, 300.0], [180, 20]), np.repeat([50.0, 300.0], [191, 9])
    lines = {line.measure: line for line in served.latencies(slow, rules)}
    assert [(name, line.limit, line.beyond) for name, line in lines.items()] == [
        ("p50", 0.0, False),
        ("p95", 100.0, True),
        ("p99", 0.0, False),
    ]
    assert not any(line.beyond for line in served.latencies(usual, rules))
    day = {"model": "m", "version": 1, "baseline": "", "rows_in": 200, "scored": 200, "lines": tuple(lines.values())}
    days = [
        Measured(**day, batch=f"served-2026-11-{number:02}", day=NOW.date(), at=NOW + timedelta(number))
        for number in range(1, 4)
    ]
    assert not findings.alerts(days, "drift", rules)
    (alert,) = findings.alerts(days, "latency", rules)
    assert "requests: p95 300 (limit 100) in 3 batches" in alert.told


@pytest.fixture(scope="module")
def subject(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A champion that reads a meter, the second version of its name."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(migrated, folder / "mlflow.db")
    config, models = trained(folder)
    return promoted(config, models)


def watched(subject: Subject, root: Path, table: str | None = None) -> Subject:
    """The same with nothing measured, by the hour."""
    rules = WATCHED.model_copy(update={"served": ServedRules(window="hour", table=table)})
    return subject.model_copy(update={"root": root, "rules": rules})


@pytest.fixture
def hour() -> datetime:
    """An hour that does not end while a test runs, which may begin long after the import."""
    return (datetime.now(UTC) + timedelta(minutes=15)).replace(minute=0, second=0, microsecond=0)


def of_hour(hour: datetime, back: int, *, broken: bool = False, rows: int = 150) -> list[dict[str, Any]]:
    """The requests of the hour so many before, as a server keeps them, of one row each."""
    table = hours(rows, back, broken=broken)[["temp", "meter"]]
    return [
        {
            "request_id": f"{back}-{number}",
            "request_time": hour - timedelta(hours=back) + timedelta(seconds=number),
            "status_code": 200,
            "execution_duration_ms": 5.0,
            "request": json.dumps({"dataframe_records": [row]}),
            "response": json.dumps({"predictions": [{"prediction": row["meter"]}]}),
            "model_name": "dev.ml.bikes",
            "model_version": 2,
        }
        for number, row in enumerate(table.to_dict("records"))
    ]


def test_each_hour_is_measured_once_when_it_is_over(subject: Subject, hour: datetime, tmp_path: Path) -> None:
    subject = watched(subject, tmp_path / "measured")
    folder = tmp_path / "requests"
    assert served.requests_of(subject, str(folder)) is None
    (folder / "2026-11-01").mkdir(parents=True)
    rows = [row for back in (5, 4, 3, 2) for row in of_hour(hour, back, broken=back < 5)] + of_hour(hour, 0)
    pq.write_table(pa.Table.from_pylist(rows, schema=request_log.SCHEMA), folder / "2026-11-01" / "1.parquet")
    (folder / "2026-11-01" / f"{TEMPORARY}2.parquet").write_bytes(b"PAR1 of a process that was killed")
    found = served.requests_of(subject, str(folder))
    assert found
    served.measure(found)
    drift = store.every(subject.root, subject.name, "drift")
    assert [each.batch for each in drift] == [
        f"served-{hour - timedelta(hours=back):%Y-%m-%dT%H}" for back in (5, 4, 3, 2)
    ]
    assert [{(line.name, line.measure) for line in each.beyond if line.part == "input"} for each in drift] == [
        set(),
        *[{("meter", "psi"), ("meter", "outside")}] * 3,
    ]
    assert {line.measure for line in drift[0].lines} >= {"p50", "p95", "p99", "rejected", "loss"}
    (alert,) = store.untold(subject.root, subject.name, subject.rules)
    assert alert.id == f"drift-v2-{drift[1].batch}"
    served.measure(found)
    assert store.every(subject.root, subject.name, "drift") == drift


def test_a_delta_table_of_an_endpoint_is_measured_for_its_champion(
    subject: Subject, hour: datetime, tmp_path: Path
) -> None:
    table = str(tmp_path / "payload")
    subject = watched(subject, tmp_path / "measured", table)
    with pytest.raises(NotFoundError, match=r"monitoring\.served\.table names it"):
        served.requests_of(subject, table)
    rows = pd.DataFrame(of_hour(hour, 4)).drop(columns=["model_name", "model_version"])
    deltalake.write_deltalake(table, pa.Table.from_pandas(rows.assign(served_entity_id="e1")))
    found = served.requests_of(subject, table)
    assert found
    served.measure(found)
    assert store.every(subject.root, subject.name, "drift") == []  # it was not champion then
    served.measure(found.model_copy(update={"since": NOW - timedelta(days=1)}))
    (drift,) = store.every(subject.root, subject.name, "drift")
    assert (drift.version, drift.scored, drift.beyond) == (2, 150, ())
    other = str(tmp_path / "other")
    deltalake.write_deltalake(other, pa.table({"a": [1]}))
    with pytest.raises(ConfigError, match="no column request_time or timestamp_ms: it is no inference table"):
        served.measure(found.model_copy(update={"table": other}))


def test_an_erasure_takes_whole_requests_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "requests" / "dev.ml.news" / "2026-11-01" / "1.parquet"
    path.parent.mkdir(parents=True)
    bodies = [{"dataframe_records": [{"text": text, "who": who}]} for text, who in (("one word", 7), ("other", 8))]
    rows = [{"request": json.dumps(body)} for body in bodies] + [{"request": None}]
    pq.write_table(pa.Table.from_pylist(rows, schema=request_log.SCHEMA), path)
    for subject in (Erased(texts=("One  word",)), Erased(id_column="who", ids=("8",)), Erased(texts=("other",))):
        wanted = Wanted.of(subject)
        held = [*requests.holding([tmp_path], wanted, Forms(wanted.texts))]
        for each in held:
            requests.erase(each)
        assert len(held) == (subject.texts != ("other",)), "that one has gone with its id"
    assert pq.read_table(path)["request"].to_pylist() == [None]
