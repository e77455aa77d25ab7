"""What an earlier release published and registered is read, and goes on, where this release takes over its state.

Promise: What an earlier release published or registered is read, and goes on.
"""

import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from lifecycle import settings
from lifecycle.registry import promotion, store
from lifecycle.registry.store import target_of
from tests.conftest import ROOT, tree

pytestmark = pytest.mark.usefixtures("replayed_here")
SENTIMENT = ("--model-name", "sentiment")
BATCH = ("--env", "prod", "--text-column", "Sentence", "--logical-date", "2026-11-28")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> Path:
    """The state directory of 0.1.0, in another place than where it was made."""
    with tarfile.open(ROOT / "tests" / "earlier" / "state-0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PREFECT_API_URL", server)
    return tmp_path / "state"


@pytest.fixture
def mlops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlops", *words])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def sample(folder: Path) -> str:
    """The batch that was scored."""
    lines = (ROOT / "examples" / "financial_news.csv").read_text(encoding="utf-8").splitlines()[:61]
    path = folder / "batch.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.usefixtures("taken_over")
def test_its_history_is_told_and_nothing_is_found_wrong(mlops: Command) -> None:
    code, out, _ = mlops("history", *SENTIMENT, "--env", "dev", "--json")
    assert code == 0
    told = [(entry["kind"], entry["outcome"], entry["champion"]) for entry in json.loads(out)]
    assert told == [
        ("promotion", "applied", 1),
        ("promotion", "applied", 2),
        ("rollback", "applied", 1),
        ("candidate", "candidate", None),
    ]
    code, out, err = mlops("doctor")
    assert code == 0, (out, err)
    code, out, _ = mlops("gate", "explain", *SENTIMENT, "--env", "dev", "--version", "4")
    assert (code, "worse than the champion" in out) == (0, True)
    code, out, _ = mlops("data", "list", "--json")
    assert [each["data_version"] for each in json.loads(out)] == ["1.0.0", "1.1.0"]


def test_its_champion_predicts_and_its_batch_is_in_place(taken_over: Path, mlops: Command) -> None:
    code, out, _ = mlops("model", "predict", *SENTIMENT, "--env", "prod", "--text", "Profit rose.")
    assert (code, any(label in out for label in ("positive", "neutral", "negative"))) == (0, True)
    before = tree(taken_over / "predictions")
    assert mlops("infer", *SENTIMENT, *BATCH, "--input", sample(taken_over.parent))[0] == 0
    assert tree(taken_over / "predictions") == before, "what is published stays as it is"
    another = (*BATCH[:-1], "2026-11-29")
    assert mlops("infer", *SENTIMENT, *another, "--input", sample(taken_over.parent))[0] == 0
    assert before.items() < tree(taken_over / "predictions").items()


def test_its_models_are_judged_promoted_and_rolled_back(
    taken_over: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings.load("dev", home=taken_over)
    target = target_of(config, "sentiment")
    assert store.alias_version(target) == 1
    code, out, err = mlops("promote", *SENTIMENT, "--from", "dev", "--to", "staging")
    assert (code, "nothing to do" in out + err) == (0, True)
    again = ("--from", "dev", "--to", "dev", "--version", "2", "--reason", "again")
    monkeypatch.setenv("MLOPS_GATE__RETRAINING__MARGIN", "0.2")
    code, out, err = mlops("promote", *SENTIMENT, *again)
    assert code == 0, (out, err)
    champion = promotion.champion(target)
    assert champion is not None
    assert champion.artifact_sha256 == promotion.reference(target, 2).artifact_sha256
    assert mlops("rollback", *SENTIMENT, "--env", "dev")[0] == 0
    assert store.alias_version(target) == 1
    code, out, err = mlops("gate", "check", *SENTIMENT, "--env", "dev", "--version", "4")
    assert (code, "worse than the champion" in out + err) == (4, True), (out, err)
