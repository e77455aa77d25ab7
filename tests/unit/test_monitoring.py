"""What is measured of a batch, what is an alert, and labels that come later: real models, files and batches."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from lifecycle import settings
from lifecycle.core.errors import ConfigError, DataError, IntegrityError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import baseline as baselines
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference import batch as inference
from lifecycle.inference import manifest as batches
from lifecycle.inference import sample
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import examples, findings, labels, probation, store, trust, watch
from lifecycle.monitoring.compare import compared
from lifecycle.monitoring.findings import Line, Measured
from lifecycle.monitoring.probation import Probation
from lifecycle.problems import distributions
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.distributions import Distribution, Seen
from lifecycle.settings import Settings
from lifecycle.settings.rules import MonitoringRules
from lifecycle.tracking import runs
from lifecycle.training import train as training
from tests.conftest import tree
from tests.tabular import rentals

RULES = MonitoringRules()
NAME = "dev.ml.bikes"


class Watched(NamedTuple):
    """A state directory with a judged model of rentals, which counts as version 1."""

    config: Settings
    model: ModelRef


@pytest.fixture(scope="module")
def judged(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("monitoring")
    shutil.copy(migrated, folder / "mlflow.db")
    table = {"problem": "tabular-regression", "target": "cnt", "columns": {"busy": "drop"}}
    return made(settings.load("dev", home=folder), "bikes", "linear_regression", **table)


def made(config: Settings, name: str, algorithm: str, **table: Any) -> Watched:
    """A model of rentals, trained and judged."""
    source = config.home / f"{name}.csv"
    rentals(1500).to_csv(source, index=False)
    wanted = {"data_name": name, "data_version": "1"}
    dataset.create(dataset.plan(config, Source(uri=str(source)), **wanted, key="instant", **table))
    request = training.plan(config, training.Training(**wanted, model_name=name, algorithm=algorithm))
    training.train(request)
    model = runs.trained(config.mlflow_uri, request.run_id)
    evaluation.evaluate(evaluation.request_for(model, config.datasets, name, "1"))
    return Watched(config, model.model_copy(update={"name": NAME, "version": 1}))


@pytest.fixture
def watched(judged: Watched, tmp_path: Path) -> Watched:
    """The same with nothing published or measured."""
    return judged._replace(
        config=judged.config.model_copy(update={"home": tmp_path, "data_root": judged.config.datasets})
    )


def scored(watched: Watched, rows: pd.DataFrame, day: int = 1, *, kept: bool = True) -> watch.Watch:
    """A published batch, as it is to be measured."""
    config = watched.config
    path = config.state / f"day-{day}.csv"
    rows.to_csv(path, index=False)
    request = batches.pinned(
        BatchRequest(
            model=watched.model,
            input=Source(uri=str(path)),
            key_column="instant",
            logical_date=date(2026, 11, day),
            output_root=config.predictions,
        )
    )
    if kept:
        request = request.model_copy(update={"sample": watch.sample_of(request, config.measurements)})
    inference.infer(request)
    return watch.Watch(batch=request, rules=RULES, root=config.measurements, data_root=config.datasets)


def beyond(watched: Watched) -> list[set[tuple[str, str]]]:
    """By batch what has drifted beyond its limit."""
    found = store.every(watched.config.measurements, NAME, "drift")
    return [{(line.name, line.measure) for line in each.beyond if line.part != "estimate"} for each in found]


def new_rows(count: int = 400, start: int = 1500) -> pd.DataFrame:
    """Rentals that the model was not made of."""
    return rentals(start + count).tail(count)


def test_a_baseline_is_frozen_and_the_same_when_it_is_made_later(judged: Watched) -> None:
    config, model = judged
    frozen = watch.baseline_of(model, config.datasets)
    assert {(each.part, each.name) for each in frozen.distributions} == {
        ("input", "temp"),
        ("input", "season"),
        ("input", "holiday"),
        ("prediction", "prediction"),
    }
    assert frozen.metrics["r2"] > 0.99
    (path,) = config.state.rglob(f"{baselines.FOLDER}/baseline-*.json")
    content = path.read_text()
    path.unlink()
    assert watch.baseline_of(model, config.datasets).digest == frozen.digest
    assert path.read_text() == content
    earlier = json.loads(content)
    del earlier["baseline"]["learnt"]
    for each in earlier["baseline"]["distributions"]:
        each.pop("reach", None), each.pop("outside", None)
    earlier["digest"] = hashlib.sha256(json.dumps(earlier["baseline"], sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(earlier))
    assert watch.baseline_of(model, config.datasets).digest == earlier["digest"], "as an earlier release froze it"
    assert watch.baseline_of(model, config.datasets, complete=True).digest == frozen.digest
    changed = json.loads(content)
    changed["baseline"]["rows"] += 1
    path.write_text(json.dumps(changed))
    try:
        with pytest.raises(IntegrityError, match="not the one that was frozen"):
            watch.baseline_of(model, config.datasets)
    finally:
        path.write_text(content)


def test_a_batch_like_those_before_is_within_the_limits_and_measured_once(watched: Watched) -> None:
    request = scored(watched, new_rows())
    assert watch.watch(request) == ()
    assert beyond(watched) == [set()]
    assert request.batch.sample is not None
    assert not request.batch.sample.exists()
    before = tree(watched.config.measurements)
    assert watch.watch(request) == ()
    assert tree(watched.config.measurements) == before


def test_what_has_changed_is_named_and_an_alert_once_it_has_lasted(watched: Watched) -> None:
    rows = new_rows()
    fahrenheit = rows.assign(temp=rows["temp"] * 1.8 + 32, season=rows["season"].replace("summer", "Summer"))
    emptied = fahrenheit.assign(holiday="")
    rules = RULES.model_copy(update={"example_columns": ("temp",)})
    asked = (scored(watched, emptied.head(399 - day), day) for day in range(1, 5))
    told = [watch.watch(each.model_copy(update={"rules": rules})) for each in asked]
    unlike = {("temp", "outside"), ("season", "outside")}
    drifted = unlike | {("temp", "psi"), ("season", "psi"), ("holiday", "missing"), ("prediction", "psi")}
    assert beyond(watched) == [drifted] * 4
    assert [len(alerts) for alerts in told] == [0, 0, 1, 1], "told again until somebody has recorded that it was told"
    (alert,) = told[2]
    assert (alert.kind, alert.since, alert.batches) == ("drift", date(2026, 11, 1), 3)
    assert {(cause.name, cause.measure) for cause in alert.causes} == drifted
    shown = examples.with_keys(alert, watched.config.predictions).examples
    assert [(each.batch[:10], each.what.count(","), "season=" in each.what) for each in shown] == [
        ("2026-11-03", 2, False)
    ] * 3
    for each in shown:
        assert each.key == str(emptied["instant"].iloc[each.row - 1])
        told_of = float(each.what.partition("temp=")[2].partition(",")[0])
        assert told_of == pytest.approx(emptied["temp"].iloc[each.row - 1], rel=1e-3)
    assert not any(each.key for each in alert.examples), "keys are in the batch alone"
    store.mark_told(watched.config.measurements, alert)
    assert store.untold(watched.config.measurements, NAME, RULES) == []


def test_the_table_is_read_again_where_no_inputs_were_kept(watched: Watched) -> None:
    rows = new_rows(2500)
    rows = rows.astype({"temp": object})
    rows.loc[rows.index[::50], "temp"] = "cold"  # rejected
    for day, kept in ((1, True), (2, False)):
        watch.watch(scored(watched, rows, day, kept=kept))
    one, other = store.every(watched.config.measurements, NAME, "drift")
    of_rows = [line for line in one.lines if line.part != "latency"]  # nobody knows later how long it took
    assert of_rows == [*other.lines]
    assert {line.rows for line in one.lines if line.part == "input"} == {sample.ROWS}
    assert one.lines[0].value == pytest.approx(50 / 2500)


def test_a_batch_does_not_fail_where_no_inputs_can_be_kept(watched: Watched) -> None:
    request = scored(watched, new_rows(100))
    kept = request.batch.model_copy(update={"sample": watched.config.state / "day-1.csv" / "inputs.json"})
    shutil.rmtree(watched.config.predictions)
    inference.infer(kept)
    assert batches.load(batches.locate(kept)[0]).scored == 100


def test_what_the_version_was_made_of_is_no_production(watched: Watched, judged: Watched) -> None:
    watch.watch(scored(watched, pd.read_csv(judged.config.state / "bikes.csv")))
    assert store.every(watched.config.measurements, NAME, "drift") == []


def test_a_model_that_was_never_judged_says_so(watched: Watched) -> None:
    other = watched.model.model_copy(update={"artifact_sha256": "0" * 64})
    with pytest.raises(NotFoundError, match="mlops gate check"):
        watch.baseline_of(other, watched.config.datasets)


def delivered(watched: Watched, rows: pd.DataFrame, name: str = "labels.csv", **changes: Any) -> labels.Joined:
    config = watched.config
    path = config.state / name
    rows.to_csv(path, index=False)
    columns = {"key_column": "instant", "label_column": "cnt"} | changes
    return labels.join(
        labels.Delivery(
            name=NAME,
            tracking_uri=config.mlflow_uri,
            root=config.measurements,
            output_root=config.predictions,
            data_root=config.datasets,
            source=Source(uri=str(path)),
            **columns,
        )
    )


def test_labels_that_come_later_say_how_well_each_batch_was_answered(watched: Watched, judged: Watched) -> None:
    watched = watched._replace(config=watched.config.model_copy(update={"tracking_uri": judged.config.mlflow_uri}))
    rows = new_rows()
    for day in (1, 2, 3):
        watch.watch(scored(watched, rows.tail(401 - day), day))
    good = delivered(watched, rows.head(300).assign(cnt=lambda known: known["cnt"].astype(str)))
    assert (good.new, good.repeated, good.corrected, good.unknown) == (300, 0, 0, 0)
    metrics = {line.name: line for line in good.batches[0].lines}
    assert good.batches[0].lines[0].name == "root_mean_squared_error"
    assert metrics["r2"].now is not None
    assert metrics["r2"].now > 0.99
    assert not any(line.beyond for each in good.batches for line in each.lines)
    drift, performance = store.history(watched.config.measurements, NAME, RULES)
    estimate = next(each for each in drift[0].lines if each.part == "estimate" and each.measure == "loss")
    assert estimate.now == pytest.approx(good.batches[0].lines[0].now, rel=0.2)
    assert {each.verdict for each in trust.statements(drift, performance, RULES).values()} == {"confirmed"}

    more = rows.assign(cnt=rows["cnt"] + 300)
    odd = pd.DataFrame({"instant": ["nobody", "h1500", "h1500", ""], "cnt": [1.0, 2.0, 3.0, 4.0]})
    with pytest.raises(DataError, match="each scored key in 'instant' comes with different labels"):
        delivered(watched, odd.iloc[1:])
    bad = delivered(watched, pd.concat([more.tail(399), odd, more.tail(1)])[["instant", "cnt"]])
    assert (bad.new, bad.corrected, bad.repeated) == (100 + 1, 299, 1)
    assert (bad.contradictory, bad.unusable, bad.unknown) == (2, 1, 1)
    assert [len(each.beyond) for each in bad.batches] == [1, 1, 1]
    (alert,) = store.alerts(watched.config.measurements, NAME, RULES)
    assert (alert.kind, alert.causes[0].name) == ("performance", "root_mean_squared_error")
    drift, performance = store.history(watched.config.measurements, NAME, RULES)
    assert {each.verdict for each in trust.statements(drift, performance, RULES).values()} == {"do not trust"}

    again = delivered(watched, more.tail(399)[["instant", "cnt"]])
    assert (again.new, again.corrected, again.repeated) == (0, 0, 399)
    assert len([*watched.config.measurements.glob(f"{NAME}/labels/*")]) == 2, "each delivery that says something new"
    assert "h1501" not in str(tree(watched.config.measurements)), "keys are kept as digests"


def test_slices_are_made_of_columns_that_come_with_the_labels(watched: Watched, judged: Watched) -> None:
    watched = watched._replace(config=watched.config.model_copy(update={"tracking_uri": judged.config.mlflow_uri}))
    rows = new_rows()
    watch.watch(scored(watched, rows))
    south = np.arange(len(rows)) % 3 == 0
    table = rows.assign(cnt=rows["cnt"] + 200 * south, shop=np.where(south, "south", "north"), size=range(len(rows)))
    with pytest.raises(DataError, match="too many to make slices"):
        delivered(watched, table, slice_columns=("instant",))
    assert not [*watched.config.measurements.glob(f"{NAME}/labels/*")]
    for _ in range(2):
        (batch,) = delivered(watched, table, slice_columns=("shop", "size")).batches
    assert len([*watched.config.measurements.glob(f"{NAME}/slices/*")]) == 1
    assert [each.name for each in findings.worse_slices(batch.lines)][:1] == ["shop = south"]
    found = {each.name: each.rows for each in batch.lines if each.part == "slice"}
    assert (found["shop = south"], found["shop = north"]) == (134, 266)
    assert sum("size" in name for name in found) == 4
    odd = table.assign(key=table["shop"], truth="", target=table["shop"]).head(200)
    (batch,) = delivered(watched, odd, slice_columns=("key", "truth", "target")).batches
    found = {each.name: each.rows for each in batch.lines if each.part == "slice"}
    assert (found["key = south"], found["target = north"]) == (67, 133), "whatever a column is called"
    for city in (table.assign(city=range(400)), table.tail(200).assign(city="none")):
        (batch,) = delivered(watched, city, slice_columns=("city",)).batches
    assert not [each for each in batch.lines if each.name.startswith("city")], (
        "of a column that came to have too many values"
    )
    (again,) = delivered(watched, rows.head(100)[["instant", "cnt"]]).batches
    assert {each.name for each in again.lines if each.part == "slice"} >= {"shop = south", "shop = north"}


def test_labels_that_come_at_once_are_all_measured(watched: Watched, judged: Watched) -> None:
    watched = watched._replace(config=watched.config.model_copy(update={"tracking_uri": judged.config.mlflow_uri}))
    rows = new_rows(90)
    watch.watch(scored(watched, rows))
    parts = [(rows.iloc[part::6][["instant", "cnt"]], f"labels-{part}.csv") for part in range(6)]
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(lambda part: delivered(watched, *part), parts))
    (last,) = store.every(watched.config.measurements, NAME, "performance")
    assert last.lines[0].rows == 90


def test_labels_of_classes_that_the_model_does_not_know_are_told_and_not_measured(
    watched: Watched, judged: Watched
) -> None:
    table = {"problem": "tabular-classification", "target": "busy", "columns": {"cnt": "drop"}}
    of_classes = made(judged.config, "busy", "logistic_regression", **table)
    watched = Watched(watched.config.model_copy(update={"tracking_uri": judged.config.mlflow_uri}), of_classes.model)
    rows = new_rows(90)
    watch.watch(scored(watched, rows))
    before = tree(watched.config.measurements)
    with pytest.raises(DataError, match=r"not one label in 'shop' is a class of dev.ml.bikes \(no, yes\), but 'a'"):
        delivered(watched, rows.assign(shop="a"), label_column="shop")
    assert tree(watched.config.measurements) == before
    mistyped = ["refund", "refund", "Yes", *rows["busy"].iloc[3:]]
    joined = delivered(watched, rows.assign(busy=mistyped), label_column="busy")
    assert joined.other_classes == {"refund": 2, "Yes": 1}
    assert {line.rows for line in joined.batches[0].lines if line.part == "performance"} == {87}
    assert not any(line.beyond for line in joined.batches[0].lines)


def test_labels_that_join_nothing_are_an_error_and_nothing_is_kept(watched: Watched) -> None:
    with pytest.raises(ConfigError, match="--key-column"):
        delivered(watched, new_rows(40))
    watch.watch(scored(watched, new_rows(60)))
    before = tree(watched.config.measurements)
    with pytest.raises(DataError, match="none of 40 keys in 'season'"):
        delivered(watched, new_rows(40), key_column="season")
    with pytest.raises(DataError, match="not one of 40 rows has a key and a usable label in 'shop'"):
        delivered(watched, new_rows(40).assign(shop="north"), label_column="shop")
    with pytest.raises(ConfigError, match="both the key and the label"):
        delivered(watched, new_rows(40), label_column="instant")
    assert tree(watched.config.measurements) == before


def test_commands_show_check_and_silence(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(watched.config.state))
    monkeypatch.chdir(tmp_path)
    options = ["--model-name", "bikes", "--env", "dev"]

    def asked(*words: str) -> tuple[int, str]:
        answer = CliRunner().invoke(app, ["monitor", *words, *options])
        return getattr(answer.exception, "exit_code", answer.exit_code), answer.output + str(answer.exception)

    assert asked("check")[0] == 2
    rows = new_rows()
    for day in (1, 2, 3):
        watch.watch(scored(watched, rows.tail(401 - day).assign(season="summer"), day))
    code, said = asked("check")
    assert f"{rows['instant'].iloc[-398]} (row 1) of 2026-11-03" in said
    assert (code, "season: psi" in said, "mlops monitor ack --model-name bikes --env dev" in said) == (8, True, True)
    assert "mlops rollback --model-name bikes --env dev --reason 'drift since" in said
    for previous, is_advised in ((0, False), (1, True)):
        stood = Probation(model=NAME, state="none", version=2, previous=previous)
        store.write_json(watched.config.measurements / NAME / probation.FILE, stood.model_dump(mode="json"))
        assert ("mlops rollback" in asked("check")[1]) == is_advised
    assert asked("ack", "--reason", " ")[0] == 2
    assert asked("ack", "--reason", "new shops", "--alert", "no such")[0] == 2
    assert asked("ack", "--reason", "new shops")[0] == 0
    code, said = asked("check")
    assert (code, "new shops" in said) == (0, True)
    shown = json.loads(CliRunner().invoke(app, ["monitor", "show", *options, "--json"]).stdout)
    assert len(shown["drift"]) == 3
    assert "2026-11-03" in asked("show")[1]
    labels_of = rows.tail(40).rename(columns={"instant": "Stunde"})[["Stunde", "cnt"]]
    labels_of.to_csv("labels.csv", sep=";", index=False, encoding="utf-16")
    words = ("labels", "--input", "labels.csv", "--key-column", "Stunde", "--label-column", "count")
    code, said = asked(*words, "--encoding", "utf-16", "--delimiter", ";")
    assert (code, "no column 'count'; there are 'Stunde', 'cnt'" in said) == (3, True)
    assert asked("report")[0] == 0
    page = (watched.config.state / "reports" / f"monitoring-{NAME}.html").read_text(encoding="utf-8")
    assert "season is distributed otherwise" in page
    assert page.count('class="timeline"') > 1
    assert "http" not in page.replace("http-equiv", "")


def line(**changes: object) -> Line:
    usual = {"part": "input", "name": "age", "measure": "psi", "value": 1.0, "limit": 0.1, "rows": 100, "beyond": True}
    return Line(**(usual | changes))


def stream(bad: Sequence[bool], version: int = 1) -> list[Measured]:
    """Batches of consecutive days, some of them beyond the limit in one thing."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Measured(
            model=NAME,
            version=version,
            batch=f"b{day}",
            day=(start + timedelta(days=day)).date(),
            at=start,
            baseline="",
            rows_in=100,
            scored=100,
            lines=(line(beyond=is_bad),),
        )
        for day, is_bad in enumerate(bad)
    ]


