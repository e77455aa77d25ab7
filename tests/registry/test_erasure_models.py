"""Rows leave what lies beside models: evaluations, keys, verdicts, examples, batches; digests and log stay whole."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle import doctor, settings
from lifecycle.core.errors import IntegrityError
from lifecycle.core.names import CHAMPION, Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.erasure import search
from lifecycle.erasure.erase import erase
from lifecycle.erasure.forms import Forms
from lifecycle.erasure.wanted import Subject
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import records
from lifecycle.gate.judge import JudgeRequest, judge
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.models import examples, loading
from lifecycle.problems.text_classification import identity
from lifecycle.registry import catalog, promotion
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import InferenceRules
from lifecycle.tracking.artifacts import download
from lifecycle.tracking.client import client
from tests.conftest import train_model
from tests.registry.conftest import State, promote


def text_of(state: State, side: Side, place: int = 0) -> str:
    return str(dataset.load_rows(state.config.datasets, "news", "1.0.0", side)["text"].iloc[place])


def broken(state: State) -> tuple[records.Record, str]:
    """A verdict that shows rows, and the text of one of them."""
    request = JudgeRequest(
        env=state.config.env,
        challenger=state.weak,
        champion=state.bayes,
        data_root=state.config.datasets,
        data_name="news",
        data_version="1.0.0",
        rules=GateRules(min_rows=30, resamples=300),
        evidence_root=state.config.state / "evidence",
    )
    verdict = judge(request)
    return records.find(state.weak, state.config.env, verdict.digest), verdict.broken[0].text


def holds(state: State, text: str) -> list[Path]:
    return [path for path in search.files([state.config.state]) if search.holds(path, Forms([text]))]


def scored(state: State, source: Path, **arguments: object) -> Path:
    request = BatchRequest.model_validate(
        {
            "model": promotion.champion(state.target),
            "input": Source(uri=str(source)),
            "text_column": "text",
            "output_root": state.config.predictions,
            "inference": InferenceRules(rows_per_part=50, workers=1),
            **arguments,
        }
    )
    batch.infer(request)
    return batches.locate(request)[0]


def letters(path: Path, rows: list[tuple[str, str]], **form: Any) -> Path:
    pd.DataFrame(rows, columns=["text", "customer"]).to_csv(path, index=False, **form)
    return path


def test_a_verdict_loses_the_row_and_stays_authentic(state: State) -> None:
    record, text = broken(state)
    before = records.read(record)
    page = records.report(record).decode()
    done = erase([state.config], Subject(texts=(text,)))
    assert {each.kind for each in done.touched} >= {"artifact (text)", "artifact (rows)", "dataset"}
    after = records.read(record)
    assert text not in records.report(record).decode() != page
    assert [flip.row for flip in after.broken] == [flip.row for flip in before.broken if flip.text != text]
    assert (after.broken_rows, after.metrics, after.checks) == (before.broken_rows, before.metrics, before.checks)
    assert not holds(state, text)


def test_a_verdict_that_was_changed_is_refused_before_and_after(state: State) -> None:
    record, text = broken(state)
    erase([state.config], Subject(texts=(text,)))
    path = next((state.config.state / "artifacts").glob(f"*/artifacts/{record.artifact}.json"))
    verdict = json.loads(path.read_text())
    path.write_text(json.dumps({**verdict, "decision": "promote"}))
    with pytest.raises(IntegrityError, match="is not the verdict that was given"):
        records.read(record)


@pytest.mark.parametrize("side", [Side.TRAIN, Side.TEST, Side.HOLDOUT])
def test_keys_and_stored_predictions_go_and_the_gate_goes_on(state: State, side: Side) -> None:
    promote(state.target, state.bayes)
    text = text_of(state, side)
    key = identity.text_key(text)
    done = erase([state.config], Subject(keys=(key,)))
    assert bool(done.fitted) is (side is Side.TRAIN)
    assert int(key[:16], 16) not in set(evaluation.trained_keys(state.bayes))
    request = evaluation.request_for(state.bayes, state.config.datasets, "news", "1.0.0")
    assert key not in set(evaluation.stored(request)["key"])
    verdict = judge(
        JudgeRequest(
            env=state.config.env,
            challenger=state.regression,
            champion=state.bayes,
            data_root=state.config.datasets,
            data_name="news",
            data_version="1.0.0",
            rules=GateRules(min_rows=30, resamples=300),
            evidence_root=state.config.state / "evidence",
        )
    )
    assert not any("could not be judged" in reason for reason in verdict.reasons)
    assert verdict.rows == 48 - (side is Side.HOLDOUT)
    assert not [each for each in doctor.examine([state.config], repair=False) if each.state == "problem"]


def test_an_erasure_keeps_keys_bound_to_their_run_and_binds_no_others(state: State, tmp_path: Path) -> None:
    rows = dataset.load_rows(state.config.datasets, "news", "1.0.0", Side.TRAIN)
    path = download(state.config.mlflow_uri, f"runs:/{state.bayes.run_id}/{evaluation.TRAINED_KEYS}", tmp_path)
    keys = pd.read_parquet(path)
    keys.head(40).to_parquet(path, index=False)
    client(state.config.mlflow_uri).log_artifact(state.weak.run_id, str(path), "training")
    for row in (0, 1):
        erase([state.config], Subject(texts=(rows["text"][row],)))
        assert len(evaluation.trained_keys(state.bayes)) == len(keys) - row - 1
        assert evaluation.claim(state.bayes).origin == "recorded"
    with pytest.raises(IntegrityError, match="not those that were recorded"):
        evaluation.trained_keys(state.weak)


def test_models_that_were_fitted_on_the_row_are_named_with_the_way_out(state: State) -> None:
    promote(state.target, state.weak)
    promote(state.target, state.bayes)
    planned = erase([state.config], Subject(texts=(text_of(state, Side.TRAIN),)), dry_run=True)
    found = {(each.model, each.version, each.champion): each.command for each in planned.fitted}
    assert set(found) == {("dev.ml.sentiment", 1, False), ("dev.ml.sentiment", 2, True), ("", None, False)}
    assert found["dev.ml.sentiment", 2, True].startswith("mlops train --data-name news --data-version 1.0.0")
    assert "mlops model cleanup --model-name sentiment --env dev --keep 0" in found["dev.ml.sentiment", 1, False]
    assert not planned.left


def test_a_model_of_which_nobody_said_what_it_saw_is_named(state: State) -> None:
    promote(state.target, state.weak)
    promote(state.target, state.bayes)
    [keys] = state.config.state.glob(f"artifacts/{state.weak.run_id}/artifacts/training/*.parquet")
    keys.unlink()  # as of a model from elsewhere without --trained-on
    subject = Subject(texts=(text_of(state, Side.TRAIN),))
    for erased in (erase([state.config], subject, dry_run=True), erase([state.config], subject)):
        [left] = [each for each in erased.left if each.what == "dev.ml.sentiment v1"]
        assert left.why.startswith(
            "nobody said which rows it was trained on (--trained-on): if it was on these, mlops "
        )
        assert {each.version for each in erased.fitted if each.model} == {2}


def test_a_training_again_leaves_the_row_out(state: State) -> None:
    text = text_of(state, Side.TRAIN)
    erase([state.config], Subject(texts=(text,)))
    again = train_model(state.config, "naive_bayes")
    assert again.run_id != state.bayes.run_id
    assert len(evaluation.trained_keys(again)) == len(evaluation.trained_keys(state.bayes))
    assert train_model(state.config, "naive_bayes").run_id == again.run_id


def of_an_earlier_release(state: State, text: str) -> ModelRef:
    """A model whose example is a row, as earlier releases kept it."""
    folder = state.folder(state.bayes)
    rows = {"columns": ["text"], "data": [[text], ["another row"]]}
    (folder / "input_example.json").write_text(json.dumps(rows))
    (folder / "serving_input_example.json").write_text(json.dumps({"dataframe_split": rows}, indent=2))
    return state.bayes.model_copy(update={"artifact_sha256": loading.artifact_digest(folder)})


def test_the_example_of_a_model_is_nobodys_row(state: State) -> None:
    assert set(examples.texts(state.folder(state.bayes))) == set(examples.EXAMPLE)


def test_an_earlier_model_keeps_its_digest_when_its_example_goes(state: State) -> None:
    text = text_of(state, Side.TRAIN)
    model = of_an_earlier_release(state, text)
    promote(state.target, model)
    entries = catalog.history(state.target)
    done = erase([state.config], Subject(texts=(text,)))
    assert "artifact (example)" in {each.kind for each in done.touched}
    assert not holds(state, text)
    loading.verify(model)
    assert promotion.champion(state.target) is not None
    assert catalog.history(state.target) == entries
    loaded = loading.load(model)
    assert len(loaded.predict(None, pd.DataFrame({"text": [text]}))) == 1


CHANGES = {
    "another example": ("input_example.json", b'{"columns": ["text"], "data": [["of somebody"]]}'),
    "the pipeline": ("artifacts/pipeline.skops", b"PK"),
    "the code": ("model.py", b"import os"),
    "the record": ("erased.json", b'{"input_example.json": [1, "0"]}'),
    "no record": ("erased.json", b""),
    "a record of another file": ("erased.json", b'{"MLmodel": [1, "0"], "model.py": [1, "0"]}'),
    "the description": ("MLmodel", b"flavors: {}"),
    "a file more": ("artifacts/more.bin", b"1"),
    "an odd record": ("erased.json", b'["input_example.json"]'),
    "no JSON": ("erased.json", b"{"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_earlier_model_that_was_changed_is_refused_after_an_erasure_too(state: State, what: str) -> None:
    text = text_of(state, Side.TRAIN)
    model = of_an_earlier_release(state, text)
    examples.replace(state.folder(state.bayes))
    loading.verify(model)
    name, content = CHANGES[what]
    (state.folder(state.bayes) / name).write_bytes(content)
    with pytest.raises(IntegrityError):
        loading.verify(model)


def test_predictions_lose_rows_by_text_by_id_and_of_a_dataset_version(state: State, tmp_path: Path) -> None:
    promote(state.target, state.bayes)
    text = text_of(state, Side.HOLDOUT)
    version = dataset.rows_file(state.config.datasets, "news", "1.0.0")
    people = [(f"a letter of customer {n} to us", f"c{n}") for n in range(120)]
    rows = [*people[:60], (text, "c200"), *people[60:], ("a letter with \x07 in it", "c7")]
    plain = scored(state, letters(tmp_path / "plain.csv", rows))
    odd = letters(tmp_path / "odd.csv", rows, sep=";", encoding="cp1252")
    keyed = scored(state, odd, key_column="customer", input=Source(uri=str(odd), delimiter=";", encoding="cp1252"))
    whole = scored(state, version)
    before = {folder: batches.load(folder) for folder in (plain, keyed, whole)}

    erase([state.config], Subject(texts=(text,)))
    for folder in (plain, keyed, whole):
        manifest = batches.verify(folder)
        assert manifest.rows_erased == 1
        assert manifest.scored == before[folder].scored - 1 == sum(manifest.labels.values())
        assert manifest.rows_in == manifest.scored + sum(manifest.rejected.values()) + manifest.rows_erased
    assert 61 not in set(pd.concat(map(pd.read_parquet, plain.glob("part-*.parquet")))["row"])

    erase([state.config], Subject(id_column="customer", ids=("c7",)))
    assert "c7" not in set(pd.concat(map(pd.read_parquet, keyed.glob("*.parquet")))["input_key"])
    assert batches.verify(keyed).rejected == {}
    assert batches.verify(plain).rows_erased == 3

    another = text_of(state, Side.TRAIN, 5)  # the version is no longer what was scored, but says what it was
    erase([state.config], Subject(texts=(another,)))
    assert batches.verify(whole).rows_erased == 2

    again = scored(state, letters(tmp_path / "again.csv", [*rows, ("one more letter to us", "c300")], sep=","))
    assert batches.verify(again).rows_erased == 3  # the text, and two letters of the customer
    assert not holds(state, text)


def test_a_batch_whose_input_is_gone_is_named(state: State, tmp_path: Path) -> None:
    promote(state.target, state.bayes)
    text = text_of(state, Side.HOLDOUT)
    source = letters(tmp_path / "gone.csv", [(text, "c1"), ("a letter of customer 2 to us", "c2")])
    folder = scored(state, source, key_column="customer")
    source.unlink()
    done = erase([state.config], Subject(texts=(text,)))
    assert done.left[0].what == str(folder)
    assert "--id-column" in done.left[0].why
    erase([state.config], Subject(id_column="customer", ids=("c1",)))
    assert batches.verify(folder).scored == 1


def test_a_delta_table_loses_the_rows_and_the_files_of_its_earlier_versions(state: State, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    promote(state.target, state.bayes)
    table = str(tmp_path / "table")
    source = letters(tmp_path / "in.csv", [(f"a letter of customer {n} to us", f"c{n}") for n in range(30)])
    rules = InferenceRules(rows_per_part=50, workers=1, table=table)
    folder = scored(state, source, key_column="customer", inference=rules)
    config = settings.load("dev", home=state.config.state, inference=rules.model_dump())
    erase([config], Subject(id_column="customer", ids=("c7",)))
    left = deltalake.DeltaTable(table)
    assert "c7" not in left.to_pyarrow_table()["input_key"].to_pylist()
    assert left.to_pyarrow_table().num_rows == batches.verify(folder).scored == 29
    files = [pd.read_parquet(path) for path in Path(table).glob("*.parquet")]
    assert "c7" not in set(pd.concat(files)["input_key"])
    scored(state, source, key_column="customer", inference=rules)  # entered already
    assert deltalake.DeltaTable(table).to_pyarrow_table().num_rows == 29


def test_the_champion_still_answers_after_everything(state: State) -> None:
    promote(state.target, state.bayes)
    erase([state.config], Subject(texts=(text_of(state, Side.TRAIN),)))
    champion = promotion.champion(state.target)
    assert champion
    assert catalog.show_version(state.target, champion.version or 0).aliases == (CHAMPION,)
