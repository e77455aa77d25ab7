"""A model is carried from one tracking server to another with its run; `test_everywhere.py` has what a server does."""

from pathlib import Path

import pandas as pd
import pytest

from lifecycle.core.errors import IntegrityError
from lifecycle.models import loading
from lifecycle.registry import (
    removal,
    transfer,
)
from lifecycle.registry.store import Target
from lifecycle.tracking import artifacts
from lifecycle.tracking import client as tracking
from tests.registry.conftest import Killed, State, killed, promote, runs_of


def test_a_copy_that_was_interrupted_or_cleaned_up_is_made_again(
    state: State, elsewhere: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "upload", killed)
        with pytest.raises(Killed):
            transfer.bring(state.bayes, elsewhere)
    [left] = runs_of(elsewhere, state.bayes)
    first = transfer.bring(state.bayes, elsewhere)
    assert first.run_id != left.info.run_id
    loading.verify(first)
    promote(elsewhere, first)
    promote(elsewhere, transfer.bring(state.regression, elsewhere))
    assert removal.cleanup(elsewhere, 0, reason="").collected == (first.uri,)
    second = transfer.bring(state.bayes, elsewhere)
    assert second.run_id != first.run_id
    loading.verify(second)


def test_keys_of_another_run_are_not_carried(state: State, elsewhere: Target, tmp_path: Path) -> None:
    mlflow = tracking.client(state.config.mlflow_uri)
    path = artifacts.download(state.config.mlflow_uri, f"runs:/{state.weak.run_id}/training/keys.parquet", tmp_path)
    pd.read_parquet(path).head(3).to_parquet(path, index=False)
    mlflow.log_artifact(state.bayes.run_id, str(path), "training")
    with pytest.raises(IntegrityError, match="not those that were recorded with its model"):
        transfer.bring(state.bayes, elsewhere)
    assert all(run.info.status != "FINISHED" for run in runs_of(elsewhere, state.bayes))


def test_a_damaged_model_is_not_carried(state: State, elsewhere: Target) -> None:
    (state.folder(state.bayes) / "MLmodel").write_text("{}", encoding="utf-8")
    with pytest.raises(IntegrityError, match="the files digest to"):
        transfer.bring(state.bayes, elsewhere)
    assert runs_of(elsewhere, state.bayes) == []
