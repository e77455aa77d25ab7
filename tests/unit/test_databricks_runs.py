"""What the end of a Databricks run means: unknown is never a success, an error of ours comes back as itself."""

from typing import Any

import pytest

from lifecycle.core import errors
from lifecycle.core.errors import ConfigError, ConflictError, MlopsError, TransientError
from lifecycle.databricks import run_states as runs

PAGE = "https://workspace/jobs/1/runs/7"


def state(life_cycle: str, result: str = "", code: str = "", kind: str = "", message: str = "") -> dict[str, Any]:
    details = {"code": code, "type": kind, "message": message} if code or kind else None
    return {
        "state": {"life_cycle_state": life_cycle, **({"result_state": result} if result else {})},
        "status": {"state": "TERMINATED", "termination_details": details} if details else {},
    }


def run(whole: dict[str, Any], *tasks: dict[str, Any]) -> dict[str, Any]:
    named = [{"run_id": 70 + number, "task_key": f"t{number}", **task} for number, task in enumerate(tasks)]
    return {"run_id": 7, "run_page_url": PAGE, "tasks": named, **whole}


FAILED = state("INTERNAL_ERROR", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR")
TASK_FAILED = state("TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", "Workload failed")


@pytest.mark.parametrize(
    ("found", "ended", "good"),
    [
        (state("TERMINATED", "SUCCESS", "SUCCESS", "SUCCESS"), True, True),
        (state("TERMINATED", "SUCCESS"), True, True),
        (state("TERMINATED", "SUCCESS", "DRIVER_ERROR", "CLOUD_FAILURE"), True, False),
        (state("TERMINATED", "SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES", "SUCCESS"), True, False),
        (state("TERMINATED", "A_STATE_OF_NEXT_YEAR"), True, False),
        (state("TERMINATED"), True, False),
        (state("INTERNAL_ERROR"), True, False),
        (state("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED"), True, False),
        (state("RUNNING", "SUCCESS"), False, False),
        (state("A_STATE_OF_NEXT_YEAR"), False, False),
        ({}, False, False),
        ({"state": None, "status": None}, False, False),
        ({"state": {"life_cycle_state": "NEW"}, "status": {"state": "TERMINATED"}}, True, False),
    ],
)
def test_only_what_is_known_to_be_a_success_is_one(found: dict[str, Any], ended: bool, good: bool) -> None:
    assert (runs.has_ended(found), runs.succeeded(found)) == (ended, good)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (run(FAILED, TASK_FAILED), MlopsError),
        (run(state("INTERNAL_ERROR", "FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE")), TransientError),
        (run(FAILED, state("INTERNAL_ERROR", "FAILED", "DRIVER_ERROR", "INTERNAL_ERROR")), TransientError),
        (run(FAILED, state("INTERNAL_ERROR", "FAILED", "A_NEW_CODE", "CLOUD_FAILURE")), TransientError),
        (run(FAILED, state("INTERNAL_ERROR", "FAILED", "A_NEW_CODE", "CLIENT_ERROR")), MlopsError),
        (run(FAILED, TASK_FAILED, state("INTERNAL_ERROR", "FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE")), MlopsError),
        (run(FAILED, state("INTERNAL_ERROR", "FAILED", "LIBRARY_INSTALLATION_ERROR", "CLIENT_ERROR")), ConfigError),
        (run(FAILED, state("INTERNAL_ERROR", "FAILED", "UNAUTHORIZED_ERROR", "CLIENT_ERROR")), ConfigError),
        (run(state("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED")), TransientError),
        (run(state("TERMINATED", "TIMEDOUT", "CANCELED", "CLIENT_ERROR")), ConfigError),
        (run(FAILED, state("TERMINATED", "TIMEDOUT", "CANCELED", "CLIENT_ERROR")), ConfigError),
        (run(state("TERMINATED", "CANCELED", "USER_CANCELED", "SUCCESS")), ConflictError),
        (run(state("TERMINATED", "SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES", "SUCCESS")), MlopsError),
        (run(state("TERMINATED")), MlopsError),
    ],
)
def test_how_a_run_ended_decides_whether_waiting_or_a_person_helps(found: dict[str, Any], kind: type) -> None:
    error = runs.error_of(found, "dev-mlops-train", {})
    assert type(error) is kind
    assert PAGE in str(error)
    assert runs.words(found) in str(error)


@pytest.mark.parametrize(
    "module",
    ["lifecycle.core.errors.", "lifecycle.errors.", ""],
    ids=["with its module", "as an earlier release names it", "as notebooks print it"],
)
@pytest.mark.parametrize("name", ["DataError", "NotFoundError", "LostRaceError", "TransientError", "IntegrityError"])
def test_an_error_of_ours_comes_back_as_itself(module: str, name: str) -> None:
    said = f"{module}{name}: row 3 of news.csv\nhas no label."
    output = {"error": said, "logs": "1\n2\nreading news.csv\nTraceback (most recent call last):\n  File x"}
    error = runs.error_of(run(FAILED, TASK_FAILED), "dev-mlops-train", {"t0": output})
    assert type(error) is getattr(errors, name)
    assert error.exit_code == getattr(errors, name).exit_code
    assert "row 3 of news.csv\nhas no label." in str(error)
    assert "t0: reading news.csv" in str(error)
    assert "Traceback" not in str(error)
    assert PAGE in str(error)


@pytest.mark.parametrize("said", ["ValueError: boom", "errors: DataError: no", "DataErrors: no", "MlopsError", ""])
def test_any_other_error_is_none_of_ours(said: str) -> None:
    error = runs.error_of(run(FAILED, TASK_FAILED), "dev-mlops-train", {"t0": {"error": said}})
    assert type(error) is MlopsError
    assert (said or "Workload failed") in str(error)


def test_the_log_is_cut_to_its_end_and_says_so_if_the_workspace_cut_it() -> None:
    output = {"error": "ValueError: boom", "logs": "\n".join(f"line {n}" for n in range(50)), "logs_truncated": True}
    said = str(runs.error_of(run(FAILED, TASK_FAILED), "x", {"t0": output}))
    assert "line 40" in said
    assert "line 39" not in said
    assert "the rest is on its page" in said


def test_of_a_retried_task_the_last_attempt_counts() -> None:
    first = {"task_key": "a", "attempt_number": 0, "run_id": 1, **TASK_FAILED}
    last = {"task_key": "a", "attempt_number": 1, "run_id": 2, **state("TERMINATED", "SUCCESS")}
    assert [task["run_id"] for task in runs.tasks({"tasks": [last, first]})] == [2]
    assert runs.failed_tasks({"tasks": [last, first]}) == []


def test_what_never_ran_has_no_output_to_read() -> None:
    skipped = state("SKIPPED", "UPSTREAM_FAILED")
    found = run(FAILED, TASK_FAILED, skipped, state("TERMINATED", "EXCLUDED"))
    assert [task["task_key"] for task in runs.failed_tasks(found)] == ["t0"]


def test_a_parameter_is_found_in_a_job_and_in_a_notebook() -> None:
    job = {"job_parameters": [{"name": "env", "default": "dev"}, {"name": "x", "default": "", "value": "1"}]}
    notebook = {"tasks": [{"task_key": "t", "notebook_task": {"base_parameters": {"env": "prod"}}}]}
    assert [runs.parameter(job, name) for name in ("env", "x", "y")] == ["dev", "1", ""]
    assert [runs.parameter(notebook, name) for name in ("env", "y")] == ["prod", ""]
