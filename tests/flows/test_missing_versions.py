"""With every version deleted in MLflow no command takes a model for one that never had a champion."""

import json
import sys
from collections.abc import Callable

import pytest

from cli.main import main
from lifecycle.registry import promotion, store
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from lifecycle.tracking.client import client
from tests.conftest import train_model

pytestmark = pytest.mark.usefixtures("replayed_here")
SENTIMENT = ("--model-name", "sentiment")
NEWS = ("--data-name", "news", "--data-version", "1.0.0")
TRAIN = ("train", *NEWS, *SENTIMENT, "--model-type", "naive_bayes", "--seed", "5")


@pytest.fixture
def robbed(news: Settings) -> Target:
    """v1 and then v2 were champions of dev, v1 of staging; all were deleted past the command."""
    dev = target_of(news, "sentiment")
    staging = dev.named("staging.ml.sentiment")
    weak = train_model(news, "random_forest", max_depth=1, n_estimators=1)
    for target, model in ((dev, weak), (dev, train_model(news)), (staging, weak)):
        promotion.promote(promotion.intend(target, model, promotion.champion(target), reason="better"))
        for version in store.versions(target) if target == staging else ():
            store.mlflow_of(target).delete_model_version(target.name, str(version.version))
    for number in ("1", "2"):
        store.mlflow_of(dev).delete_model_version(dev.name, number)
    return dev


@pytest.fixture
def mlops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlops", *words])
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def runs(config: Settings) -> set[str]:
    mlflow = client(config.mlflow_uri)
    experiments = [each.experiment_id for each in mlflow.search_experiments()]
    return {run.info.run_id for run in mlflow.search_runs(experiments)}


def test_no_command_goes_on_until_it_is_recorded(
    news: Settings,
    robbed: Target,
    mlops: Callable[..., tuple[int, str, str]],
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.setenv("MLOPS_GATE__MIN_ROWS", "20")
    monkeypatch.setenv("MLOPS_GATE__FLOORS", "{}")
    monkeypatch.setenv("MLOPS_GATE__RESAMPLES", "300")
    run_id = train_model(news).run_id
    known = runs(news)

    for words in (
        TRAIN,
        (*TRAIN, "--register"),
        ("promote", *SENTIMENT, "--from", "dev", "--to", "staging"),
        ("rollback", *SENTIMENT, "--env", "dev"),
        ("gate", "check", *SENTIMENT, "--env", "dev", "--run-id", run_id),
        ("model", "predict", *SENTIMENT, "--env", "dev", "--text", "Profit rose."),
    ):
        code, _, err = mlops(*words)
        assert (code, "is missing" in err) == (7, True), (words, err)
        assert promotion.read_log(robbed).applied[-1].number == 2, words
        assert store.alias_version(robbed) is None
    assert runs(news) == known, "nothing was trained for a champion that nobody can name"

    options = (*SENTIMENT, "--env", "dev", "--reason", "tidied up")
    code, _, err = mlops("model", "retire-missing", *options)
    assert (code, "--yes" in err) == (2, True)
    code, out, _ = mlops("model", "retire-missing", *options, "--dry-run")
    assert code == 0
    assert "dev.ml.sentiment v2: would record as deleted; it is the last champion." in out
    assert "nobody is left before it: no champion" in out
    assert promotion.read_log(robbed).missing == {1, 2}
    code, out, _ = mlops("model", "retire-missing", *options, "--yes", "--json")
    assert (code, json.loads(out)["champion"], json.loads(out)["left"]) == (0, None, [])
    code, out, _ = mlops("model", "retire-missing", *options, "--yes")
    assert (code, "nothing is missing" in out) == (0, True)
    code, out, err = mlops(*TRAIN)
    assert code == 0, err
    assert promotion.champion(robbed).version == max(each.version for each in store.versions(robbed))
    assert mlops("history", *SENTIMENT, "--env", "dev")[1].count("(deleted)") == 2
