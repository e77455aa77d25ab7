"""The GitHub workflows keep their rules, and every step of the operational ones runs here as a runner would run it.

What is stood in for: GitHub itself. `Runner` fills in the expressions, obeys `if` and `needs`, and gives each step the
files and the shell that GitHub gives it. Steps that call an action or `make` are not executed: they bring a checkout
with an environment, which is here already. Server, worker, deployments and flows are the real ones.

Promise: Every step of the GitHub workflows runs, and a refusal makes the job red.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from databricks_emulator import running
from lifecycle.core.names import Environment
from tests.conftest import OFTEN, ROOT, exhaustive, free_port

FOLDER = ROOT / ".github" / "workflows"
# BaseLoader keeps every value the text that a runner would see: `on` is a key, and true stays "true"
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506  it makes only texts
    for path in sorted(FOLDER.glob("*.yml"))
}
OPERATIONAL = sorted(WORKFLOWS.keys() - {"ci", "nightly"})
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"].values()]
STEPS = [(name, step) for name, job in JOBS for step in job["steps"]]
RUNS = [(name, step) for name, step in STEPS if "run" in step]
SET_UP = re.compile(r"make [\w-]+")

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
TERM = re.compile(r"([\w.-]+|'[^']*')(?:\s*(==|!=)\s*([\w.-]+|'[^']*'))?")


def evaluated(expression: str, context: Mapping[str, str]) -> str:
    """The value of `a`, `'text'`, `a == b`, `a != b` and of such terms joined by `||`; no other form may be used."""
    value = ""
    for term in expression.split("||"):
        match = TERM.fullmatch(term.strip())
        assert match, f"{expression}: keep the expressions of workflows to what this test can evaluate"
        left, operator, right = match.groups()
        value = _operand(left, context)
        if operator:
            value = "true" if (value == _operand(right, context)) == (operator == "==") else ""
        if value:
            break
    return value


def _operand(text: str, context: Mapping[str, str]) -> str:
    return text.strip("'") if text.startswith("'") else context.get(text, "")


def filled(text: str, context: Mapping[str, str]) -> str:
    return EXPRESSION.sub(lambda match: evaluated(match[1], context), text)


@dataclass
class Ran:
    """What is left of a workflow run."""

    code: int = 0
    summary: str = ""
    log: str = ""
    environments: list[str] = field(default_factory=list)


@dataclass
class Runner:
    """A repository with its checkout, variables and secrets."""

    checkout: Path
    temp: Path
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    shell: dict[str, str] = field(default_factory=dict)

    def dispatch(self, name: str, **inputs: str) -> Ran:
        """Run a workflow by hand: with the inputs' defaults, and only inputs that its form has."""
        form = WORKFLOWS[name]["on"]["workflow_dispatch"]["inputs"]
        assert inputs.keys() <= form.keys()
        missing = [each for each, item in form.items() if item.get("required") == "true" and not inputs.get(each)]
        assert not missing, f"GitHub would not start {name} without {missing}"
        given = {each: inputs.get(each, item.get("default", "")) for each, item in form.items()}
        assert all(given[each] in item["options"] for each, item in form.items() if item["type"] == "choice")
        return self._run(name, "workflow_dispatch", given)

    def event(self, name: str, event: str) -> Ran:
        """Run a workflow by an event; there are no inputs then."""
        assert event in WORKFLOWS[name]["on"]
        return self._run(name, event, {})

    def job(self, name: str, job: str, **inputs: str) -> Ran:
        """Run one job of a workflow alone."""
        ran = Ran()
        self._job(job, WORKFLOWS[name]["jobs"][job], self._context("workflow_dispatch", inputs), ran)
        return ran

    def _context(self, event: str, inputs: Mapping[str, str]) -> dict[str, str]:
        context = {f"inputs.{key}": value for key, value in inputs.items()} | {"github.event_name": event}
        return context | {f"vars.{key}": value for key, value in self.variables.items()}

    def _run(self, name: str, event: str, inputs: Mapping[str, str]) -> Ran:
        context, ran, done = self._context(event, inputs), Ran(), set[str]()
        for job_name, job in WORKFLOWS[name]["jobs"].items():
            if job.get("needs", job_name) not in {job_name, *done} or not evaluated(job.get("if", "'true'"), context):
                continue
            context |= self._job(job_name, job, context, ran)
            done.add(job_name)
            if ran.code:
                break
        return ran

    def _job(self, job_name: str, job: dict[str, Any], context: Mapping[str, str], ran: Ran) -> dict[str, str]:
        """Run the steps until one fails; return the job's outputs as other jobs name them."""
        seen = {**context, **{f"secrets.{key}": value for key, value in self.secrets.items()}}
        if "environment" in job:
            ran.environments.append(filled(job["environment"], context))
        for step in job["steps"]:
            assert "if" not in step, "a step with a condition is not understood here"
            if "run" not in step or SET_UP.fullmatch(step["run"]):
                continue
            outputs = self._step(step, seen, ran)
            seen |= {f"steps.{step.get('id')}.outputs.{key}": value for key, value in outputs.items()}
            if ran.code:
                break
        declared = job.get("outputs", {})
        return {f"needs.{job_name}.outputs.{key}": filled(value, seen) for key, value in declared.items()}

    def _step(self, step: dict[str, Any], context: Mapping[str, str], ran: Ran) -> dict[str, str]:
        """Run a step as GitHub does where `shell: bash` is said, with nothing of this process's environment."""
        script, output, summary = (self.temp / each for each in ("step.sh", "output", "summary"))
        script.write_text(step["run"], encoding="utf-8")
        output.write_text("")
        summary.write_text("")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.temp),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            **self.shell,
            **{key: filled(value, context) for key, value in step.get("env", {}).items()},
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False)
        ran.code, ran.log = done.returncode, ran.log + done.stdout + done.stderr
        ran.summary += summary.read_text(encoding="utf-8")
        assert not [name for name, value in self.secrets.items() if value in ran.log + ran.summary]
        return dict(line.split("=", 1) for line in output.read_text(encoding="utf-8").splitlines())