def test_of_a_batch_without_rows_nothing_is_said() -> None:
    fine, bad = stream([False, True])
    assert (fine.told, fine.model_copy(update={"rows_in": 0}).told) == ("as when it was judged", "it has no rows")
    assert bad.told.startswith("beyond the limits: ")


@given(st.lists(st.booleans(), max_size=25), st.randoms(), st.integers(1, 4), st.integers(0, 3))
def test_alerts_follow_from_the_batches_in_whatever_order_they_were_measured(
    bad: list[bool], order: "st.DataObject", least: int, cool_down: int
) -> None:
    rules = MonitoringRules(window=4, least=least, cool_down=cool_down)
    measured = stream(bad)
    found = findings.alerts(measured, "drift", rules)
    order.shuffle(measured)  # type: ignore[attr-defined]
    assert findings.alerts(measured, "drift", rules) == found
    windows = [sum(bad[max(0, end - 4) : end]) >= least for end in range(1, len(bad) + 1)]
    assert bool(found) == any(windows)
    assert (found[-1].is_open if found else False) == (windows[-1] if windows else False)
    assert len({alert.id for alert in found}) == len(found)


def test_an_alert_that_is_soon_back_is_the_same_and_a_new_version_starts_anew() -> None:
    bad, good = [True] * 3, [False] * 6
    rules = MonitoringRules(window=3, least=3, cool_down=2)
    assert len(findings.alerts(stream([*bad, False, *bad]), "drift", rules)) == 2
    assert len(findings.alerts(stream([*bad, False, *bad]), "drift", MonitoringRules(window=3, cool_down=5))) == 1
    assert len(findings.alerts(stream([*bad, *good, *bad]), "drift", rules)) == 2
    assert len(findings.alerts(stream(bad), "drift", MonitoringRules(window=3, warm_up=1))) == 0
    assert findings.alerts(stream([True, True]) + stream([True], version=2), "drift", rules) == []


