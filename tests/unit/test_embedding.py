"""A frozen encoder under a linear model: for pairs and texts, the same in every batch, complete in what is stored."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError
from lifecycle.data import dataset
from lifecycle.models import forms, loading
from lifecycle.problems.contract import TEXT_COLUMNS, Column, Columns
from lifecycle.problems.embedding import encoders
from lifecycle.problems.embedding.kept import KeptVectors
from lifecycle.problems.fitting import described
from lifecycle.problems.known import named
from lifecycle.problems.learning import Beside, Spec
from lifecycle.problems.text_pair_classification.model import Encoder, PairModel
from lifecycle.settings import Settings
from lifecycle.tracking import runs
from lifecycle.training import train as training
from tests.conftest import ROOT
from tests.encoder import write_encoder
from tests.pairs import pairs
from tests.unit.test_pairs import write_version

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs the extra `embeddings`")
PAIR = named("text-pair-classification").learning
COLUMNS = ["premise", "hypothesis"]
INPUTS: Columns = (Column(name="premise", kind="text"), Column(name="hypothesis", kind="text"))


@pytest.mark.parametrize("quantised", [False, True])
def test_a_text_has_the_same_vector_in_every_batch(tmp_path: Path, quantised: bool) -> None:
    encoder = encoders.found({"encoder": str(write_encoder(tmp_path / "e", quantised=quantised))}).encoder()
    texts = [*pairs(30)["premise"], "", "a camera", "unknown words 漢"]
    together = encoder.vectors(texts)
    alone = [encoder.vectors([text])[0] for text in texts]
    assert (together == alone).all()


def test_a_pair_is_told_by_both_vectors_in_every_batch(tmp_path: Path) -> None:
    params = {"encoder": str(write_encoder(tmp_path / "e")), "class_weight": "balanced"}
    rows, held_out = pairs(400), pairs(100, seed=8)
    pipeline = PAIR.fit(Spec("embedding", params, 0, INPUTS), rows[["premise", "hypothesis"]], rows["judgment"])
    answers = PAIR.answers(pipeline, held_out, INPUTS)
    assert (answers["label"] == held_out["judgment"]).mean() > 0.8
    single = [PAIR.answers(pipeline, held_out.iloc[[place]], INPUTS) for place in range(20)]
    pd.testing.assert_frame_equal(pd.concat(single, ignore_index=True), answers.head(20), check_exact=True)
    for name in ("premise", "hypothesis"):
        shuffled = held_out.assign(**{name: held_out[name].sample(frac=1, random_state=0).to_numpy()})
        told = PAIR.answers(pipeline, shuffled, INPUTS)
        assert (told["label"] == held_out["judgment"]).mean() < (answers["label"] == held_out["judgment"]).mean() - 0.2


def test_a_later_training_reads_no_text_twice_and_ends_in_the_same_model(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version(config, pairs(200))
    folder, read = write_encoder(tmp_path / "e"), list[str]()
    vector = Encoder.vector
    monkeypatch.setattr(Encoder, "vector", lambda encoder, text: read.append(text) or vector(encoder, text))

    def trained(**more: object) -> Any:
        params = {"encoder": str(folder), **more}
        asked = {"data_name": "pairs", "data_version": "1", "model_name": "pairs", "algorithm": "embedding"}
        request = training.plan(config, training.Training(**asked, params=params))
        read.clear()
        training.train(request)
        return loading.load(runs.trained(config.mlflow_uri, request.run_id)).probabilities(pairs(20))

    trained(C=2.0)
    assert len(read) > 100
    kept = trained(C=3.0)
    assert {*read[:-40]} <= {"a text"}, "the test of the encoder; what is asked of the stored model is read anew"
    rows = dataset.load_rows(config.datasets, "pairs", "1", "train")
    (database,) = (config.state / "vectors").iterdir()
    database.write_bytes(b"nothing that sqlite knows")
    read.clear()
    spec = Spec("embedding", {"encoder": str(folder), "C": 3.0}, 0, INPUTS)
    pipeline = PAIR.fit(spec, rows[COLUMNS], rows["label"], Beside(vectors=database.parent))
    model = PairModel(pipeline[1:], [(name, "text") for name in COLUMNS], "", pipeline[0].reader_)
    assert (model.probabilities(pairs(20)) == kept).all(), "a broken file is as none"
    assert len(read) > 100
    assert database.read_bytes().startswith(b"SQLite"), "and gives way to a new one"


def test_no_more_vectors_are_kept_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptVectors(tmp_path, "encoder")
    monkeypatch.setattr("lifecycle.problems.embedding.kept.MOST_BYTES", 3 * 8)
    made = {text: np.array([place, 0.1], dtype="float32") for place, text in enumerate("abc")}
    kept.add(made)
    assert {text: vector.tolist() for text, vector in kept.of("abcd").items()} == {
        text: vector.tolist() for text, vector in made.items()
    }
    kept.of("bc")
    kept.add({"d\ud800": made["a"]})
    assert {*kept.of(["a", "b", "c", "d\ud800"])} == {"b", "c", "d\ud800"}, "the one that nobody asked for goes"


def test_another_encoder_is_another_training(tmp_path: Path) -> None:
    one, other = write_encoder(tmp_path / "one"), write_encoder(tmp_path / "other", quantised=True)
    same = write_encoder(tmp_path / "same")
    told = [
        described(PAIR.build(Spec("embedding", {"encoder": str(folder)}, 0, INPUTS))) for folder in (one, other, same)
    ]
    assert told[0] == told[2] != told[1]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "needs an encoder"),
        ({"encoder": "nowhere_at_all"}, "no folder and no installed package"),
        ({"encoder": "json"}, r"holds no model\.onnx"),
        ({"encoder": 3}, "is no text"),
        ({"encoder": "{}", "tokenizer": "json"}, r"tokenizer='json' holds no tokenizer\.json"),
        ({"encoder": "{}", "depth": 3}, "has no parameter 'depth'"),
    ],
)
def test_an_encoder_that_is_not_there_is_refused(tmp_path: Path, params: dict[str, object], said: str) -> None:
    if params.get("encoder") == "{}":
        params = {**params, "encoder": str(write_encoder(tmp_path / "e"))}
    with pytest.raises(ConfigError, match=said):
        PAIR.build(Spec("embedding", params, 0, INPUTS))


def test_a_trained_one_is_complete_and_read_by_us_and_by_plain_mlflow(config: Settings, tmp_path: Path) -> None:
    write_version(config, pairs(200))
    folder = write_encoder(tmp_path / "e")
    wanted = training.Training(
        data_name="pairs",
        data_version="1",
        model_name="pairs",
        algorithm="embedding",
        params={"encoder": str(folder)},
    )
    request = training.plan(config, wanted)
    training.train(request)
    (folder / "model.onnx").unlink()
    ref = runs.trained(config.mlflow_uri, request.run_id)
    model = loading.load(ref)
    held_out = pairs(50, seed=8)[["premise", "hypothesis"]]
    mlflow.set_tracking_uri(ref.tracking_uri)
    plain = mlflow.pyfunc.load_model(ref.uri)
    pd.testing.assert_frame_equal(plain.predict(held_out), model.predict(None, held_out), check_exact=True)
    assert len(model.predict(None, held_out.head(0))) == 0
    copied = Path(mlflow.artifacts.download_artifacts(ref.uri, dst_path=str(tmp_path / "model")))
    assert "onnxruntime==" in (copied / "requirements.txt").read_text()
    assert forms.columns_of(copied / "artifacts" / "columns.json", "it").problem == "text-pair-classification"


def test_a_single_text_has_an_encoder_too(tmp_path: Path) -> None:
    learning, rows = named("text-classification").learning, pairs(300)
    texts = pd.DataFrame({"text": rows["premise"]})
    labels = rows["premise"].str.contains("guitar|drum").map({True: "music", False: "other"})
    params = {"encoder": str(write_encoder(tmp_path / "e"))}
    pipeline = learning.fit(Spec("embedding", params, 0, TEXT_COLUMNS), texts, labels)
    assert (learning.answers(pipeline, texts, TEXT_COLUMNS)["label"] == labels).mean() > 0.8
    stored = learning.store(pipeline, TEXT_COLUMNS, tmp_path)
    assert stored.inputs == {"text": "string"}
    assert {*stored.artifacts} == {"pipeline", "columns", "network", "tokenizer"}


def test_the_parameters_of_the_page_make_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/embeddings.md").read_text(encoding="utf-8")
    (params,) = re.findall(r'--params "(.*)"', page)
    write_encoder(tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    pipeline = PAIR.build(Spec("embedding", ast.literal_eval(params), 0, INPUTS))
    assert pipeline[-1].C == 10
