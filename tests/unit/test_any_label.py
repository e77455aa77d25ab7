"""Labels that look like markup, paths, formulas or nothing go through data, training, gate and reports as they are.

Promise: Texts and classes of any script and form are told apart; the same values are the same labels from CSV,
Parquet and JSON Lines (also `tests/unit/test_tokens.py`, `tests/unit/test_values.py`).
"""

import csv
import shutil
import warnings
from pathlib import Path

import hypothesis
import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report

from cli import show
from lifecycle import settings
from lifecycle.core.class_names import as_metric, from_metric
from lifecycle.core.names import Environment, Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import judge, records
from lifecycle.gate.present import markdown
from lifecycle.gate.verdict import Verdict
from lifecycle.models import loading
from lifecycle.problems.classification import plots, summary
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules, SliceRules
from lifecycle.tracking import client as tracking
from tests.conftest import make_dataset, train_model

ODD = (
    "accuracy", "macro avg", "https://example.org/a?b=c", "a//b", "$5-$10", "../x", ".", "\u200b", "l" * 600, "👍🏽",
    "مرحبا", "two\nlines", 'say "no"', "<b>", "[red]", "[/red]", "{{ x }}", "a|b", "C", "C++", "C#", "Ck", "ck",
    "_hidden", "x_y", "_x002B_", "caf\u00e9", "=1+1", "None", "true",
)  # fmt: skip


def write_table(path: Path, labels: tuple[str, ...], rows: int = 10) -> Path:
    lines = [(f"topic{i} word{n % 3} number {n} of {i}", label) for i, label in enumerate(labels) for n in range(rows)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *lines])
    return path


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> tuple[Settings, ModelRef, Verdict]:
    """A state with a dataset version of odd labels, a model that was trained on it, and its verdict."""
    folder = tmp_path_factory.mktemp("odd")
    shutil.copy(migrated, folder / "mlflow.db")
    config = settings.load("dev", home=folder)
    source = Source(uri=str(write_table(folder / "odd.csv", ODD)))
    request = dataset.plan(config, source, data_name="news", data_version="1.0.0")
    suite = tuple(each for each in request.suite if each["kwargs"].get("max_value") != 200)  # one label is longer
    dataset.create(request.model_copy(update={"suite": suite}))
    model = train_model(config)
    evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    asked = judge.JudgeRequest(
        env=Environment.DEV,
        challenger=model,
        champion=None,
        data_root=config.datasets,
        data_name="news",
        data_version="1.0.0",
        rules=GateRules(min_rows_per_class=1, slices=SliceRules(max_values=10), resamples=200),
        evidence_root=config.state / "evidence",
    )
    return config, model, judge.judge(asked)


def test_labels_are_learnt_and_predicted_as_written(odd: tuple[Settings, ModelRef, Verdict]) -> None:
    config, model, verdict = odd
    assert set(dataset.load(config.datasets, "news", "1.0.0").classes) == set(ODD)
    texts = pd.DataFrame({"text": [f"topic{number} again" for number in range(len(ODD))]})
    assert loading.load(model).predict(None, texts)["label"].tolist() == list(ODD)
    assert (verdict.decision, set(verdict.classes)) == ("promote", set(ODD))
    assert {f"recall.{label}" for label in ODD} <= set(verdict.metrics)


def test_every_label_has_its_own_metrics_and_its_row_in_the_table(odd: tuple[Settings, ModelRef, Verdict]) -> None:
    config, model, _ = odd
    found = tracking.client(config.mlflow_uri).get_run(model.run_id).data.metrics
    for side in Side:
        for score in ("precision", "recall", "f1"):
            assert {f"{side}.{score}.{as_metric(label)}" for label in ODD} <= set(found)
            assert sum(name.startswith(f"{side}.{score}.") for name in found) == len(ODD)
    for name in ("classes/train.csv", "classes/test.csv"):
        path = mlflow.artifacts.download_artifacts(
            run_id=model.run_id, artifact_path=name, tracking_uri=config.mlflow_uri
        )
        table = pd.read_csv(path, keep_default_na=False)
        assert set(table["class"]) == set(ODD)
        assert {from_metric(n) for n, label in zip(table["metric"], table["class"], strict=True) if len(label) < 99} < {
            *ODD
        }


