"""A person approves a promotion or does not: bound to one verdict, and in nobody's way while it is thought about.

Promise: An approval counts for one verdict only.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.worker import EventsWorker

from cli.main import main
from cli.operations import approvals as waiting_runs
from cli.operations import runs
from cli.operations.approvals import Waiting
from flows.promote import promote
from flows.release import release
from flows.rollback import rollback
from flows.train import train
from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.names import Environment
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.registry import catalog, promotion, registration, store
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from tasks import approvals, limits
from tasks.outcomes import Admission
from tests.conftest import SAMPLE, make_dataset, train_model, write_news

WEAK = {"max_depth": 1, "n_estimators": 1}


class Trained:
    """A state directory with a good model and two bad ones, which every test enters under a name of its own."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        self.good = train_model(config, "naive_bayes")
        self.bad, self.worse = (train_model(config, "random_forest", seed=seed, **WEAK) for seed in (0, 1))
        for model in (self.bad, self.worse):  # a rollback proves that its target predicts what it predicted
            request = evaluation.request_for(model, config.datasets, "news", "1.0.0")
            evaluation.evaluate(EvaluateRequest.model_validate(request.model_dump()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Trained:
    folder = tmp_path_factory.mktemp("approvals")
    shutil.copy(migrated, folder / "mlflow.db")
    config = settings.load("staging", home=folder)
    make_dataset(config, write_news(folder / "news.csv"))
    return Trained(config)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of the model: each test has its own."""
    return str(request.node.name.removeprefix("test_"))[:40].strip("_")


@pytest.fixture
def staging(trained: Trained, name: str, monkeypatch: pytest.MonkeyPatch, replayed_here: None) -> Target:  # noqa: ARG001
    """Where the model is to be promoted, with the settings that ask for a person; v1 of dev is the good one."""
    for variable, value in {
        "HOME": trained.config.home,
        "GATE__MIN_ROWS": 20,
        "APPROVAL__REQUIRED": "true",
    }.items():
        monkeypatch.setenv(f"MLOPS_{variable}", str(value))
    monkeypatch.setattr(approvals, "POLL_SECONDS", 0.2)
    dev = target_of(settings.load(Environment.DEV), name)
    assert registration.candidate(dev, trained.good) == 1
    return target_of(settings.load(Environment.STAGING), name)


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as connected:
        yield connected


class Run(threading.Thread):
    """A promotion in a thread of its own, and what came of it."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(daemon=True)
        self.name, self.options = name, options
        self.state: State[Admission] | None = None
        self.start()

    def run(self) -> None:
        wanted = {"source_env": "dev", "target_env": "staging", "version": 1, "data_name": "news"}
        wanted |= {"data_version": "1.0.0", "reason": "release 7", **self.options}
        self.state = promote(self.name, **wanted, return_state=True)

    def ended(self) -> State[Admission]:
        self.join(60)
        assert self.state is not None
        return self.state


def question(client: SyncPrefectClient, run: Run, but: tuple[str, ...] = ()) -> Waiting:
    """What a run asks, once it asks about another verdict than these or in other words."""

    def asked() -> list[Waiting]:
        found = [each for each in waiting_runs.waiting(client) if f"promote {run.name} from" in each.name]
        return [each for each in found if each.text and each.verdict_digest not in but and each.text not in but]

    return until(asked, run)[0]


def until(read: Callable[[], Any], run: Run) -> Any:
    deadline = time.monotonic() + 240
    while not (found := read()):
        assert time.monotonic() < deadline
        assert run.state is None, run.state
        time.sleep(0.2)
    return found


def events_of(server: str, target: Target) -> list[str]:
    """What happened to a model, in order."""
    EventsWorker.drain_all(timeout=240)
    chosen = {"event": {"prefix": ["mlops.model."]}, "resource": {"id": [f"mlops.model.{target.name}"]}, "order": "ASC"}
    for _ in range(50):
        found = httpx.post(f"{server}/events/filter", json={"filter": chosen}).json()["events"]
        if len(found) > 1:
            break
        time.sleep(0.2)
    return [each["event"].removeprefix("mlops.model.") for each in found]


def command(monkeypatch: pytest.MonkeyPatch, server: str, *arguments: str) -> int:
    """The exit code of the command against the tests' server."""
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.setattr(sys, "argv", ["mlops", "approve", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_who_approved_stands_in_the_log_and_a_bad_answer_is_asked_for_again(
    staging: Target,
    name: str,
    client: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(name)
    first = question(client, run)
    assert "Accepted in staging" in first.text
    assert "against no champion, on 48 rows of news 1.0.0 holdout" in first.text
    assert "0 newly right: `verdict-…-explained`" in first.text
    assert first.until is not None
    assert 71 < (first.until - first.since).total_seconds() / 3600 < 72.1
    other = first.model_copy(update={"verdict_digest": "0" * 64})
    with pytest.raises(ConfigError, match="does not match"):
        waiting_runs.answer(client, other, approve=True, by="Ada", reason="fine")
    with pytest.raises(ConfigError, match="'by'"):
        waiting_runs.answer(client, first, approve=True, by=" ", reason="fine")
    client.resume_flow_run(first.flow_run_id, run_input={"decision": "approve", "reason": "fine"})
    second = question(client, run, but=(first.text,))
    assert "did not count: by left empty" in second.text
    assert store.find(staging, 1) is None
    waiting_runs.answer(client, second, approve=True, by="Ada Lovelace", reason="the rows are right")

    admission: Admission = run.ended().result()
    assert (admission.promotion.champion, admission.approval.by) == (1, "Ada Lovelace")
    (line,) = catalog.history(staging)
    assert (line.approved_by, line.approval, line.verdict_digest) == (
        "Ada Lovelace",
        "the rows are right",
        first.verdict_digest,
    )
    assert store.version(staging, 1).tags["promotion.approved_by"] == "Ada Lovelace"
    assert line.by != "Ada Lovelace"
    monkeypatch.setattr(sys, "argv", ["mlops", "history", "--model-name", name, "--env", "staging"])
    with pytest.raises(SystemExit):
        main()
    shown = "".join(capsys.readouterr().out.split())
    assert all(word in shown for word in ("Ada", "Lovelace", "right"))


def test_a_rejection_is_a_result_and_the_command_gives_it(
    staging: Target,
    name: str,
    client: SyncPrefectClient,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(name)
    asked = question(client, run)
    number = str(asked.flow_run_id)
    assert command(monkeypatch, server, "--list", "--json") == 0
    assert asked.verdict_digest in capsys.readouterr().out
    assert command(monkeypatch, server) == 0
    assert number in capsys.readouterr().out
    assert command(monkeypatch, server, number, "--reject") == 2
    assert "needs a reason" in capsys.readouterr().err
    assert command(monkeypatch, server, "ffff", "--reason", "no") == 2
    assert number in capsys.readouterr().err
    for unaddressed in (("--reason", "no"), ("", "--reject"), (number, "--list", "--reason", "no")):
        assert command(monkeypatch, server, *unaddressed) == 2
        assert "An answer needs the flow run" in capsys.readouterr().err
    assert command(monkeypatch, server, number, "--reason", "yes", "--verdict", "0" * 12) == 5
    assert "judged anew" in capsys.readouterr().err
    said = ("--reject", "--reason", "too soon", "--by", "Grace Hopper", "--verdict", asked.verdict_digest[:8])
    assert command(monkeypatch, server, number[:18], *said) == 0
    assert "rejected by Grace Hopper" in capsys.readouterr().out
    with pytest.raises(ConflictError, match="does not wait for an answer any more"):
        waiting_runs.answer(client, asked, approve=True, by="Ada", reason="fine")

    state = run.ended()
    assert command(monkeypatch, server, number, "--reason", "yes after all") == 5
    assert "does not wait for an answer any more, it is Not approved" in capsys.readouterr().err
    assert (state.name, state.is_completed()) == ("Not approved", True)
    admission: Admission = state.result()
    assert (admission.refused, admission.promotion) == (True, None)
    assert admission.message == "Not approved by Grace Hopper: too soon"
    assert promotion.champion(staging) is None
    assert events_of(server, staging) == ["approval-requested", "not-approved"]
    assert runs._exit_code("COMPLETED", str(state.name), admission.message) == 4


def test_who_does_not_answer_has_not_approved(
    staging: Target, name: str, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_APPROVAL__TIMEOUT_HOURS", str(2 / 3600))
    state = Run(name).ended()
    assert (state.name, state.message) == ("Not approved", "Not approved: nobody answered within 0.000555556 h")
    states = [each.name for each in client.read_flow_run_states(state.state_details.flow_run_id)]
    assert [each for each in states if each != "Pending"] == ["Running", "Paused", "Running", "Not approved"]
    assert store.find(staging, 1) is None


def test_a_rollback_comes_first_and_the_verdict_before_it_is_approved_in_vain(
    staging: Target, name: str, trained: Trained, client: SyncPrefectClient
) -> None:
    for model in (trained.bad, trained.worse):
        promotion.promote(promotion.intend(staging, model, promotion.champion(staging), reason="before"))
    run = Run(name)
    before = question(client, run)
    assert f"{staging.name} v2" in before.text
    assert rollback(name, "staging", reason="it was worse").champion == 1  # the slot is free
    waiting_runs.answer(client, before, approve=True, by="Ada", reason="better than v2")

    after = question(client, run, but=(before.verdict_digest,))
    assert f"{staging.name} v1" in after.text
    old = after.model_copy(update={"verdict_digest": before.verdict_digest})
    with pytest.raises(ConfigError, match="does not match"):
        waiting_runs.answer(client, old, approve=True, by="Ada", reason="again")
    waiting_runs.answer(client, after, approve=True, by="Ada", reason="better than v1 too")
    admission: Admission = run.ended().result()
    assert (admission.promotion.champion, admission.approval.verdict_digest) == (4, after.verdict_digest)
    assert (catalog.history(staging)[-1].expected, catalog.history(staging)[-1].approval) == (1, "better than v1 too")


def test_who_was_rolled_back_where_it_comes_from_is_not_promoted_by_an_approval_that_it_had(
    staging: Target, name: str, trained: Trained, client: SyncPrefectClient
) -> None:
    dev = target_of(settings.load(Environment.DEV), name)
    for model in (trained.worse, trained.good):
        promotion.promote(promotion.intend(dev, model, promotion.champion(dev), reason="before"))
    run = Run(name, version=None)
    before = question(client, run)
    assert rollback(name, "dev", reason="it offends customers").changed
    waiting_runs.answer(client, before, approve=True, by="Ada", reason="fine")
    state = run.ended()
    assert (state.name, promotion.champion(staging)) == ("Refused", None)
    assert store.versions(staging) == []


def test_what_became_champion_meanwhile_is_not_promoted_twice(
    staging: Target, name: str, trained: Trained, client: SyncPrefectClient
) -> None:
    run = Run(name)
    asked = question(client, run)
    promotion.promote(promotion.intend(staging, trained.good, None, reason="by another way"))
    waiting_runs.answer(client, asked, approve=True, by="Ada", reason="fine")
    assert "is champion already" in str(run.ended().message)
    assert len(store.versions(staging)) == 1


def test_where_nobody_could_answer_nothing_begins(
    staging: Target, name: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = sorted(path.name for path in trained.config.datasets.rglob("*"))
    here = {"data_name": "news", "data_version": "1.0.0", "model_name": name}
    sample = {"source": str(SAMPLE), "text_column": "Sentence", "label_column": "Sentiment"}
    with limits.alone():
        for begin in (
            lambda: promote(name, "dev", "staging", version=1),
            lambda: train(**here, env="staging", model_type="naive_bayes"),
            lambda: release(**sample, data_name="other", data_version="1.0.0", model_name=name),
        ):
            with pytest.raises(ConfigError, match="mlops up") as refused:
                begin()
            assert refused.value.exit_code == 2
    assert sorted(path.name for path in trained.config.datasets.rglob("*")) == versions
    assert store.find(staging, 1) is None
    monkeypatch.setenv("MLOPS_SKIP_GATE", "true")
    with pytest.raises(ConfigError, match="past the gate there is none"):
        promote(name, "dev", "staging", version=1, skip_gate=True, reason="in a hurry")


def test_a_model_that_the_gate_refuses_is_not_asked_about(
    staging: Target, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20000")
    assert Run(name).ended().name == "Refused"
    assert store.find(staging, 1) is None
