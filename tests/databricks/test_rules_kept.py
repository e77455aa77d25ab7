"""Each rule of docs/reference/databricks-rules.md, broken and kept in the emulated workspace; it names these tests."""

import ast
import importlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import requests
from databricks.sdk import WorkspaceClient

from databricks_emulator import Emulator
from databricks_emulator.rules import Rules
from databricks_emulator.rules_list import REFUSED, RULES
from tests.conftest import ROOT
from tests.databricks.conftest import TAGS, Scripts
from tests.databricks.test_emulator_jobs import ended, file_task, output, post, submit, until

Call = tuple[str, str, dict[str, Any] | None]
UC = "/api/2.0/mlflow/unity-catalog"
TASK = {"task_key": "main", "environment_key": "default", "spark_python_task": {"python_file": "/Workspace/none.py"}}
JOB = {"name": "rules", "tags": TAGS, "tasks": [TASK]}
JOB |= {"environments": [{"environment_key": "default", "spec": {"environment_version": "4"}}]}
JOB |= {"parameters": [{"name": "request", "default": ""}]}
VOLUME = "/api/2.0/fs/files/Volumes/dev/ml/mlops/none"
ENTITY = {"name": "one", "entity_name": "dev.ml.none", "entity_version": "1", "workload_size": "Small"}


class Case(NamedTuple):
    """A call that breaks a rule; the same one keeps it where the workspace permits more, or the call is `right`."""

    call: Call
    restrict: dict[str, Any] | None = None
    right: Call | None = None


def tagged(*tags: tuple[str, str]) -> Call:
    """A model that is made with these tags."""
    name = f"dev.ml.rules_{uuid4().hex}"
    return "POST", f"{UC}/registered-models/create", {"name": name, "tags": [{"key": k, "value": v} for k, v in tags]}


def model(action: str, method: str = "POST", of: str = "registered-models", **more: str) -> Call:
    return method, f"{UC}/{of}/{action}", {"name": "dev.ml.none", **more}


def served(*entities: dict[str, Any], shares: dict[str, int] | None = None) -> Call:
    """An endpoint that is made with these entities."""
    routes = [{"served_entity_name": name, "traffic_percentage": share} for name, share in (shares or {}).items()]
    config = {"served_entities": list(entities), **({"traffic_config": {"routes": routes}} if routes else {})}
    return "POST", "/api/2.0/serving-endpoints", {"name": f"rules-{uuid4().hex[:8]}", "config": config}


def started(**more: Any) -> Call:
    return "POST", "/api/2.2/jobs/run-now", {"job_id": "JOB", **more}


def lacking(*privileges: str) -> dict[str, Any]:
    return {"missing": list(privileges)}


