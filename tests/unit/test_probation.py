"""A new champion beside the one before it: what breaks the rule, what is undone of it, and who comes first.

Promise: A new champion that breaks the rule of its probation is rolled back by itself, each batch superseded once,
killed anywhere; a person wins (also `tests/faults/test_probation_kills.py`).
"""

import json
import shutil
from itertools import count
from pathlib import Path

import deltalake
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.references import ModelRef
from lifecycle.data.source import Source
from lifecycle.erasure.erase import Places
from lifecycle.inference import batch as inference
from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded
from lifecycle.inference.manifest import MANIFEST
from lifecycle.monitoring import labels, probation, restoration, retraining, served, shadow, store
from lifecycle.monitoring.findings import Line
from lifecycle.monitoring.probation import Pair, causes
from lifecycle.monitoring.subject import Subject
from lifecycle.registry import promotion
from lifecycle.settings import Settings
from lifecycle.settings.rules import DataRules, InferenceRules, MonitoringRules, ProbationRules, RetrainingRules
from tests.conftest import tree
from tests.probation import act, hours, promoted, request_of, requests_kept, score, subject_of, trained


@pytest.fixture(scope="module")
def made(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[ModelRef]]:
    folder = tmp_path_factory.mktemp("probation")
    shutil.copy(migrated, folder / "mlflow.db")
    return trained(folder)


@pytest.fixture
def config(made: tuple[Settings, list[ModelRef]], tmp_path: Path) -> Settings:
    """The settings of a place where nothing is published or measured, with the registry of all tests here."""
    shared = {"data_root": made[0].datasets, "tracking_uri": made[0].mlflow_uri}
    return made[0].model_copy(update={"home": tmp_path, **shared})


@pytest.fixture
def subject(made: tuple[Settings, list[ModelRef]], config: Settings) -> Subject:
    """v2 is champion of a name of its own, after v1."""
    return promoted(config, made[1], f"bikes{next(NUMBERS)}")


NUMBERS = count()


def line(part: str = "input", name: str = "temp", *, beyond: bool = True, **changes: float) -> Line:
    return Line(part=part, name=name, measure="psi", value=1, limit=0.1, rows=100, beyond=beyond, **changes)


LINES = st.lists(
    st.builds(line, name=st.sampled_from("abc"), beyond=st.booleans()), max_size=4, unique_by=lambda x: x.name
)
PAIRS = st.lists(st.builds(lambda new, former: Pair(tuple(new), tuple(former)), LINES, LINES), max_size=6)


@given(PAIRS, st.integers(1, 3), st.randoms())
def test_only_what_the_new_champion_alone_has_breaks_the_rule(
    pairs: list[Pair], least: int, order: "st.DataObject"
) -> None:
    found = {cause.name: cause.batches for cause in causes(pairs, least)}
    alone = [
        {each.name for each in pair.new if each.beyond} - {each.name for each in pair.former if each.beyond}
        for pair in pairs
    ]
    counts = {name: sum(name in each for each in alone) for name in "abc"}
    assert found == {name: count for name, count in counts.items() if count >= least}
    assert causes([Pair(pair.former, pair.former) for pair in pairs], least) == ()
    order.shuffle(pairs)  # type: ignore[attr-defined]
    assert {cause.name: cause.batches for cause in causes(pairs, least)} == found


def test_of_two_metrics_that_fell_the_clearly_lower_one_breaks_the_rule() -> None:
    def fell(low: float, high: float) -> Line:
        return line("performance", "f1", before=0.9, now=(low + high) / 2, low=low, high=high)

    assert causes([Pair((fell(0.3, 0.4),), (fell(0.6, 0.7),))], 1)
    assert not causes([Pair((fell(0.55, 0.65),), (fell(0.6, 0.7),))], 1)
    assert not causes([Pair((fell(0.6, 0.7),), (fell(0.3, 0.4),))], 1)
    rose = [line("performance", "rmse", before=1.0, now=n, low=n - 1, high=n + 1) for n in (9.0, 4.0)]
    assert causes([Pair((rose[0],), (rose[1],))], 1)
    assert not causes([Pair((rose[1],), (rose[0],))], 1)