# --- the rules ---------------------------------------------------------------------------------------------------


def test_the_linters_find_nothing() -> None:
    for command in (["actionlint", *sorted(map(str, FOLDER.glob("*.yml")))], ["zizmor", "--offline", "-q", ".github"]):
        tool = Path(sys.executable).parent / command[0]
        done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_is_allowed_but_what_a_job_asks_for(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {}
    assert {"pull_request_target", "workflow_run"}.isdisjoint(workflow["on"])
    for job in workflow["jobs"].values():
        identity = {"id-token": "write"} if "github-oidc" in str(job) else {}
        assert job["permissions"] in ({}, {"contents": "read", **identity})


def test_actions_are_pinned_to_a_commit_and_keep_no_credentials() -> None:
    lines = [line.strip() for path in FOLDER.glob("*.yml") for line in path.read_text().splitlines() if "uses:" in line]
    pinned = re.compile(r"- uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in lines if not pinned.fullmatch(line)] == []
    assert len({line.split("@")[1] for line in lines}) == len({line.split("@")[0] for line in lines})
    for _, step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


def test_values_reach_a_script_only_through_its_environment() -> None:
    assert [(name, step["run"]) for name, step in RUNS if "${{" in step["run"]] == []


def test_every_variable_of_a_script_is_in_the_environment_of_its_step_and_used_with_quotes() -> None:
    for name, step in RUNS:
        used = set(re.findall(r"\$\{?([A-Z_]+)", step["run"])) - {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"}
        connection = {
            key for key in step.get("env", {}) if key.startswith(("PREFECT_", "MLOPS_", "PROJECT_", "DATABRICKS_"))
        }
        assert used == step.get("env", {}).keys() - connection, name
        assert re.findall(r'(?<!")\$[A-Z]', re.sub(r'"[^"]*"', '""', step["run"])) == [], name


def test_secrets_reach_only_the_step_that_needs_them_in_a_job_with_an_environment() -> None:
    for name, workflow in WORKFLOWS.items():
        assert "secrets." not in str({key: value for key, value in workflow.items() if key != "jobs"}), name
        for job in workflow["jobs"].values():
            outside = [{**step, "env": None} for step in job["steps"]]
            assert "secrets." not in str({**job, "steps": outside}), name
            assert ("secrets." in str(job) or "id-token" in job["permissions"]) == ("environment" in job), name


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_ends_and_runs_once_at_a_time(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["concurrency"]["cancel-in-progress"] == ("true" if name == "ci" else "false")
    for job in workflow["jobs"].values():
        limit = 60 * int(job["timeout-minutes"])
        waits = [int(seconds) for step in job["steps"] for seconds in re.findall(r"--timeout (\d+)", str(step))]
        assert all(seconds + 600 <= limit for seconds in waits), "the command must end before GitHub ends the job"


@pytest.mark.parametrize("name", OPERATIONAL)
def test_a_failure_in_the_middle_of_a_pipe_is_a_failure(name: str) -> None:
    assert WORKFLOWS[name]["defaults"]["run"]["shell"] == "bash"  # GitHub's own default has no pipefail


def test_the_forms_offer_what_there_is() -> None:
    environments = [str(env) for env in Environment]
    for name in OPERATIONAL:
        form = WORKFLOWS[name]["on"]["workflow_dispatch"]["inputs"]
        assert len(form) <= 10, "GitHub's limit"
        assert form.get("env", {}).get("options", environments) == environments
    assert WORKFLOWS["promote"]["on"]["workflow_dispatch"]["inputs"]["target_env"]["options"] == environments[1:]
    assert "default" not in WORKFLOWS["train"]["on"]["workflow_dispatch"]["inputs"]["model_type"]


@pytest.mark.parametrize(("name", "environment"), [("promote", "inputs.target_env"), ("rollback", "inputs.env")])
def test_changing_a_champion_takes_the_approval_of_its_environment(name: str, environment: str) -> None:
    (job,) = WORKFLOWS[name]["jobs"].values()
    assert job["environment"] == f"${{{{ {environment} }}}}"


# --- when they run -----------------------------------------------------------------------------------------------


@pytest.fixture
def idle(tmp_path: Path) -> Runner:
    """A runner whose checkout has nothing in it: only what needs no command succeeds."""
    return Runner(checkout=tmp_path, temp=tmp_path)


def test_by_the_clock_training_is_due_every_thirty_days(idle: Runner) -> None:
    """The clock is a shell function; it says noon of a day."""
    idle.variables = {"SCHEDULED_BY": "github"}
    due = []
    for day in range(20_000, 20_061):
        idle.shell = {"BASH_FUNC_date%%": f"() {{ echo {day * 86_400 + 43_200}; }}"}
        ran = idle.event("train", "schedule")
        assert ran.environments == (["operations"] if ran.code else [])
        assert bool(ran.code) != ("is due in" in ran.summary)
        due += [day] if ran.code else []
    assert [later - earlier for earlier, later in pairwise(due)] == [30]


@pytest.mark.parametrize(
    ("name", "event"), [("train", "schedule"), ("inference", "schedule"), ("deploy", "push")], ids=str
)
def test_nothing_runs_by_itself_before_a_variable_says_so(idle: Runner, name: str, event: str) -> None:
    ran = idle.event(name, event)
    assert (ran.code, ran.environments, ran.log) == (0, [], "")
    idle.variables = {"DATABRICKS_HOST": "https://workspace.example.com"}
    assert idle.event(name, event).environments == []
    idle.variables = {"SCHEDULED_BY": "github", "DEPLOY_ON_PUSH": "true"}
    idle.shell = {"BASH_FUNC_date%%": "() { echo 0; }"}
    assert idle.event(name, event).environments == ["dev" if name == "deploy" else "operations"]


def test_by_hand_training_is_always_due(idle: Runner) -> None:
    idle.shell = {"BASH_FUNC_date%%": "() { echo 86400; }"}
    assert idle.dispatch("train").environments == ["operations"]


# --- what they do ------------------------------------------------------------------------------------------------


def checked_out(folder: Path) -> Path:
    """The project as a checkout with its environment, as `make setup` leaves it."""
    left_out = (".git", ".venv", ".mlops", ".hypothesis", ".*_cache", "build", "dist", "tests", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A repository whose Prefect server, behind a password, has a worker; the deployments are made by its workflow."""
    folder = tmp_path_factory.mktemp("actions")
    checkout, temp, port = checked_out(folder / "checkout"), folder / "temp", free_port()
    temp.mkdir()
    word = f"admin:{secrets.token_hex(8)}"
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLOPS_"))}
    password = {"PREFECT_SERVER_API_AUTH_STRING": word, "PREFECT_API_AUTH_STRING": word}
    environment = {**outside, **password, **OFTEN, "MLOPS_HOME": str(folder / "state")}
    mlops = [str(checkout / ".venv/bin/mlops")]
    up = [*mlops, "up", "--detach", "--no-deploy", "--port", str(port), "--mlflow-port", str(free_port())]
    try:
        done = subprocess.run(up, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        runner = Runner(checkout, temp, {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"})
        runner.secrets = {"PREFECT_API_AUTH_STRING": word}
        yield runner
    finally:
        subprocess.run([*mlops, "down"], cwd=checkout, env=environment, capture_output=True, check=True)


REASON = '$(touch "$HOME/ran") `id`; "good" | v1'
"""No shell may read it."""


@pytest.mark.timeout(900)
def test_the_life_of_a_model_from_github(repository: Runner) -> None:
    """Each call is one workflow run, and each but a deployment a flow run of the one real worker."""
    deployed(repository, "dev")
    table = {"source": "examples/financial_news.csv", "text_column": "Sentence", "label_column": "Sentiment"}
    created = repository.dispatch("create-data", data_version="1.0.0", **table)
    assert (created.code, "| blank_text | 5 |" in created.summary) == (0, True), created.log


@exhaustive
@pytest.mark.timeout(900)
def test_its_later_life(repository: Runner) -> None:
    """After the test before: the summaries say what `mlops trigger` says, which has tests of its own."""
    repository.variables["SCHEDULED_BY"] = "github"
    repository.shell = {"BASH_FUNC_date%%": "() { echo 0; }"}  # a day on which training is due
    first = repository.event("train", "schedule")
    assert (first.code, "dev.ml.sentiment v1 is champion" in first.summary) == (0, True), first.log
    failed = repository.dispatch("rollback", env="dev", to_version="9", reason=REASON)
    assert (failed.code, "rollback/dev: Failed" in failed.summary) == (5, True), failed.log
    assert "v9 never was champion" in failed.summary
    deployed(repository, "staging")
    promoted = repository.dispatch("promote", target_env="staging", reason=REASON)
    assert (promoted.code, promoted.environments) == (0, ["staging"]), promoted.log
    assert "staging.ml.sentiment v1 is champion" in promoted.summary
    assert REASON in promoted.summary
    assert not (repository.temp / "ran").exists()
    second = repository.dispatch("train", model_type="naive_bayes")
    assert (second.code, "dev.ml.sentiment v2 is champion" in second.summary) == (0, True), second.log
    weak = repository.dispatch("train", model_type="random_forest", model_params='{"min_samples_leaf": 1000}')
    assert (weak.code, "train/dev: Refused" in weak.summary) == (4, True), weak.log
    assert "| gain in f1_macro | fail |" in weak.summary
    scored = repository.dispatch("inference", env="dev", logical_date="2026-11-21")
    assert (scored.code, "1,192 predictions by dev.ml.sentiment v2" in scored.summary) == (0, True), scored.log
    (published,) = (repository.checkout.parent / "state" / "predictions").glob("*/2/*/manifest.json")
    run_id = json.loads(published.read_text(encoding="utf-8"))["run_id"]
    rows = {"data_name": "financial_news", "data_version": "1.0.0", "split": "train", "run_id": run_id}
    seen = repository.dispatch("inference", env="dev", logical_date="2026-11-21", **rows)
    assert (seen.code, "The model was trained on" in seen.summary) == (0, True), seen.log
    back = repository.dispatch("rollback", env="dev", reason="recall fell")
    assert (back.code, back.environments) == (0, ["dev"]), back.log
    assert "dev.ml.sentiment v1 is champion" in back.summary


def deployed(repository: Runner, env: str) -> None:
    ran = repository.dispatch("deploy", env=env)
    assert (ran.code, ran.environments) == (0, [env]), ran.log
    assert f"train/{env}" in ran.summary


@pytest.fixture
def worker(tmp_path: Path) -> Runner:
    """A runner on the machine of a worker, whose checkout is a commit behind."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C"]
    runner = Runner(tmp_path / "pushed", tmp_path, {"WORKER_RUNNER": "worker", "PROJECT_DIR": str(tmp_path / "worker")})
    subprocess.run(["git", "init", "--quiet", str(runner.checkout)], check=True)
    for content in ("old", "new"):
        (runner.checkout / "code.py").write_text(content)
        (runner.checkout / "Makefile").write_text("setup:\n\t@cp code.py installed\n")
        subprocess.run([*git, str(runner.checkout), "add", "."], check=True)
        subprocess.run([*git, str(runner.checkout), "commit", "--quiet", "-m", content], check=True)
        if content == "old":
            subprocess.run(
                ["git", "clone", "--quiet", str(runner.checkout), runner.variables["PROJECT_DIR"]], check=True
            )
    return runner


def code_step(runner: Runner) -> Ran:
    """Run the step of `deploy` alone that brings the code."""
    (step,) = (step for name, step in RUNS if name == "deploy" and "WORKER_DIR" in step.get("env", {}))
    ran = Ran()
    runner._step(step, runner._context("push", {}), ran)
    return ran


def test_what_is_deployed_is_what_the_worker_runs(worker: Runner) -> None:
    folder = Path(worker.variables["PROJECT_DIR"])
    (folder / "state.db").write_text("not git's")
    for _ in range(2):
        deployed = code_step(worker)
        assert (deployed.code, "new" in deployed.summary) == (0, True), deployed.log
        assert (folder / "code.py").read_text() == (folder / "installed").read_text() == "new"
    assert (folder / "state.db").read_text() == "not git's"


@pytest.mark.parametrize(
    ("variables", "code", "why"),
    [
        ({"WORKER_RUNNER": ""}, 0, "Not deployed: there is no WORKER_RUNNER"),
        ({"PROJECT_DIR": ""}, 1, "PROJECT_DIR must say"),
    ],
)
def test_code_that_is_not_deployed_is_told(worker: Runner, variables: dict[str, str], code: int, why: str) -> None:
    folder = Path(worker.variables["PROJECT_DIR"])
    worker.variables |= variables
    ran = code_step(worker)
    assert (ran.code, why in ran.log) == (code, True)
    assert (folder / "code.py").read_text() == "old"


def test_work_on_the_worker_itself_is_not_overwritten(worker: Runner) -> None:
    path = Path(worker.variables["PROJECT_DIR"]) / "code.py"
    path.write_text("somebody's")
    ran = code_step(worker)
    assert (ran.code, "M code.py" in ran.summary, path.read_text()) == (5, True, "somebody's")


def test_the_jobs_come_to_databricks_by_githubs_word_alone(tmp_path: Path) -> None:
    """The workspace lets in what its federation policy names: the environment prod of this repository."""
    runner = Runner(checked_out(tmp_path / "checkout"), tmp_path)
    with running(tmp_path / "workspace") as emulator:
        identity = emulator.credentials.github_actions(emulator.url)
        runner.variables = {name: identity[name] for name in ("DATABRICKS_HOST", "DATABRICKS_CLIENT_ID")}
        runner.shell = {name: value for name, value in identity.items() if name.startswith("ACTIONS_")}
        deployed = runner.job("deploy", "databricks", env="prod")
        assert (deployed.code, deployed.environments) == (0, ["prod"]), deployed.log
        assert re.search(r"job +prod-mlops-train +created", deployed.summary)
        elsewhere = emulator.credentials.github_actions(emulator.url, "repo:example/mlops:ref:refs/heads/feature")
        runner.shell["ACTIONS_ID_TOKEN_REQUEST_URL"] = elsewhere["ACTIONS_ID_TOKEN_REQUEST_URL"]
        refused = runner.job("deploy", "databricks", env="prod")
        assert (refused.code, "Traceback" in refused.log) == (2, False), refused.log


@pytest.mark.parametrize(
    ("api", "code", "why"),
    [
        (None, 2, "does not let us in (401)"),
        ("http://127.0.0.1:9/api", 6, "does not answer"),
        ("", 2, "There is no Prefect server"),
    ],
    ids=["no secret", "no answer", "no address"],
)
def test_what_hinders_a_run_stands_in_the_summary(repository: Runner, api: str | None, code: int, why: str) -> None:
    address = repository.variables["PREFECT_API_URL"] if api is None else api
    stranger = Runner(repository.checkout, repository.temp, {"PREFECT_API_URL": address})
    ran = stranger.dispatch("rollback", reason=REASON)
    assert (ran.code, why in ran.summary, "Traceback" in ran.log) == (code, True, False), ran.log
    assert not (repository.temp / "ran").exists()
