"""The deployment job of a registered model: what it says of a new version, and that it moves nothing."""

import pytest

from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.jobs import gate
from lifecycle.jobs.gate import STATUS, GateRequest, RefusedError
from lifecycle.registry import promotion, store
from tests.registry.conftest import State, promote


@pytest.fixture
def state(state: State, monkeypatch: pytest.MonkeyPatch) -> State:
    """A registry that a job finds by itself."""
    monkeypatch.setenv("MLOPS_PLATFORM", "local")
    monkeypatch.setenv("MLOPS_HOME", str(state.config.state))
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20")
    return state


def job(version: int, name: str = "dev.ml.sentiment") -> None:
    gate.judge(GateRequest(env="dev", model_name=name, model_version=version))


def status(state: State, version: int) -> str | None:
    return store.version(state.target, version).tags.get(STATUS)


def test_a_new_version_is_judged_and_nothing_moves(state: State) -> None:
    first = promotion.enter_challenger(state.target, state.regression)
    job(first.version)
    assert (status(state, first.version), promotion.champion(state.target)) == ("passed", None)
    promote(state.target, state.regression)
    before = promotion.champion(state.target)
    job(before.version)  # an entry of the log
    assert status(state, before.version) is None
    worse = promotion.enter_challenger(state.target, state.bayes)
    with pytest.raises(RefusedError, match="See the verdict") as refused:
        job(worse.version)
    assert refused.value.exit_code == 4
    assert (status(state, worse.version), promotion.champion(state.target)) == ("failed", before)


def test_what_is_no_model_or_version_of_the_environment_is_said_so(state: State) -> None:
    promote(state.target, state.regression)
    with pytest.raises(ConfigError, match=r"prod\.ml\.sentiment is no model of dev"):
        job(1, "prod.ml.sentiment")
    with pytest.raises(NotFoundError, match="has no version 7"):
        job(7)