def test_a_champion_like_the_one_before_passes_and_the_shadow_stays_apart(config: Settings, subject: Subject) -> None:
    assert shadow.stands(subject).told.startswith("v2 is on probation: 0 of 4 batches")
    for day in range(1, 6):
        score(subject, request_of(config, subject, day, broken=False))
        assert act(subject) == []
    found = shadow.stands(subject)
    assert (found.state, found.batches) == ("passed", 4)
    assert probation.read(config.measurements, subject.name) == found
    assert len([*config.shadows.glob(f"{subject.name}/1/*/{MANIFEST}")]) == 4, "the fifth is not scored twice"
    assert {path.parent.parent.name for path in config.predictions.rglob(MANIFEST)} == {"2"}
    table = deltalake.DeltaTable(str(config.state / "table")).to_pandas()
    assert set(table["model_version"]) == {2}
    assert not [*config.measurements.rglob("inputs/*.json")], "no inputs are left"
    assert Places.of([config]).predictions == (config.predictions, config.shadows), "an erasure reaches it"
    shadow.forget(subject, found)
    assert [*config.shadows.rglob(MANIFEST)], "labels may still come"
    shadow.forget(subject, found.model_copy(update={"until": found.since}))
    assert not [*config.shadows.glob(f"{subject.name}/*")]


def test_a_champion_that_breaks_the_rule_is_rolled_back_and_every_row_scored_once_more(
    config: Settings, subject: Subject
) -> None:
    score(subject, request_of(config, subject, 1, broken=False))
    score(subject, request_of(config, subject, 2, broken=True))
    assert (act(subject), shadow.stands(subject).batches) == ([], 2)
    late = request_of(config, subject, 4, broken=True)  # pinned to v2 and recorded, but slow
    shadow.record(subject, late)
    score(subject, request_of(config, subject, 3, broken=True))
    (config.state / "day-3.csv").unlink()  # the shadow has scored it, so nobody needs it

    (restored,) = act(subject)
    assert (restored.outcome, restored.replaced, restored.lost) == ("rolled back", 3, ())
    assert "meter: psi" in restored.decision.reason
    now = promotion.read_log(subject.target)
    assert (now.champion, now.changes[-1].kind, now.line) == (1, "rollback", (1,))
    assert shadow.stands(subject).told.startswith("v2 was rolled back by itself to v1: meter")
    assert once_each(config, subject) == {1: 200, 2: 200, 3: 200}

    inference.infer(late)
    (again,) = act(subject)
    assert (again.replaced, once_each(config, subject)) == (4, {1: 200, 2: 200, 3: 200, 4: 200})
    before = tree(config.state)
    assert act(subject) == []
    assert tree(config.predictions) == {k.removeprefix("predictions/"): v for k, v in before.items() if k.startswith("predictions/")}  # fmt: skip  # noqa: E501
    asked = request_of(config, subject, 5, broken=True)
    assert asked.model.version == 1
    score(subject, asked)
    assert once_each(config, subject)[5] == 200


def once_each(config: Settings, subject: Subject) -> dict[int, int]:
    """Rows that count by day, all of v1 and each once, in the folders as in the table; those of v2 are marked."""
    found = {}
    for path in config.predictions.glob(f"{subject.name}/*/*/{MANIFEST}"):
        manifest = batches.verify(path.parent)
        assert superseded.is_marked(path.parent) == (manifest.model_version == 2)
        if manifest.model_version == 1:
            assert manifest.logical_date is not None
            assert found.setdefault(manifest.logical_date.day, manifest.scored) == manifest.scored
            assert len(batches.of_day(config.predictions, subject.name, manifest.logical_date)) == 1
    table = deltalake.DeltaTable(str(config.state / "table")).to_pandas()
    assert set(table["model_version"]) == {1}
    assert not table.duplicated(["logical_date", "row"]).any()
    assert table.groupby(table["logical_date"].map(lambda day: day.day)).size().to_dict() == found
    return found


