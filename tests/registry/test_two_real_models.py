"""Naive Bayes against logistic regression on real news, and back: every number as plain scikit-learn says it.

`TEST_NEWS=<csv with Sentence,Sentiment>` takes another table than the bundled sample.

Promise: The gate's metrics, intervals and changed rows are those of plain scikit-learn.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from lifecycle import settings
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate.judge import JudgeRequest, judge
from lifecycle.gate.verdict import Verdict
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import GateRules
from tests.conftest import exhaustive, train_model

TOKENS = r"(?u)\w+|[%$€£₹+-]"
RESAMPLES = 2000
PAIRS = [("logistic_regression", "naive_bayes"), ("naive_bayes", "logistic_regression")]


class Plain:
    """What a person would compute in a notebook: fit, predict, compare."""

    def __init__(self, rows: pd.DataFrame) -> None:
        train, self.holdout = (rows[rows["split"] == side] for side in ("train", "holdout"))
        self.truth = self.holdout["label"].to_numpy(object)
        self.classes = sorted(set(train["label"]))
        self.labels, self.probabilities = {}, {}
        classifiers = {
            "naive_bayes": MultinomialNB(alpha=0.1),
            "logistic_regression": LogisticRegression(C=10, max_iter=1000),
        }
        for name, classifier in classifiers.items():
            features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKENS)
            fitted = make_pipeline(features, classifier).fit(train["text"], train["label"])
            self.labels[name] = fitted.predict(self.holdout["text"])
            self.probabilities[name] = fitted.predict_proba(self.holdout["text"])

    def values(self, model: str) -> dict[str, float]:
        y, p, probabilities = self.truth, self.labels[model], self.probabilities[model]
        one_hot = pd.get_dummies(pd.Series(y))[self.classes].to_numpy(float)
        return {
            "accuracy": sk.accuracy_score(y, p),
            "balanced_accuracy": sk.balanced_accuracy_score(y, p),
            "f1_macro": sk.f1_score(y, p, average="macro"),
            "f1_weighted": sk.f1_score(y, p, average="weighted"),
            "recall.negative": sk.recall_score(y, p, labels=["negative"], average="macro"),
            "mcc": sk.matthews_corrcoef(y, p),
            "roc_auc": sk.roc_auc_score(y, probabilities, multi_class="ovr"),
            "average_precision": sk.average_precision_score(one_hot, probabilities, average="macro"),
            "log_loss": sk.log_loss(y, probabilities, labels=self.classes),
        }

    def gain(self, challenger: str, champion: str) -> tuple[float, float]:
        """The 95 % bootstrap interval of the gain in macro F1, resample by resample."""
        draws = np.random.default_rng(7).integers(0, len(self.truth), (RESAMPLES, len(self.truth)))

        def f1(labels: np.ndarray, rows: np.ndarray) -> float:
            return float(sk.f1_score(self.truth[rows], labels[rows], average="macro"))

        gains = [f1(self.labels[challenger], rows) - f1(self.labels[champion], rows) for rows in draws]
        low, high = np.percentile(gains, [2.5, 97.5])
        return float(low), float(high)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Settings:
    home = tmp_path_factory.mktemp("real")
    shutil.copy(migrated, home / "mlflow.db")
    config = settings.load("dev", home=home)
    sample = Path(__file__).parents[2] / "examples" / "financial_news.csv"
    source = Source(uri=os.environ.get("TEST_NEWS", str(sample)))
    dataset.create(
        dataset.plan(
            config, source, data_name="news", data_version="1.0.0", text_column="Sentence", label_column="Sentiment"
        )
    )
    return config


@pytest.fixture(scope="module")
def plain(config: Settings) -> Plain:
    return Plain(dataset.load_rows(config.datasets, "news", "1.0.0"))


@pytest.fixture(scope="module")
def models(config: Settings) -> dict[str, ModelRef]:
    trained = {name: train_model(config, name) for name in ("naive_bayes", "logistic_regression")}
    for model in trained.values():
        evaluation.evaluate(evaluation.request_for(model, config.datasets, "news", "1.0.0"))
    return trained


@pytest.fixture(scope="module")
def verdicts(config: Settings, models: dict[str, ModelRef]) -> dict[str, Verdict]:
    """By challenger: each of the two against the other as champion."""

    def judged(challenger: str, champion: str) -> Verdict:
        request = JudgeRequest(
            env=config.env,
            challenger=models[challenger],
            champion=models[champion],
            data_root=config.datasets,
            data_name="news",
            data_version="1.0.0",
            rules=GateRules(resamples=RESAMPLES),
            evidence_root=config.state / "evidence",
        )
        return judge(request)

    return {challenger: judged(challenger, champion) for challenger, champion in PAIRS}


@pytest.mark.parametrize(("challenger", "champion"), [PAIRS[0], pytest.param(*PAIRS[1], marks=exhaustive)])
def test_a_verdict_says_what_plain_scikit_learn_says(
    plain: Plain, verdicts: dict[str, Verdict], challenger: str, champion: str
) -> None:
    verdict = verdicts[challenger]
    assert verdict.rows == len(plain.holdout)
    for found, model in ((verdict.metrics, challenger), (verdict.champion_metrics, champion)):
        for name, value in plain.values(model).items():
            assert found[name].value == pytest.approx(value, abs=1e-9), name
    gain, (low, high) = verdict.gains["f1_macro"], plain.gain(challenger, champion)
    assert gain.low == pytest.approx(low, abs=0.006)
    assert gain.high == pytest.approx(high, abs=0.006)
    _check_flips(verdict, plain, challenger, champion)
    assert low > 0 or verdict.decision != "promote"


def test_the_two_cannot_replace_each_other_in_turn(verdicts: dict[str, Verdict]) -> None:
    assert [verdict.decision for verdict in verdicts.values()].count("promote") <= 1


def _check_flips(verdict: Verdict, plain: Plain, challenger: str, champion: str) -> None:
    new, old = plain.labels[challenger] == plain.truth, plain.labels[champion] == plain.truth
    numbers = plain.holdout["row"].to_numpy()
    assert (verdict.broken_rows, verdict.repaired_rows) == (int((old & ~new).sum()), int((new & ~old).sum()))
    assert {flip.row for flip in verdict.broken} <= set(numbers[old & ~new])
    assert {flip.row for flip in verdict.repaired} <= set(numbers[new & ~old])
    sure = plain.probabilities[challenger].max(axis=1)[old & ~new]
    assert [flip.score for flip in verdict.broken] == pytest.approx(sorted(sure, reverse=True)[: len(verdict.broken)])
    p = stats.binomtest(verdict.repaired_rows, verdict.repaired_rows + verdict.broken_rows).pvalue
    gain = next(check for check in verdict.checks if check.name.startswith("gain"))
    assert f"McNemar p = {p:.2g}" in gain.detail