@given(st.lists(st.integers(0, 40), min_size=200, max_size=400), st.randoms())
def test_a_shuffled_copy_of_the_baseline_is_no_drift(values: list[int], order: "st.DataObject") -> None:
    for kind in (float, str):
        before = Distribution.of(Seen("input", "x", pd.Series([kind(value) for value in values])))
        order.shuffle(values)  # type: ignore[attr-defined]
        now = before.counted(pd.Series([kind(value) for value in values]))
        assert not any(line.beyond for line in compared([(before, now)], RULES))


def test_of_each_kind_of_column_what_can_be_counted_is() -> None:
    texts = pd.Series(["profit rose", "profit fell", None])
    known = {"text": distributions.vocabulary(["profit rose", "profit fell", "profit rose again"])}
    seen = {each.name: each.values for each in distributions.of_inputs(texts.to_frame("text"), TEXT_COLUMNS, known)}
    assert seen["length of text"].tolist()[:2] == [11, 11]
    assert seen["unseen words of text"].tolist()[:2] == [0, 0.5]
    assert seen["word length of text"].tolist()[:2] == [5, 5]
    assert seen["repeated words of text"].tolist()[:2] == [0, 0]
    assert all(values.isna().sum() == 1 for values in seen.values())
    levels = pd.Series(["a"] * 30 + ["b"] * 10 + ["somebody"] + [None])
    found = Distribution.of(Seen("input", "x", levels))
    assert (found.levels, found.counts, found.missing) == (("a", "b"), (30, 10, 1), 1), "a rare level has no name"
    assert found.counted(pd.Series(["b", "new"])).counts == (0, 1, 1)
    few = Distribution.of(Seen("input", "x", pd.Series(np.arange(50.0))))
    assert few.reach == pytest.approx((1.96, 47.04))
    assert (few.beyond, few.counted(pd.Series([-9.0, 5.0, 99.0])).beyond) == (4, 2), (
        "of few rows, all but the outermost"
    )
    constant = Distribution.of(Seen("input", "x", pd.Series(np.full(100, 7.0))))
    assert constant.counted(pd.Series([6.0, 7.0, 8.0])).counts == (1, 1, 1)