def test_labels_of_the_first_batches_decide_where_nothing_has_drifted(config: Settings, subject: Subject) -> None:
    for day in (1, 2):
        score(subject, request_of(config, subject, day, broken=False))
    truths = pd.concat([hours(200, day) for day in (1, 2)])
    truths = truths.assign(cnt=10 * truths["temp"])  # as v1 says; the meter that v2 believes counts others' bikes too
    delivered(config, subject, truths[["instant", "cnt"]], "instant")
    (restored,) = act(subject)
    assert [cause.part for cause in restored.decision.probation.causes] == ["performance"]
    assert once_each(config, subject) == {1: 200, 2: 200}


def test_an_estimate_that_is_not_doubted_breaks_the_rule(config: Settings, subject: Subject) -> None:
    for day in (1, 2):
        score(subject, request_of(config, subject, day, broken=False))
    for batch in store.every(subject.root, subject.name, "drift"):
        fell = [
            each.model_copy(update={"value": 0.3, "beyond": True})
            if (each.part, each.name, each.measure) == ("estimate", "root_mean_squared_error", "loss")
            else each
            for each in batch.lines
        ]
        doubted = line(name="temp").model_copy(update={"measure": "outside", "before": 0.0, "now": 0.4})
        store.keep(subject.root, "drift", batch.model_copy(update={"lines": (*fell, doubted)}))
        found = shadow.stands(subject)
        assert {cause.part for cause in found.causes} <= {"input"}, "what is unlike the baseline is not estimated"
        store.keep(subject.root, "drift", batch.model_copy(update={"lines": tuple(fell)}))
    (restored,) = act(subject)
    (cause,) = restored.decision.probation.causes
    assert (cause.part, cause.told) == (
        "estimate",
        "root_mean_squared_error: estimated loss 0.3 (limit 0.05) in 2 batches",
    )
    assert once_each(config, subject) == {1: 200, 2: 200}


def delivered(config: Settings, subject: Subject, table: pd.DataFrame, key: str) -> labels.Joined:
    table.to_csv(config.state / "labels.csv", index=False)
    return labels.join(
        labels.Delivery(
            name=subject.name,
            tracking_uri=config.mlflow_uri,
            root=config.measurements,
            output_root=config.predictions,
            data_root=config.datasets,
            source=Source(uri=str(config.state / "labels.csv")),
            key_column=key,
            label_column="cnt",
        )
    )


def test_requests_have_labels_and_a_shadow_as_batches_have(config: Settings, subject: Subject) -> None:
    found = served.requests_of(subject, str(requests_kept(config)), "instant")
    assert found is not None
    served.measure(found)
    now = shadow.stands(subject)
    given = DataRules(), InferenceRules(workers=1)
    names = ["served-2025-11-01", "served-2025-11-02"]
    asked = shadow.windows(subject, now, *given)
    assert [each.window for each in asked] == names
    inference.infer(asked[0])
    shadow.compare(subject, asked[0])
    asked = shadow.windows(subject, shadow.stands(subject), *given)
    assert [each.window for each in asked] == names[1:], "who was killed goes on"
    inference.infer(asked[0])
    shadow.compare(subject, asked[0])
    assert shadow.windows(subject, shadow.stands(subject), *given) == []
    assert not [*config.measurements.rglob("*.jsonl")], "no inputs are left"

    truths = hours(100, 1)
    by_key = delivered(config, subject, truths[["instant", "cnt"]], "instant")
    assert (by_key.new, by_key.unknown, [each.batch for each in by_key.batches]) == (100, 50, names[:1])
    truths = truths.assign(request=[f"1/{number}" for number in range(100)])
    by_name = delivered(config, subject, truths[["request", "cnt"]], "request")
    (day,) = by_name.batches
    assert (by_name.unknown, day.lines[0].rows, day.lines[0].beyond) == (50, 100, True)
    first, *_ = labels.worst_rows(config.measurements, config.predictions, [day])
    assert float(first.answer) == 0.0

    (restored,) = act(subject)
    assert (restored.outcome, restored.replaced, restored.lost) == ("rolled back", 0, ())
    assert {cause.name for cause in restored.decision.probation.causes} >= {"meter"}
    assert promotion.read_log(subject.target).champion == 1


