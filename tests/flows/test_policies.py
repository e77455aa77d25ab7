"""What is retried, what is reused, and what never is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import flow
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL

from lifecycle.core import errors
from tasks import compute, data, gate, inference, policies, registry, training
from tests.conftest import ROOT, some
from tests.databricks.remote import until


def attempts_at(error: Exception) -> int:
    """How often a step that always fails in one way is tried."""
    calls: list[int] = []

    def step() -> None:
        calls.append(1)
        raise error

    @flow
    def one() -> None:
        policies.on_data(step).with_options(retry_delay_seconds=0, cache_policy=NO_CACHE)()

    with pytest.raises(type(error)):
        one()
    return len(calls)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (errors.TransientError("MLflow did not answer."), 4),
        (ConnectionError("reset"), 4),
        (TimeoutError("late"), 4),
        (errors.DataError("bad row"), 1),
        (errors.ConfigError("no such setting"), 1),
        (errors.LostRaceError("late"), 1),
        (errors.AliasMovedError("moved"), 1),
        (errors.IntegrityError("changed"), 1),
        (ValueError("a bug"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_only_what_waiting_may_cure_is_retried(error: Exception, attempts: int) -> None:
    assert attempts_at(error) == attempts


@pytest.mark.parametrize(
    "step", [registry.champion, registry.intend, registry.promote, registry.resolve, inference.load]
)
def test_what_depends_on_the_registry_is_never_cached(step: object) -> None:
    assert (step.cache_policy, step.persist_result) == (NO_CACHE, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", [compute.run_step, data.plan, training.plan, gate.judge])
def test_what_is_heavy_is_reused_by_a_retry_of_the_same_run(step: object) -> None:
    assert step.persist_result is True  # type: ignore[attr-defined]
    assert step.result_serializer == "json"  # type: ignore[attr-defined]


ENDLESS = """
import ctypes, sys, time
from pathlib import Path
from prefect import flow
from tasks import policies

def wait():
    Path(sys.argv[1], "ready").touch()
    for _ in range(6000):
        time.sleep(0.1)  # one that comes right before a sleep is heard after it

class Finalised:
    def __del__(self):
        wait()

def step():
    try:
        {lost}
        time.sleep(600)
    finally:
        Path(sys.argv[1], "left").touch()

@flow
def endless():
    {policy}

endless()
"""


@pytest.mark.parametrize(
    "lost", ["Finalised()", "ctypes.CFUNCTYPE(None)(wait)()"], ids=["in a finaliser", "in a callback of C code"]
)
@pytest.mark.parametrize(
    "policy",
    some("policies.on_data(step)()", "policies.stage('one', step)", "policies.on_registry(step)()", always=1),
    ids=["on data", "stage", "on registry"],
)
def test_a_signal_ends_a_step_also_where_its_exception_is_lost(tmp_path: Path, policy: str, lost: str) -> None:
    program = ENDLESS.format(policy=policy, lost=lost)
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(Path(tmp_path, "ready").exists)
            process.send_signal(signal.SIGTERM)
            assert process.wait(240) != 0
        finally:
            process.kill()
    assert Path(tmp_path, "left").exists()
