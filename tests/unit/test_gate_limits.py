"""What the gate could not ask of a dataset is found out before anything is computed."""

import csv
import logging
from pathlib import Path
from typing import Any

import pytest

from lifecycle import settings
from lifecycle.core.errors import ConfigError, DataError, MlopsError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.gate import limits, too_few
from lifecycle.settings import Settings
from tests.conftest import train_model

OWN = "tests.registry.own_metrics"
CLASSES = ("bad", "good", "odd")


def made(root: Path, data_version: str = "1.0.0", classes: tuple[str, ...] = CLASSES, rows: int = 150) -> Settings:
    """Settings with a dataset of so many rows, whose columns are a text, a label, one of three desks and an id."""
    source = root / f"{data_version}.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        lines = [(f"text {n}", classes[n % len(classes)], f"desk {n % 3}", f"id {n}") for n in range(rows)]
        csv.writer(file).writerows([("text", "label", "desk", "id"), *lines])
    config = settings.load("dev", home=root)
    request = dataset.plan(config, Source(uri=str(source)), data_name="news", data_version=data_version)
    dataset.create(request)
    return config


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """`news` 1.0.0 with three classes and 2.0.0 with two of them."""
    root = tmp_path_factory.mktemp("three")
    made(root)
    return made(root, "2.0.0", CLASSES[:2], rows=100)


def ruled(config: Settings, **gate: Any) -> Settings:
    return settings.load("dev", home=config.state, gate=gate)


FINE = [
    {},
    {"slices": {"by": ["desk", "source_desk", "label", "text_length", "truth"]}},
    {"slices": {"by": ["id"], "max_values": 30}},  # of the holdout
    {"slices": {"by": []}},
    {"metric": "recall.odd", "floors": {"precision.bad": 0.1, "accuracy": 0.2}},
    {"own_metrics": {"recall.mine": f"{OWN}:negatives", "less": f"-{OWN}:negatives"}, "metric": "recall.mine"},
    {"costs": {"matrix": {"bad": {"good": 1, "odd": 2}}}},
]


@pytest.mark.parametrize("gate", FINE)
def test_rules_that_can_be_asked_stop_nothing(three: Settings, gate: dict[str, Any]) -> None:
    limits.require_before_training(ruled(three, **gate), "news", "1.0.0")


UNASKABLE = [
    ({"slices": {"by": ["label", "region"]}}, DataError, "no column region to make slices of; it has source_desk"),
    ({"slices": {"by": ["id"], "max_values": 29}}, DataError, "column id has 30 values, too many .*at most 29"),
    ({"slices": {"by": ["text"], "max_values": 20}}, DataError, "column text has 30 values.*gate.slices.max_values"),
    ({"metric": "recall.Odd one"}, ConfigError, r"gate.metric: recall.Odd one: the holdout of news 1.0.0 has no class"),
    ({"metric": "recall.ods"}, ConfigError, r"no class 'ods', only 'bad', 'good', 'odd'. Did you mean 'odd'\?"),
    ({"floors": {"f1.zebra": 0.2}}, ConfigError, "gate.floors: f1.zebra: .*only 'bad', 'good', 'odd'.. *Correct"),
    ({"costs": {"matrix": {"bad": {"god": 1}}}}, ConfigError, "gate.costs: .*no class 'god'.*'good'"),
    ({"costs": {"matrix": {"bat": {"good": 1}}}}, ConfigError, "gate.costs: .*no class 'bat'.*'bad'"),
    ({"own_metrics": {"ours": "no.such.module:at_all"}}, ConfigError, "own_metrics: ours .*ModuleNotFoundError"),
    ({"own_metrics": {"ours": f"-{OWN}:absent"}}, ConfigError, "own_metrics: ours .*absent.*PYTHONPATH"),
    ({"behaviour": ["unwritten"]}, ConfigError, "no suite .*unwritten.yaml"),
]