SERVED, CLUSTER = served(ENTITY), {"new_cluster": {"spark_version": "16.4.x-scala2.12", "num_workers": 1}}
CASES = {
    "The key of a tag in Unity Catalog": [
        Case(tagged((f"a{sign}b", "v")), right=tagged(("a_b", "v"))) for sign in ".,-=/:"
    ],
    "A key has at most": [
        Case(tagged(("k" * 256, "v")), right=tagged(("k" * 250, "v"))),
        Case(tagged(("k", "v" * 1001)), right=tagged(("k", "v" * 1000))),
    ],
    "Neither key nor value": [Case(tagged((" k", "v")), right=tagged(("k", "v"))), Case(tagged(("k", "v ")))],
    "An object has at most": [
        Case(tagged(*((f"k{n}", "v") for n in range(51))), right=tagged(*((f"k{n}", "v") for n in range(50))))
    ],
    "Whatever lies in a catalog": [
        Case(model("get", "GET"), lacking("USE CATALOG")),
        Case(model("get", "GET"), lacking("USE SCHEMA")),
    ],
    "A registered model is made": [Case(tagged(), lacking("CREATE MODEL"))],
    "A version is added": [Case(model("create", of="model-versions", source="none"), lacking("CREATE MODEL VERSION"))],
    "A tag is set": [
        Case(model("set-tag", key="k", value="v"), lacking("APPLY TAG")),
        Case(model("set-tag", of="model-versions", version="1", key="k", value="v"), lacking("APPLY TAG")),
    ],
    "A version is read": [Case(model("get", "GET", "model-versions", version="1"), lacking("EXECUTE"))],
    "An alias is set": [
        Case(model("alias", alias="champion", version="1"), lacking("MANAGE")),
        Case(model("delete", "DELETE"), lacking("MANAGE")),
    ],
    "A file of a volume is read": [Case(("GET", VOLUME, None), lacking("READ VOLUME"))],
    "A file of a volume is written": [
        Case(("DELETE", VOLUME, None), lacking("READ VOLUME")),
        Case(("DELETE", VOLUME, None), lacking("WRITE VOLUME")),
    ],
    "A job is started or cancelled": [
        Case(started(), lacking("CAN MANAGE RUN")),
        Case(("POST", "/api/2.2/jobs/runs/cancel", {"run_id": 0}), lacking("CAN MANAGE RUN")),
    ],
    "Catalog and schema of a model": [Case(tagged(), {"absent": ["dev"]}), Case(tagged(), {"absent": ["dev.ml"]})],
    "Catalog, schema and volume of a file": [
        Case(("PUT", f"{VOLUME}?overwrite=true", None), {"absent": [place]})
        for place in ("dev", "dev.ml", "dev.ml.mlops")
    ],
    "A workspace without classic compute": [
        Case(("POST", "/api/2.2/jobs/create", JOB | {"tasks": [TASK | CLUSTER]}), {"switches": ["serverless_only"]})
    ],
    "The parameters of a run": [
        Case(started(job_parameters={"request": '"' * 5000}), right=started(job_parameters={"request": '"' * 4900}))
    ],
    "An idempotency token": [
        Case(started(idempotency_token="t" * 65), right=started(idempotency_token=uuid4().hex * 2))
    ],
    "What is served is the number": [Case(served(ENTITY | {"entity_version": "champion"}), right=SERVED)],
    "A served entity has a": [
        Case(served(ENTITY | {"max_provisioned_concurrency": 4}), right=SERVED),
        Case(served({name: each for name, each in ENTITY.items() if name != "workload_size"})),
    ],
    "`workload_type` is": [Case(served(ENTITY | {"workload_type": "TPU"}), right=SERVED)],
    "The name of a served entity": [
        Case(served(ENTITY | {"name": "a.b"}), right=SERVED),
        Case(served(ENTITY, ENTITY), right=served(ENTITY, ENTITY | {"name": "two"})),
    ],
    "A served entity is a model": [Case(served(ENTITY | {"external_model": {"name": "other"}}), right=SERVED)],
    "The shares of the traffic": [Case(served(ENTITY, shares={"one": 90}), right=served(ENTITY, shares={"one": 100}))],
}
"""By the first words of each rule."""


@pytest.fixture(scope="module")
def job_id(workspace: Emulator) -> Iterator[int]:
    """A job whose file is not there."""
    made = asked(workspace, ("POST", "/api/2.2/jobs/create", JOB), 0)
    yield made.json()["job_id"]
    asked(workspace, ("POST", "/api/2.2/jobs/delete", made.json()), 0)


def asked(workspace: Emulator, call: Call, job_id: int) -> requests.Response:
    method, path, body = call
    body = {**body, "job_id": job_id} if body and body.get("job_id") == "JOB" else body
    headers = {"Authorization": f"Bearer {workspace.token}"}
    return requests.request(method, workspace.url + path, json=body, headers=headers, timeout=240)