READ_WRONGLY = {
    "another encoding": lambda texts: texts.map(lambda text: text.encode().decode("latin-1")),
    "no blanks": lambda texts: texts.str.replace(" ", "_"),
    "the same again and again": lambda texts: texts.str.split().map(lambda words: " ".join(words[:1] * len(words))),
}


@pytest.mark.parametrize(
    ("how", "what"),
    zip(READ_WRONGLY, ("characters beyond ASCII", "word length", "repeated words"), strict=True),
)
def test_how_texts_are_written_is_compared_whatever_their_language(how: str, what: str) -> None:
    """No vocabulary is needed, and the length says nothing: the baseline is all that a version knows of its texts."""
    rng, words = np.random.default_rng(0), ["hinta", "nousi", "yhtiö", "päivä", "ja", "liikevaihto", "euroa", "myös"]

    def beyond(change: Any) -> set[str]:
        texts = pd.DataFrame({"text": [" ".join(rng.choice(words, 8)) for _ in range(300)]})
        now = {each.name: each.values for each in distributions.of_inputs(change(texts), TEXT_COLUMNS, {})}
        pairs = [(each, each.counted(now[each.name])) for each in before]
        return {line.name for line in compared(pairs, RULES) if line.beyond}

    texts = pd.DataFrame({"text": [" ".join(rng.choice(words, 8)) for _ in range(1000)]})
    before = [Distribution.of(each) for each in distributions.of_inputs(texts, TEXT_COLUMNS, {})]
    assert beyond(lambda texts: texts) == set()
    assert f"{what} of text" in beyond(lambda texts: texts.assign(text=READ_WRONGLY[how](texts["text"])))


@given(st.integers(1, 9000), st.integers(1, 5000))
def test_a_sample_of_parts_is_that_of_the_whole(rows: int, size: int) -> None:
    whole = pd.DataFrame({"x": range(rows)}, index=range(1, rows + 1))
    kept = sample.of(whole.head(size))
    for start in range(size, rows, size):
        kept = sample.of(pd.concat([sample.of(whole.iloc[start : start + size]), kept]))
    assert sorted(kept.index) == sorted(sample.of(whole).index)