@pytest.mark.parametrize(("gate", "kind", "words"), UNASKABLE)
def test_a_rule_that_cannot_be_asked_is_named(
    three: Settings, gate: dict[str, Any], kind: type[MlopsError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        limits.require_before_training(ruled(three, **gate), "news", "1.0.0")


def test_a_module_that_ends_the_process_is_named_like_one_that_is_not_there(
    three: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving_at_once.py").write_text("raise SystemExit('bye')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="SystemExit: bye"):
        limits.require_before_training(ruled(three, own_metrics={"ours": "leaving_at_once:at_all"}), "news", "1.0.0")


def judging_on(config: Settings, data_version: str, **gate: Any) -> Settings:
    return settings.load("dev", home=config.state, gate=gate, gate_data={"data_version": data_version})


def test_what_counts_is_the_data_that_the_gate_judges_on(three: Settings) -> None:
    rules = {"metric": "recall.odd"}
    limits.require_before_training(judging_on(three, "1.0.0", **rules), "news", "2.0.0")
    with pytest.raises(ConfigError, match=r"the holdout of news 2\.0\.0 has no class 'odd'"):
        limits.require_before_training(judging_on(three, "latest", **rules), "news", "1.0.0")
    with pytest.raises(NotFoundError, match="no version"):
        limits.require_before_training(judging_on(three, "3.0.0"), "news", "1.0.0")


def test_a_class_that_the_model_may_answer_costs_something_though_no_row_is_of_it(three: Settings) -> None:
    rules = {"costs": {"matrix": {"bad": {"odd": 1}}}}
    limits.require_before_training(judging_on(three, "2.0.0", **rules), "news", "1.0.0")
    with pytest.raises(ConfigError, match="no class 'odd'"):
        limits.require_before_training(judging_on(three, "2.0.0", **rules), "news", "2.0.0")


def test_a_model_that_there_is_is_asked_what_it_was_trained_on(news: Settings) -> None:
    model = train_model(news)
    costs = {"costs": {"matrix": {"negative": {"spam": 1}}}}
    with pytest.raises(ConfigError, match="no class 'spam'"):
        limits.require_before_judging(ruled(news, **costs), model, "news", "1.0.0")
    elsewhere = settings.load("dev", home=news.state, data_root=news.state / "elsewhere", gate=costs)
    (news.state / "elsewhere" / "other").parent.mkdir()
    (news.datasets / "news").rename(news.state / "elsewhere" / "other")
    manifest = news.state / "elsewhere" / "other" / "1.0.0" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"data_name": "news"', '"data_name": "other"'))
    limits.require_before_judging(elsewhere, model, "other", "1.0.0")  # nobody here knows what it may answer
    with pytest.raises(ConfigError, match="no class 'spam'"):
        limits.require_before_judging(
            elsewhere.model_copy(update={"gate": ruled(news, metric="recall.spam").gate}), model, "other", "1.0.0"
        )


# Numbers


@pytest.fixture(scope="module")
def bikes(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """`bikes` 1.0.0: how many were out, by temperature and one of three seasons."""
    root = tmp_path_factory.mktemp("bikes")
    source = root / "bikes.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        lines = [(f"h{n}", n / 7, ("spring", "summer", "winter")[n % 3], 10 * n + 0.5) for n in range(300)]
        csv.writer(file).writerows([("hour", "temp", "season", "cnt"), *lines])
    config = settings.load("dev", home=root)
    columns = {"problem": "tabular-regression", "target": "cnt", "key": "hour"}
    plan = dataset.plan(config, Source(uri=str(source)), data_name="bikes", data_version="1.0.0", **columns)
    dataset.create(plan)
    return config


@pytest.mark.parametrize(
    "gate",
    [
        {},
        {"metric": "mean_absolute_error", "floors": {"r2": 0.1}, "ceilings": {"root_mean_squared_error": 40.0}},
        {"slices": {"by": ["target", "temp", "season", "truth"], "max_values": 4}},
        {"own_metrics": {"ours": f"-{OWN}:negatives"}, "ceilings": {"ours": 3.0}},
        {"min_rows_per_class": 500, "missed_class_rows": 2, "lost_classes": "refuse"},
    ],
)
def test_rules_that_numbers_have_stop_nothing(bikes: Settings, gate: dict[str, Any]) -> None:
    limits.require_before_training(ruled(bikes, **gate), "bikes", "1.0.0")


@pytest.mark.parametrize(
    ("gate", "kind", "words"),
    [
        ({"metric": "f1_macro"}, ConfigError, "'f1_macro' is not a metric: there are mean_absolute_error"),
        ({"floors": {"accuracy": 0.5}}, ConfigError, "'accuracy' is not a metric"),
        ({"ceilings": {"log_loss": 0.5}}, ConfigError, "'log_loss' is not a metric"),
        ({"floors": {"recall.spring": 0.5}}, ConfigError, r"'recall\.spring' is not a metric"),
        ({"max_churn": 0.1}, ConfigError, "gate.max_churn: bikes is about tabular-regression, which has no such rule"),
        (
            {"behaviour": ["core"], "slices": {"floor": 0.0}},
            ConfigError,
            r"gate\.behaviour, gate\.slices\.floor: bikes is about .*mlops config show",
        ),
        ({"costs": {"matrix": {"a": {"b": 1}}}}, ConfigError, "gate.costs: bikes is about"),
        ({"slices": {"by": ["label"]}}, DataError, "no column label to make slices of"),
        ({"slices": {"by": ["season"], "max_values": 2}}, DataError, "column season has 3 values, too many"),
    ],
)
def test_a_rule_of_classes_is_refused_where_numbers_are_predicted(
    bikes: Settings, gate: dict[str, Any], kind: type[MlopsError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        limits.require_before_training(ruled(bikes, **gate), "bikes", "1.0.0")


# Too few rows to judge anything


@pytest.mark.parametrize(
    ("rows", "arguments", "words"),
    [
        (300, {}, None),
        (
            60,
            {},
            "No model can be judged in dev on news 1.0.0: its holdout has 12 rows (gate.min_rows=50) and 4 of class "
            "'bad' (gate.min_rows_per_class=5). At this size it takes 250 rows, and 25 of each class: add rows, raise "
            "--holdout-size, or lower these limits",
        ),
        (
            60,
            {"holdout": False, "test_size": 0.5},
            "its test has 30 rows (gate.min_rows=50). At this size it takes 100",
        ),
        (60, {"holdout": False, "test_size": 0.5}, "raise --test-size"),
    ],
)
def test_a_version_on_which_no_model_can_be_judged_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: int, arguments: dict[str, Any], words: str | None
) -> None:
    made(tmp_path, rows=rows)
    config, source = settings.load("dev", home=tmp_path), Source(uri=str(tmp_path / "1.0.0.csv"))
    request = dataset.plan(config, source, data_name="other", data_version="1.0.0", **arguments)
    dataset.create(request)
    with caplog.at_level(logging.WARNING, "lifecycle"):
        too_few.warn(config, dataset.load(config.datasets, "other", "1.0.0"))
    told = [each.message.replace("other", "news") for each in caplog.records if each.name == too_few.__name__]
    assert told == [] if words is None else words in told[0]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [({"data_version": "1.0.0"}, True), ({"data_version": "9.0.0"}, False), ({"data_name": "others"}, False)],
)
def test_of_data_that_the_gate_does_not_judge_on_nothing_is_said(
    three: Settings, caplog: pytest.LogCaptureFixture, chosen: dict[str, str], told: bool
) -> None:
    config = settings.load("dev", home=three.state, gate_data=chosen)
    with caplog.at_level(logging.WARNING, "lifecycle"):
        too_few.warn(config, dataset.load(config.datasets, "news", "1.0.0"))
    assert bool(caplog.records) == told


def test_only_costs_ask_where_a_model_comes_from(three: Settings) -> None:
    nobody = ModelRef(tracking_uri=three.mlflow_uri, uri="file:///nowhere", run_id="none", artifact_sha256="none")
    limits.require_before_judging(ruled(three), nobody, "news", "1.0.0")
