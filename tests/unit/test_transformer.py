"""Fine-tuning: what is learnt of one text and of two, what stops and goes on, what is stored, what is refused."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.models import loading
from lifecycle.models.external import external
from lifecycle.problems.contract import TEXT_COLUMNS, Column
from lifecycle.problems.known import named
from lifecycle.problems.learning import Beside, Spec
from lifecycle.settings import Settings
from lifecycle.tracking import runs
from lifecycle.training import train as training
from tests.conftest import ROOT
from tests.networks import write_base

pytest.importorskip("torch")
TEXTS, PAIRS = named("text-classification").learning, named("text-pair-classification").learning
COLUMNS = (Column(name="premise", kind="text"), Column(name="hypothesis", kind="text"))
NAMES = [column.name for column in COLUMNS]
WORDS = {"rose": "good", "grew": "good", "fell": "bad", "shrank": "bad"}
FILLERS = ("profit", "sales", "orders", "may", "spring", "abroad", "again", "home", "mill", "north")
QUICK = {"learning_rate": 1e-3, "epochs": 10, "batch_size": 16, "max_length": 32, "patience": 5}


def texts(count: int = 240, seed: int = 0) -> pd.DataFrame:
    """Texts of several lengths, one word of which tells the class."""
    rng = np.random.default_rng(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        word = str(rng.choice([*WORDS]))
        rows[" ".join(rng.permutation([word, *rng.choice(FILLERS, int(rng.integers(3, 14)))]))] = WORDS[word]
    return pd.DataFrame({"text": [*rows], "label": [*rows.values()]})


def pairs(count: int = 300, seed: int = 0) -> pd.DataFrame:
    """Pairs in which either text says `rose` once: the class is which one it is."""
    rng = np.random.default_rng(seed)
    first = rng.random(count) < 0.5
    told = [[" ".join(rng.choice(FILLERS, 4)) for _ in range(2)] for _ in range(count)]
    rows = [
        (f"rose {a}", b, "first") if is_first else (a, f"rose {b}", "second")
        for (a, b), is_first in zip(told, first, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*NAMES, "label"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "bert", [*WORDS, *FILLERS])


@pytest.fixture(scope="module")
def fitted(base: Path) -> Any:
    rows, test = texts(), texts(60, seed=1)
    spec = Spec("transformer", {**QUICK, "base": str(base)}, 0, TEXT_COLUMNS)
    return TEXTS.fit(spec, rows[["text"]], rows["label"], Beside(test[["text"]], test["label"]))


@pytest.fixture(scope="module")
def of_pairs(base: Path) -> Any:
    rows = pairs()
    spec = Spec("transformer", {**QUICK, "base": str(base), "patience": None}, 0, COLUMNS)
    return PAIRS.fit(spec, rows[NAMES], rows["label"])


def test_one_text_is_learnt_and_told_alike_by_torch_onnx_and_plain_files(fitted: Any, tmp_path: Path) -> None:
    from lifecycle.problems.transformer import files
    from lifecycle.problems.transformer.model import Encoder

    unseen = texts(100, seed=2)
    told = TEXTS.answers(fitted, unseen[["text"]], TEXT_COLUMNS)
    assert (told["label"] == unseen["label"]).mean() > 0.95
    stored = TEXTS.store(fitted, TEXT_COLUMNS, tmp_path)
    assert {path.name for path in (tmp_path / "transformer").iterdir()} == files.PLAIN
    rows = [(text,) for text in unseen["text"]]
    again = Encoder.of(stored.artifacts["transformer"])
    np.testing.assert_allclose(
        again.predict_proba(rows), told[["probability.bad", "probability.good"]], rtol=0, atol=1e-7
    )
    for quantize, near in ((None, 1e-5), ("int8", 0.1)):
        folder = tmp_path / f"onnx-{quantize}"
        files.write(fitted.network_, fitted.reader_, folder, "onnx", quantize)
        assert {path.name for path in folder.iterdir()} == files.COMPILED
        np.testing.assert_allclose(Encoder.of(folder).predict_proba(rows), again.predict_proba(rows), atol=near)


def test_an_answer_does_not_depend_on_the_rows_beside_it_or_on_their_order(fitted: Any) -> None:
    """But for the last bit of a single precision: one run in many, a processor adds up in another order by itself."""
    rows = [(text,) for text in texts(90, seed=3)["text"]]
    encoder = fitted.encoder()
    whole = encoder.predict_proba(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(encoder.predict_proba([rows[place] for place in order]), whole[order], rtol=0, atol=1e-7)
    for place in (0, 17, 89):
        np.testing.assert_allclose(encoder.predict_proba([rows[place]])[0], whole[place], rtol=0, atol=1e-7)
    assert encoder.predict_proba([]).shape == (0, 2)


def test_neither_text_is_lost_nor_taken_for_the_other(of_pairs: Any) -> None:
    """A wrapper that drops the second text, or puts both in the wrong order, gives answers that look well."""
    unseen = pairs(100, seed=4)
    told = PAIRS.answers(of_pairs, unseen[NAMES], COLUMNS)["label"]
    assert (told == unseen["label"]).mean() > 0.9
    exchanged = unseen.rename(columns=dict(zip(NAMES, NAMES[::-1], strict=True)))
    assert (PAIRS.answers(of_pairs, exchanged, COLUMNS)["label"] == unseen["label"]).mean() < 0.1
    assert PAIRS.answers(of_pairs, unseen[NAMES[::-1]], COLUMNS)["label"].equals(told), "by name, in any order"
    blank = unseen.assign(hypothesis="profit")
    assert not np.array_equal(
        of_pairs.encoder().logits(list(unseen[NAMES].itertuples(index=False, name=None))),
        of_pairs.encoder().logits(list(blank[NAMES].itertuples(index=False, name=None))),
    )


TO_THE_END = {**QUICK, "epochs": 4, "patience": None}
KILLED = """
import os, signal, sys
from pathlib import Path
from lifecycle.problems.transformer import finetuning
from tests.unit import test_transformer as t
saved = finetuning.Training.save
def save(self, path):
    saved(self, path)
    if self.place.step >= 30:
        os.kill(os.getpid(), signal.SIGKILL)
