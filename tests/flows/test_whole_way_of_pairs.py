"""Pairs of texts, with no code: proposed, released, one that reads one text refused, a better one in, back, scored."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.main import app
from flows.batch_inference import batch_inference
from flows.release import release
from flows.rollback import rollback
from flows.train import train
from lifecycle import settings
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from tests.pairs import pairs


def asked(*arguments: str) -> str:
    answer = CliRunner().invoke(app, [*arguments])
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.exhaustive  # the page of pairs goes the same way, by commands
@pytest.mark.usefixtures("replayed_here")
def test_pairs_go_the_whole_way_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    rows = pairs()
    blank, twice = rows.head(1).assign(premise=" "), rows.tail(1).assign(premise=rows["premise"].iloc[-1].upper())
    pd.concat([rows, blank, twice]).to_csv("nli.csv", index=False)
    assert "text-pair-classification" in asked("init", "nli.csv", "--yes")

    first = release(params={"C": 0.001})
    assert not first.refused, [admission.message for admission in first.admissions]
    assert first.dataset.problem == "text-pair-classification"
    assert [column.name for column in first.dataset.inputs] == ["premise", "hypothesis"]
    assert first.dataset.quarantined == {"blank_text": 1, "duplicate": 1}

    one_text = train(params={"reads": "second"})
    assert one_text.refused
    assert one_text.verdict is not None
    assert one_text.verdict.decision in {"worse", "no_better", "cannot_tell"}

    better = release()
    assert [admission.promotion is not None for admission in better.admissions] == [True] * 3, better.admissions
    assert rollback(env="prod", reason="the test").champion == 1

    rows.to_parquet("more.parquet")
    batch = batch_inference(input=str(tmp_path / "more.parquet"), table=None)
    assert (batch.manifest.model_version, batch.manifest.scored, batch.manifest.rejected) == (1, len(rows), {})
    parts = pd.concat(pd.read_parquet(Path(batch.folder) / name) for name in batch.manifest.parts if "part" in name)

    champion = promotion.champion(target_of(settings.load("prod"), "nli"))
    assert champion is not None
    mlflow.set_tracking_uri(champion.tracking_uri)
    plain = mlflow.pyfunc.load_model(champion.uri).predict(rows[["hypothesis", "premise"]])
    assert plain["label"].tolist() == parts.sort_values("row")["label"].tolist()

    row = {"premise": rows["premise"][0], "hypothesis": rows["hypothesis"][0]}
    (told,) = json.loads(asked("model", "predict", "--version", "2", "--row", json.dumps(row), "--json"))
    assert (told["label"], told["premise"]) == (rows["judgment"][0], row["premise"])
    assert "| hypothesis | text |" in asked("model", "card", "--env", "prod")
