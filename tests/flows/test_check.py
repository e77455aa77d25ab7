"""`mlops gate check` and `explain`: a model is judged, nothing moves, and what was said can be read again as it was."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from cli.main import main
from flows.check import check
from flows.promote import promote
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import records
from lifecycle.gate.verdict import Verdict
from lifecycle.registry import catalog, promotion, store
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.tracking.client import client
from tests.conftest import train_model
from tests.unit.test_answers import registered

pytestmark = pytest.mark.usefixtures("replayed_here")
SENTIMENT = ("--model-name", "sentiment", "--env", "dev")


class Court(NamedTuple):
    """A registry in which v1, which never says `negative`, is champion of dev and v2 has the alias challenger."""

    config: Settings
    weak: ModelRef
    good: ModelRef

    def registered(self) -> Any:
        """Everything that a promotion would change."""
        pages = [
            catalog.show(target).model_dump()
            for env in Environment
            if store.model(target := target_of(settings.load(env, home=self.config.state), "sentiment"))
        ]
        return pages, catalog.history(target_of(self.config, "sentiment"))

    def artifact(self, verdict: Verdict, suffix: str = ".json") -> Path:
        """The file of a stored verdict."""
        (path,) = self.config.state.rglob(f"verdicts/{verdict.env}-{verdict.digest[:16]}{suffix}")
        return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Court:
    home = tmp_path_factory.mktemp("court") / "state"
    shutil.copytree(prepared, home)
    config = settings.load("dev", home=home)
    target = target_of(config, "sentiment")
    weak = train_model(config, "random_forest", max_depth=1, n_estimators=1)
    promotion.promote(promotion.intend(target, weak, None, reason="the first"))
    return Court(config, weak, promotion.enter_challenger(target, train_model(config)))


@pytest.fixture
def court(made: Court, server: str, monkeypatch: pytest.MonkeyPatch) -> Court:
    monkeypatch.setenv("MLOPS_HOME", str(made.config.state))
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20")
    monkeypatch.setenv("MLOPS_GATE__REUSE", "count")
    monkeypatch.setenv("MLOPS_GATE__RESAMPLES", "300")
    monkeypatch.setenv("PREFECT_API_URL", server)
    return made


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def mlops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["mlops", "gate", *words])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        return Ended(int(end.value.code or 0), *capsys.readouterr())

    return run


def test_a_model_is_judged_and_nothing_moves(court: Court, mlops: Callable[..., Ended]) -> None:
    before = court.registered()
    accepted = mlops("check", *SENTIMENT, "--json")
    verdict = Verdict.model_validate_json(accepted.out)
    assert accepted.code == 0, accepted.err
    assert (verdict.decision, verdict.challenger) == ("promote", "dev.ml.sentiment v2")
    assert verdict.champion == "dev.ml.sentiment v1"
    assert json.loads(accepted.out) == verdict.model_dump(mode="json")
    assert "nothing will be promoted" in accepted.err

    refused = mlops("check", *SENTIMENT, "--run-id", court.weak.run_id, "--against", "2")
    assert refused.code == 4, refused.err
    assert refused.out.startswith("REFUSED in dev: run ")
    assert "against dev.ml.sentiment v2" in refused.out
    assert court.registered() == before


def test_trainings_stand_side_by_side_by_what_is_stored_of_them(
    court: Court, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["mlops", *words])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        return Ended(int(end.value.code or 0), *capsys.readouterr())

    run("gate", "check", *SENTIMENT, "--run-id", court.weak.run_id[:12], "--against", "2")
    listed = json.loads(run("runs", *SENTIMENT, "--json").out)
    assert [line["run_id"] for line in listed] == [court.good.run_id, court.weak.run_id], "the best first"
    weak = listed[1]
    assert (weak["decision"], weak["champion_of"], weak["dataset"]) == ("Refused: worse", ["dev"], "news 1.0.0")
    assert weak["params"] == {"max_depth": 1, "n_estimators": 1}
    assert weak["intervals"]["f1_macro"]["low"] <= weak["metrics"]["f1_macro"] < listed[0]["metrics"]["f1_macro"]
    assert [line["algorithm"] for line in json.loads(run("runs", *SENTIMENT, "--algorithm", "x", "--json").out)] == []
    assert "No training has the metric 'luck'" in run("runs", *SENTIMENT, "--sort", "luck").err
    assert "max_depth=1" in run("runs", *SENTIMENT).out

    page = tmp_path / "compared.html"
    compared = run("compare", court.weak.run_id[:12], "v2", *SENTIMENT, "--json", "--html", str(page))
    found = json.loads(compared.out)
    assert (found["challenger"], found["champion"]) == (f"run {court.weak.run_id}", "dev.ml.sentiment v2")
    assert found["gains"]["f1_macro"]["high"] < 0 < found["broken_rows"]
    assert next(iter(found["metrics"])) == "f1_macro"
    assert "decision" not in found
    assert "<h2>Slices of the rows</h2>" in page.read_text(encoding="utf-8")
    same = run("compare", "dev", court.weak.run_id, *SENTIMENT)
    assert (same.code, "are one model" in same.err) == (2, True)


def test_another_environment_judges_a_version_of_dev_and_gets_nothing(
    court: Court, mlops: Callable[..., Ended]
) -> None:
    before = court.registered()
    done = mlops("check", "--model-name", "sentiment", "--from", "dev", "--env", "prod", "--json")
    verdict = Verdict.model_validate_json(done.out)
    assert (done.code, verdict.env, verdict.champion) == (0, Environment.PROD, None), done.err
    assert verdict.challenger == "dev.ml.sentiment v1"  # the champion of --from
    assert court.registered() == before
    shown = mlops("explain", "--model-name", "sentiment", "--from", "dev", "--env", "prod", "--version", "1", "--json")
    assert Verdict.model_validate_json(shown.out) == verdict


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        pytest.param(lambda likely: likely[1:], 3, "answers 48 rows with a table of (47, 3), not (48, 3)", id="fewer"),
        pytest.param(
            lambda likely: likely * float("nan"),
            4,
            "has probabilities that do not add up to 1",
            id="no-numbers",
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(lambda likely: likely, 4, "gain in f1_macro", id="constant", marks=pytest.mark.exhaustive),
    ],
)
def test_a_model_from_outside_is_asked_for_the_test_side_too_and_ends_clean_if_it_answers_wrongly(
    court: Court,
    mlops: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: Callable[[Any], Any],
    code: int,
    told: str,
) -> None:
    monkeypatch.setenv("MLOPS_ALLOW_PICKLE", "true")
    before, model = court.registered(), registered(court.config, answer, tmp_path, "sentiment")
    done = mlops("check", *SENTIMENT, "--run-id", model.run_id, "--json")
    assert done.code == code, done.err
    assert told in done.out + done.err
    assert "Traceback" not in done.err
    assert court.registered() == before
    sides = {name.split("-")[1] for name in evaluation.stored_names(model)}
    assert sides == (set() if code == 3 else {"holdout", "test"})
    assert not any("-test-" in name for name in evaluation.stored_names(court.good))


def test_what_was_said_can_be_read_again(court: Court, mlops: Callable[..., Ended], tmp_path: Path) -> None:
    judged = Verdict.model_validate_json(mlops("check", *SENTIMENT, "--version", "2", "--json").out)
    again = mlops("explain", *SENTIMENT, "--version", "2", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out) == judged.model_dump(mode="json")
    report = tmp_path / "new" / "verdict.html"
    shown = mlops("explain", *SENTIMENT, "--run-id", court.good.run_id, "--html", str(report))
    assert shown.code == 0, shown.err
    assert shown.out.startswith("ACCEPTED in dev: dev.ml.sentiment v2 against dev.ml.sentiment v1")
    assert f"Verdict {judged.digest}" in shown.out
    assert report.read_bytes() == court.artifact(judged, ".html").read_bytes()
    assert str(report) in shown.err
    assert mlops("explain", *SENTIMENT, "--version", "2", "--html", str(tmp_path)).code == 2


@pytest.mark.usefixtures("court")
def test_the_latest_of_several_is_shown_and_the_others_by_their_digest(
    mlops: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for gain in ("0.01", "0.9", "0.02"):
        monkeypatch.setenv("MLOPS_GATE__MIN_GAIN", gain)
        found.append(Verdict.model_validate_json(mlops("check", *SENTIMENT, "--version", "2", "--json").out))
    assert [verdict.decision for verdict in found] == ["promote", "no_better", "promote"]
    latest = mlops("explain", *SENTIMENT, "--version", "2")
    assert found[2].digest in latest.out
    assert found[0].digest[:16] in latest.out.splitlines()[-1]
    for verdict in found:
        shown = mlops("explain", *SENTIMENT, "--version", "2", "--digest", verdict.digest[:10], "--json")
        assert Verdict.model_validate_json(shown.out) == verdict
    unknown = mlops("explain", *SENTIMENT, "--version", "2", "--digest", "zzz")
    assert (unknown.code, unknown.out) == (2, "")
    assert found[0].digest[:16] in unknown.err


def test_a_verdict_that_somebody_changed_is_refused(
    court: Court, mlops: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_GATE__MIN_GAIN", "0.95")
    refused = Verdict.model_validate_json(mlops("check", *SENTIMENT, "--version", "2", "--json").out)
    path = court.artifact(refused)
    before = path.read_text(encoding="utf-8")
    better = json.dumps(json.loads(before) | {"decision": "promote"})
    newer = json.dumps(json.loads(before) | {"later_field": 1})
    for content in (better, newer, before[:-20], "[]"):
        path.write_text(content, encoding="utf-8")
        shown = mlops("explain", *SENTIMENT, "--version", "2", "--json")
        assert (shown.code, list(json.loads(shown.out))) == (7, ["error"])
        assert "is not the verdict that was given" in shown.err
        assert "mlops gate check" in shown.err
    path.write_text(before, encoding="utf-8")
    assert mlops("explain", *SENTIMENT, "--version", "2", "--json").code == 0


def test_a_verdict_of_a_later_version_of_this_project_is_told_from_a_changed_one(court: Court) -> None:
    content = {"schema_version": 3}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    record = records.Record(court.weak, Environment.STAGING, digest[:16])
    client(court.weak.tracking_uri).log_text(court.weak.run_id, json.dumps(content), f"{record.artifact}.json")
    with pytest.raises(ConfigError, match="that wrote it"):
        records.read(records.find(court.weak, Environment.STAGING))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("explain", "--model-name", "sentiment", "--from", "dev", "--env", "staging", "--version", "2"),
            2,
            "gate check",
        ),
        (("explain", "--model-name", "sentiment", "--env", "dev", "--version", "9"), 2, "9"),
        (("explain", "--model-name", "sentiment", "--env", "prod"), 2, "mlops train"),
        (("explain", "--model-name", "sentiment", "--version", "1", "--run-id", "x"), 2, "exclude each other"),
        (("check", "--model-name", "sentiment", "--version", "1", "--run-id", "x"), 2, "exclude each other"),
        (("check", "--model-name", "sentiment", "--env", "staging"), 2, "no model staging.ml.sentiment"),
        (("check", "--model-name", "sentiment", "--env", "dev", "--against", "9"), 2, "9"),
        (("check", "--model-name", "sentiment", "--env", "dev", "--data-name", "olds"), 2, "olds"),
    ],
)
def test_what_is_not_there_says_so(
    court: Court, mlops: Callable[..., Ended], words: tuple[str, ...], code: int, told: str
) -> None:
    before = court.registered()
    done = mlops(*words)
    assert (done.code, done.out) == (code, ""), done.err
    assert told in done.err
    assert "Traceback" not in done.err
    assert court.registered() == before


def test_a_refusal_is_a_state_of_its_own_with_its_artifacts(court: Court) -> None:
    state: State[Verdict] = check("sentiment", Environment.DEV, run_id=court.weak.run_id, against=2, return_state=True)
    assert (state.name, state.is_completed()) == ("Refused", True)
    verdict = state.result()
    assert verdict.decision == "worse"
    assert str(state.message) == "; ".join(verdict.reasons)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        artifacts = {each.key: each for each in client.read_artifacts(artifact_filter=chosen) if each.key}
    assert run.name == "check sentiment in dev"
    assert set(artifacts) == {"verdict-dev-ml-sentiment", "verdict-dev-ml-sentiment-explained"}
    rows = json.loads(artifacts["verdict-dev-ml-sentiment"].data)
    assert [row["check"] for row in rows] == [each.name for each in verdict.checks]
    assert artifacts["verdict-dev-ml-sentiment-explained"].data.startswith("# Refused in dev\n")
    assert verdict.digest in artifacts["verdict-dev-ml-sentiment-explained"].data


@pytest.mark.usefixtures("court")
@pytest.mark.parametrize(("required", "after"), [("false", ""), ("true", ", once a person has approved it")])
def test_an_accepted_model_says_what_would_happen(monkeypatch: pytest.MonkeyPatch, required: str, after: str) -> None:
    monkeypatch.setenv("MLOPS_APPROVAL__REQUIRED", required)
    state: State[Verdict] = check("sentiment", Environment.DEV, version=2, return_state=True)
    assert state.name == "Completed"
    assert state.message == f"dev.ml.sentiment v2 would become champion of dev{after}."


@pytest.mark.usefixtures("home")
@pytest.mark.exhaustive  # `make selftest` is that command, and the selftest has tests of its own
def test_the_selftest_is_a_command_that_ends_in_4_when_the_gate_does_not_do_what_it_must(
    mlops: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rows are enough to be so sure: such a gate would refuse every retraining."""
    monkeypatch.setenv("MLOPS_GATE__CONFIDENCE", "0.9999999")
    failed = mlops("selftest", "--env", "dev")
    assert failed.code == 4
    assert re.search(r"^ retrained +MISSED +promote +cannot_tell +these 800 rows", failed.out, re.M)
    assert re.search(r"^ constant +caught +refused, gain in +worse ", failed.out, re.M)
    assert "Gate selftest of dev on text-classification: FAILED" in failed.out


def test_the_verdict_that_promoted_a_version_is_told_from_later_ones(
    court: Court, mlops: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = ("--model-name", "sentiment", "--env", "staging")
    promoted = promote("sentiment").verdict
    shown = mlops("explain", *staging)
    assert f"Verdict {promoted.digest}, which promoted it" in shown.out
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "21")
    later = mlops("check", *staging, "--version", "1", "--json")
    assert later.code == 4, later.err  # against itself
    again = mlops("explain", *staging, "--version", "1")
    assert f"{promoted.digest[:16]} (promoted it)" in again.out
    assert court.artifact(promoted).is_file()