def test_whatever_a_person_does_meanwhile_wins(config: Settings, subject: Subject) -> None:
    for day in (1, 2):
        score(subject, request_of(config, subject, day, broken=True))
    found = shadow.stands(subject)
    decision = restoration.decide(subject, found)
    stated = restoration.intent(subject, decision)
    assert stated is not None
    back = promotion.intend_rollback(subject.target, None, "by hand")
    assert isinstance(back, promotion.Intent)
    promotion.promote(back)
    assert restoration.roll_back(subject, decision) is None
    with pytest.raises(promotion.errors.LostRaceError):
        promotion.promote(stated)
    promotion.report(subject.target)
    v2 = promotion.reference(subject.target, 2)
    champion = promotion.champion(subject.target)
    promotion.promote(promotion.intend(subject.target, v2, champion, reason="I know what I do"))
    (restored,) = act(subject)
    assert restored.outcome == "overtaken"
    assert promotion.read_log(subject.target).champion == 2
    assert not [*config.predictions.rglob(superseded.FILE)]
    assert shadow.stands(subject).batches == 0, "a new promotion is a new probation"
    assert act(subject) == []


def test_a_batch_that_cannot_be_scored_again_counts_no_more_and_is_named(config: Settings, subject: Subject) -> None:
    for day in (1, 2):
        score(subject, request_of(config, subject, day, broken=True))
    shutil.rmtree(config.shadows)
    (config.state / "day-1.csv").write_text("another,table\n1,2\n")
    (restored,) = act(subject)
    assert (restored.replaced, len(restored.lost)) == (1, 1)
    assert json.loads((Path(restored.lost[0]) / superseded.FILE).read_text())["instead"] is None


def test_without_a_champion_before_or_by_the_settings_there_is_no_probation(
    made: tuple[Settings, list[ModelRef]], config: Settings, subject: Subject
) -> None:
    off = MonitoringRules(probation=ProbationRules(batches=0))
    assert shadow.stands(subject_of(config, subject.target, off)).told == "no probation: the settings want none"
    short = MonitoringRules(probation=ProbationRules(days=1e-9))
    assert shadow.stands(subject_of(config, subject.target, short)).state == "passed"
    back = promotion.intend_rollback(subject.target, None, "by hand")
    assert isinstance(back, promotion.Intent)
    promotion.promote(back)
    assert shadow.stands(subject).told == "no probation: v1 is champion by a rollback"
    nobody = subject_of(config, subject.target.named("dev.ml.nobody"))
    assert shadow.stands(nobody).told == "no probation: there is no champion"
    assert shadow.stands(promoted(config, made[1][:1], "first")).told == "no probation: there was no champion before v1"


def test_events_start_no_more_trainings_than_the_budget_allows(tmp_path: Path) -> None:
    rules = RetrainingRules(budget=2, days=30, cool_down_hours=0)
    assert [retraining.refusal(tmp_path, "m", run, rules) for run in ("a", "b", "a")] == ["", "", ""]
    assert retraining.refusal(tmp_path, "m", "c", rules).startswith("budget: 2 retrainings in 30 days")
    assert retraining.refusal(tmp_path, "m", "c", RetrainingRules(budget=9)).startswith("cool-down")
    assert retraining.refusal(tmp_path, "m", "a", RetrainingRules(budget=0)) == "", "a run that is repeated goes on"
    assert retraining.refusal(tmp_path, "other", "c", rules) == ""


def test_what_a_wrong_clock_has_dated_years_ahead_holds_nothing_up_until_then(tmp_path: Path) -> None:
    ahead = json.dumps({"at": "2099-01-01T00:00:00+00:00"})
    for folder in ("retrainings", "told"):
        (tmp_path / "m" / folder).mkdir(parents=True)
        (tmp_path / "m" / folder / "a.json").write_text(ahead)
    assert retraining.refusal(tmp_path, "m", "b", RetrainingRules(budget=1)) == ""
    assert retraining.refusal(tmp_path, "m", "c", RetrainingRules(budget=1)).startswith("cool-down")
    assert store._told_lately(tmp_path, "m") == 0
