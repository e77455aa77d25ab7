"""A training is done again when anything that its model depends on has changed, and only then.

Promise: An edited default, estimator or library version is trained anew; the same training finds its run.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.core.provenance import digest_of
from lifecycle.data import dataset
from lifecycle.data.manifest import Manifest
from lifecycle.problems import fitting
from lifecycle.problems.contract import Estimator
from lifecycle.problems.text_classification import estimators
from lifecycle.problems.text_classification.learning import LEARNING
from lifecycle.settings import Settings
from lifecycle.training import train as training
from tests.conftest import ROOT

BAYES, LOGISTIC, FOREST = "naive_bayes", "logistic_regression", "random_forest"


@pytest.fixture
def manifest(news: Settings) -> Manifest:
    return dataset.load(news.datasets, "news", "1.0.0")


def key(manifest: Manifest, model_type: str = BAYES, seed: int = 0, name: str = "m", **params: Any) -> str:
    return training.train_key(manifest, name, estimators.build(model_type, params, seed), seed)


def test_the_same_training_has_the_same_key_in_every_process(manifest: Manifest) -> None:
    code = (
        "import sys; from lifecycle.training import train as training; from lifecycle.data.manifest import Manifest; "
    )
    code += "from lifecycle.problems.text_classification import estimators; "
    code += "m = Manifest.model_validate_json(sys.stdin.read()); "
    code += (
        "print(training.train_key(m, 'm', estimators.build('random_forest', {'class_weight': {'b': 2, 'a': 1}}, 0), 0))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        input=manifest.model_dump_json(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert found.stdout.strip() == key(manifest, FOREST, class_weight={"a": 1, "b": 2})


def test_a_default_that_is_given_makes_no_other_training(manifest: Manifest) -> None:
    assert key(manifest) == key(manifest, alpha=0.1) == key(manifest, tfidf__ngram_range=[1, 2])


def test_everything_that_a_model_depends_on_makes_another_key(manifest: Manifest) -> None:
    found = [
        key(manifest),
        key(manifest, alpha=0.2),
        key(manifest, fit_prior=False),
        key(manifest, tfidf__min_df=2),
        key(manifest, tfidf__ngram_range=[1, 3]),
        key(manifest, tfidf__stop_words=["not"]),
        key(manifest, LOGISTIC),
        key(manifest, LOGISTIC, class_weight={"a": 1}),
        key(manifest, LOGISTIC, class_weight={"a": 2}),
        key(manifest, FOREST),
        key(manifest, FOREST, 1),
        key(manifest, FOREST, max_depth=3),
        key(manifest, name="other"),
        key(manifest.model_copy(update={"digest": "0" * 64})),
        key(manifest.model_copy(update={"files": {}})),
    ]
    assert len(set(found)) == len(found)


def _default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(estimators.ESTIMATORS, BAYES, estimators.ESTIMATORS[BAYES]._replace(defaults={"alpha": 0.2}))


def _library_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.naive_bayes import MultinomialNB

    class MultinomialNB2(MultinomialNB):  # type: ignore[misc]
        """Another estimator under the same name."""

    monkeypatch.setitem(estimators.ESTIMATORS, BAYES, Estimator(MultinomialNB2, {"alpha": 0.1}))


def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "version", lambda package: "999" if package == "scikit-learn" else "1")


@pytest.mark.parametrize("change", [_default, _library_default, _library])
def test_a_change_of_defaults_or_libraries_makes_another_key(
    manifest: Manifest, change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(manifest)
    change(monkeypatch)
    assert key(manifest) != before


SOURCES = training.sources(LEARNING)


@pytest.mark.parametrize("name", SOURCES)
def test_an_edited_source_makes_another_key_whether_committed_or_not(name: str, tmp_path: Path) -> None:
    original = ROOT / "lifecycle"
    for source in SOURCES:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(original / source, tmp_path / source)
    assert digest_of(tmp_path, SOURCES) == digest_of(original, SOURCES)
    text = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(text.replace(b"\n", b"\r\n"))
    assert digest_of(tmp_path, SOURCES) == digest_of(original, SOURCES)
    (tmp_path / name).write_bytes(text + b"# edited\n")
    assert digest_of(tmp_path, SOURCES) != digest_of(original, SOURCES)


def test_the_key_holds_the_digest_of_the_code(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(manifest)
    monkeypatch.setattr(training, "digest_of", lambda *_: "edited")
    assert key(manifest) != before


def test_parameters_are_described_without_addresses() -> None:
    pipeline = estimators.build(FOREST, {"class_weight": {"b": 1, "a": 2}}, 0)
    told = repr(fitting.described(pipeline))
    assert " at 0x" not in told
    assert "sklearn.ensemble._forest.RandomForestClassifier" in told
    assert "numpy.float64" in told