finetuning.Training.save = save
rows = t.texts()
spec = t.Spec("transformer", {**t.TO_THE_END, "base": sys.argv[1]}, 0, t.TEXT_COLUMNS)
t.TEXTS.fit(spec, rows[["text"]], rows["label"], t.Beside(checkpoints=Path(sys.argv[2])))
"""


def test_a_killed_training_goes_on_and_ends_in_the_same_weights(base: Path, tmp_path: Path) -> None:
    rows, steps = texts(), list[int]()
    spec = Spec("transformer", {**TO_THE_END, "base": str(base)}, 0, TEXT_COLUMNS)
    command = [sys.executable, "-c", KILLED, str(base), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    from lifecycle.problems.transformer.finetuning import Training

    step: Callable[..., float] = Training.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "step", lambda *parts: steps.append(1) or step(*parts))
        resumed = TEXTS.fit(spec, rows[["text"]], rows["label"], Beside(checkpoints=tmp_path))
    assert len(steps) == 30, "30 of 60 steps were done before"
    whole = TEXTS.fit(spec, rows[["text"]], rows["label"])
    for (name, one), other in zip(
        resumed.network_.state_dict().items(), whole.network_.state_dict().values(), strict=True
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "`base` is missing"),
        ({"base": "b", "epochs": -1}, "epochs"),
        ({"base": "b", "learning_rate": 2}, "learning_rate"),
        ({"base": "b", "quantize": "int8"}, "ONNX Runtime"),
        ({"base": "b", "device": "tpu"}, "device"),
        ({"base": "b", "rate": 1}, "no parameter 'rate'"),
    ],
)
def test_a_parameter_that_there_cannot_be_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TEXTS.build(Spec("transformer", params, 0, TEXT_COLUMNS))


def test_a_training_pins_its_base_and_is_read_by_us_and_plain_mlflow(
    config: Settings, base: Path, tmp_path: Path
) -> None:
    texts().to_csv(tmp_path / "news.csv", index=False)
    source = Source(uri=str(tmp_path / "news.csv"))
    dataset.create(dataset.state(config, source, data_name="news", data_version="1"))

    def trained(**params: Any) -> Any:
        asked = training.Training(
            data_name="news", data_version="1", model_name="news", algorithm="transformer", params={**QUICK, **params}
        )
        request = training.plan(config, asked)
        training.train(request)
        return request, runs.trained(config.mlflow_uri, request.run_id)

    request, ref = trained(base=str(base), epochs=2)
    assert len(request.params["base_sha256"]) == 64
    assert request.checkpoints is not None
    assert not request.checkpoints.exists()
    unseen = texts(40, seed=5)
    told = loading.load(ref).predict(None, unseen)
    mlflow.set_tracking_uri(ref.tracking_uri)
    plain = mlflow.pyfunc.load_model(ref.uri)
    pd.testing.assert_frame_equal(plain.predict(unseen[["text"]]), told)
    assert plain.unwrap_python_model().predict(None, unseen["text"].tolist()) == told["label"].tolist()
    assert plain.unwrap_python_model().predict(None, unseen["text"][0]) == [told["label"][0]]

    smaller, of_smaller = trained(base=f"runs:/{ref.run_id}/model", epochs=0, runtime="onnx")
    assert (loading.load(of_smaller).predict(None, unseen)["label"] == told["label"]).all()
    assert {*evaluation.trained_keys(of_smaller)} == {*evaluation.trained_keys(ref)}
    with pytest.raises(ConfigError, match="digests to"):
        training.plan(config, smaller.model_copy(update={"params": {**smaller.params, "base_sha256": "0" * 64}}))

    folder = Path(mlflow.artifacts.download_artifacts(ref.uri, dst_path=str(tmp_path / "copy")))
    (folder / "artifacts" / "transformer" / "tokenizer.json").write_text("{")
    with pytest.raises(IntegrityError, match="cannot be read"):
        loading.load_verified(folder, ref.model_copy(update={"artifact_sha256": "other"}))
    (folder / "artifacts" / "transformer" / "more.py").write_text("")
    with pytest.raises(IntegrityError, match=r"more\.py"):
        loading.load_verified(folder, ref.model_copy(update={"artifact_sha256": "another"}))


def test_a_network_from_elsewhere_is_registered_from_its_files(
    config: Settings, base: Path, fitted: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "finbert"
    fitted.network_.save_pretrained(folder)
    fitted.reader_.tokenizer.save(str(folder / "tokenizer.json"))
    ref = external.log_network(config.mlflow_uri, "news-dev", "news", folder)
    assert ref == external.log_network(config.mlflow_uri, "news-dev", "news", folder), "again it is the same"
    unseen = texts(30, seed=6)
    told = TEXTS.answers(fitted, unseen[["text"]], TEXT_COLUMNS)
    assert loading.load(ref).predict(None, unseen)["label"].tolist() == told["label"].tolist()
    with pytest.raises(ConfigError, match="no network that was fine-tuned"):
        external.log_network(config.mlflow_uri, "news-dev", "news", base)
    with pytest.raises(ConfigError, match="cannot be read"):
        external.log_network(config.mlflow_uri, "news-dev", "news", tmp_path / "nothing")