def test_reports_show_labels_as_text(
    odd: tuple[Settings, ModelRef, Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    config, model, verdict = odd
    html = records.report(records.find(model, Environment.DEV)).decode()
    page = (config.datasets / "news" / "1.0.0" / "report.html").read_text(encoding="utf-8")
    for shown in (html, page):
        assert "<b>" not in shown
        assert "&lt;b&gt;" in shown
    assert "{{ x }}" in page
    text = markdown.text(verdict)
    assert all(line.count("|") - line.count("\\|") in (0, 5, 6, 7, 8) for line in text.splitlines())
    show.verdict(verdict)
    show.dataset(dataset.load(config.datasets, "news", "1.0.0"), "folder")
    show.dataset(
        dataset.load(config.datasets, "news", "1.0.0").model_copy(update={"classes": ("[red]", "[/red]")}), "f"
    )
    out = capsys.readouterr().out
    assert "[/red]" in out
    assert "30 classes" in out


def test_parts_by_label_are_the_largest_classes_and_the_rest(odd: tuple[Settings, ModelRef, Verdict]) -> None:
    _, _, verdict = odd
    names = [line.name for line in verdict.slices]
    assert len([name for name in names if name.startswith("label = ")]) == 9
    (rest,) = [line for line in verdict.slices if line.name == "the 21 smaller classes"]
    assert (rest.rows, rest.outcome) == (42, "pass")


@pytest.mark.parametrize("labels", [ODD, ("$5-$10", "_$"), tuple(f"c{n}" for n in range(120))])
def test_plots_hold_any_label_and_any_number_of_them(labels: tuple[str, ...], tmp_path: Path) -> None:
    classes = np.array(sorted(labels), dtype=object)
    truth = pd.Series(np.repeat(classes, 3))
    drawn = np.random.default_rng(0).dirichlet(np.ones(len(classes)), len(truth))
    answers = pd.DataFrame(drawn, columns=[f"{summary.PROBABILITY}{name}" for name in classes])
    answers.insert(0, "label", classes[drawn.argmax(axis=1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.draw(truth, answers, tmp_path / "plots")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"confusion_matrix.png", "pr_roc.png"}


def test_of_many_classes_single_ones_stand_in_the_table_alone() -> None:
    for count, single in ((50, True), (51, False)):
        truth = [f"c{n}" for n in range(count)]
        classes = summary.by_class(truth, truth)
        found = summary.metrics(Side.TEST, classes)
        assert len(classes) == count
        assert ("test.f1.c1" in found) is single
        assert {"test.accuracy", "test.f1_macro", "test.recall_weighted"} <= set(found)


@hypothesis.settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1, max_size=40))
def test_metrics_are_scikit_learns(rows: list[tuple[str, str]]) -> None:
    truth, predicted = zip(*rows, strict=True)
    report = classification_report(truth, predicted, output_dict=True, zero_division=0.0)
    found = summary.metrics(Side.TEST, summary.by_class(truth, predicted))
    assert found["test.accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    for joint in ("macro", "weighted"):
        assert found[f"test.f1_{joint}"] == pytest.approx(report[f"{joint} avg"]["f1-score"])
        assert found[f"test.recall_{joint}"] == pytest.approx(report[f"{joint} avg"]["recall"])
    for label in {*truth, *predicted}:
        assert found[f"test.precision.{label}"] == pytest.approx(report[label]["precision"])


def test_a_class_in_two_unicode_forms_or_with_blanks_is_one(config: Settings, tmp_path: Path) -> None:
    path = write_table(tmp_path / "forms.csv", ("caf\u00e9", "cafe\u0301", " caf\u00e9\u00a0", "other"))
    make_dataset(config, path)
    manifest = dataset.load(config.datasets, "news", "1.0.0")
    assert manifest.classes == ("caf\u00e9", "other")
    make_dataset(config, path)  # again: it is in place


def test_classes_that_come_or_go_are_told(config: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for version, labels in (("1", ("a", "b")), ("2", ("a", "b")), ("3", ("A", "B"))):
        make_dataset(
            config, write_table(tmp_path / f"{version}.csv", labels, rows=9 + int(version)), data_version=version
        )
        assert ("classes differ" in caplog.text) is (version == "3")
    told = "The classes differ from those of news 2: new 'A', 'B'; gone 'a', 'b'; none stays the same"
    assert told in [each.message for each in caplog.records]