def is_refused(reply: requests.Response, answer: str) -> bool:
    """Whether an answer is the one that the list says."""
    status, _, codes = answer.partition(",")[0].partition(" ")
    more = answer.replace(",", " ").split()
    return reply.status_code == int(status) and (reply.json()["error_code"] in {codes, *more})


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.test == REFUSED], ids=lambda rule: rule.rule[:40])
def test_the_workspace_refuses_it_and_what_is_right_is_taken(rule: Any, workspace: Emulator, job_id: int) -> None:
    (cases,) = (each for words, each in CASES.items() if rule.rule.startswith(words))
    for case in cases:
        limits = dict(case.restrict or {})
        workspace.restrict(*limits.pop("switches", ()), **limits)
        assert is_refused(reply := asked(workspace, case.call, job_id), rule.answer), reply.text
        workspace.restrict()
        if case.right or case.restrict:
            reply = asked(workspace, case.right or case.call, job_id)
            assert reply.ok or not is_refused(reply, rule.answer), reply.text
    workspace.cancel_all()


def test_each_rule_has_a_check_and_a_test_that_are_there() -> None:
    assert {words for words in CASES if sum(rule.rule.startswith(words) for rule in RULES) != 1} == set()
    for rule in RULES:
        file, _, name = rule.test.partition("::")
        tree = ast.parse((ROOT / "tests/databricks" / file).read_text(encoding="utf-8"))
        assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, rule.test
        check = rule.check.split("`")[1]
        module, _, names = check.partition(".")
        assert check in Rules.__dataclass_fields__ or found(module, names), check


def found(module: str, name: str) -> bool:
    """Whether a module of the emulator has something of this name, itself or in one of its classes."""
    there = importlib.import_module(f"databricks_emulator.{module}")
    return not name or any(hasattr(each, name) for each in (there, *vars(there).values()))


def test_a_workspace_without_clusters_has_room_for_five_tasks(client: WorkspaceClient, workspace: Emulator) -> None:
    workspace.restrict("serverless_only")
    workspace.hold("rules", "PENDING")
    job = post(
        client,
        "create",
        **JOB | {"tasks": [TASK | {"task_key": "rules"}], "queue": {"enabled": True}, "max_concurrent_runs": 10},
    )
    runs = [post(client, "run-now", **job)["run_id"] for _ in range(6)]
    states = {run: client.jobs.get_run(run).status.state.value for run in runs}
    assert states.pop(runs[5]) == "QUEUED"
    assert "QUEUED" not in states.values()
    without = post(client, "runs/submit", tasks=[TASK], environments=JOB["environments"], queue={"enabled": False})
    assert until(lambda: client.jobs.get_run(without["run_id"]).state.life_cycle_state.value == "SKIPPED")


def test_the_token_of_a_deleted_run_starts_nothing(client: WorkspaceClient, workspace: Emulator, job_id: int) -> None:
    token = uuid4().hex
    run = asked(workspace, started(idempotency_token=token), job_id).json()
    ended(client, run["run_id"])
    asked(workspace, ("POST", "/api/2.2/jobs/runs/delete", run), 0)
    reply = asked(workspace, started(idempotency_token=token), job_id)
    assert (reply.status_code, "has been deleted" in reply.text) == (400, True)


FETCH = """
import sys
from lifecycle.data import opening
from lifecycle.data.source import Source
from lifecycle.settings.rules import DataRules
with opening.opened(Source(uri=sys.argv[1]), DataRules(allowed_schemes=("http",))):
    print("fetched")
"""


@pytest.fixture
def outside() -> Iterator[str]:
    """A file beyond the workspace: at another address of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"a,b\n1,")

        do_HEAD: Callable[..., None] = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.2", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.2:{server.server_port}/news.csv"
        server.shutdown()


def test_a_job_that_may_not_go_out_says_where_to_put_the_file(
    client: WorkspaceClient, workspace: Emulator, script: Scripts, outside: str
) -> None:
    task = file_task(script(FETCH), parameters=[outside])
    assert output(client, ended(client, submit(client, task)))["logs"] == "fetched\n"
    workspace.restrict("offline")
    error = output(client, ended(client, submit(client, task)))["error"]
    assert "put the file on the volume" in error, error
