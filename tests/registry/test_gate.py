"""The gate on real models: what it accepts, what it refuses and why, and that whatever it cannot judge it refuses.

Promise: The gate refuses whatever it cannot establish, and each planted bad challenger for its fault (also
`tests/unit/test_selftest.py`).
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from lifecycle.core.errors import IntegrityError, TransientError
from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.judge import JudgeRequest, judge
from lifecycle.gate.proof import replay
from lifecycle.gate.verdict import REPLAY, Check, Verdict
from lifecycle.settings.gate_rules import GateRules
from lifecycle.tracking.artifacts import download
from lifecycle.tracking.client import client
from tests.conftest import write_news
from tests.registry.conftest import State

RULES = GateRules(min_rows=30, resamples=300, reuse="count")
"""The models of this module are judged on the same rows again and again."""


class Court:
    """A state directory in which models are judged, and the evidence that spares a second fresh process."""

    def __init__(self, state: State, folder: Path) -> None:
        self.state, self.folder = state, folder
        self.evidence = folder / "evidence"

    def judge(
        self, challenger: ModelRef, champion: ModelRef | None, data_name: str = "news", **changes: object
    ) -> Verdict:
        rules = GateRules.model_validate(RULES.model_dump() | changes)
        config = self.state.config
        request = JudgeRequest(
            env=config.env,
            challenger=challenger,
            champion=champion,
            data_root=config.datasets,
            data_name=data_name,
            data_version="1.0.0",
            rules=rules,
            evidence_root=self.evidence,
        )
        return judge(request)

    def evaluation(self, model: ModelRef, data_name: str = "news") -> EvaluateRequest:
        return evaluation.request_for(model, self.state.config.datasets, data_name, "1.0.0")

    def stored(self, model: ModelRef) -> pd.DataFrame:
        return evaluation.stored(self.evaluation(model))

    def keys(self, data_name: str, *sides: Side) -> list[str]:
        return list(dataset.load_rows(self.state.config.datasets, data_name, "1.0.0", *sides)["key"])

    def pose(
        self, model: ModelRef, predictions: pd.DataFrame | bytes | None, trained_on: list[str] | None = None
    ) -> ModelRef:
        """The same model in another run, which holds the given predictions on `news` and keys of training texts."""
        mlflow = client(model.tracking_uri)
        experiment = mlflow.get_run(model.run_id).info.experiment_id
        posed = model.model_copy(update={"run_id": mlflow.create_run(experiment).info.run_id})
        folder = self.folder / posed.run_id
        if predictions is not None:
            path = folder / self.evaluation(posed).artifact
            path.parent.mkdir(parents=True)
            if isinstance(predictions, bytes):
                path.write_bytes(predictions)
            else:
                predictions.to_parquet(path, index=False)
        if trained_on is not None:
            (folder / "training").mkdir(parents=True)
            short = pd.Series([int(key[:16], 16) for key in trained_on], dtype="uint64", name="key")
            short.to_frame().to_parquet(folder / evaluation.TRAINED_KEYS, index=False)
        mlflow.log_artifacts(posed.run_id, str(folder)) if folder.exists() else None
        return posed


@pytest.fixture(scope="module")
def court(original: State, tmp_path_factory: pytest.TempPathFactory) -> Court:
    folder = tmp_path_factory.mktemp("court")
    return Court(original.moved(folder / "state"), folder)


def make_dataset(court: Court, texts: pd.DataFrame, data_name: str, **arguments: object) -> None:
    path = court.folder / f"{data_name}.csv"
    texts[["text", "label"]].to_csv(path, index=False)
    source = Source(uri=str(path))
    dataset.create(dataset.plan(court.state.config, source, data_name=data_name, data_version="1.0.0", **arguments))


def check_of(verdict: Verdict, name: str) -> Check:
    return next(check for check in verdict.checks if check.name == name)


def train_rows(court: Court) -> pd.DataFrame:
    return dataset.load_rows(court.state.config.datasets, "news", "1.0.0", Side.TRAIN)


def test_a_first_champion_must_be_better_than_no_model_and_load(court: Court) -> None:
    verdict = court.judge(court.state.regression, None)
    assert verdict.promote
    told = "first champion: better than any constant answer and than chance on 48 rows it has not seen"
    assert verdict.reasons == (told,)
    assert [(check.name, check.outcome) for check in verdict.checks] == [
        ("comparable rows", "pass"),
        ("gain in f1_macro over always 'negative'", "pass"),
        ("gain in f1_macro over chance", "pass"),
        ("classes never found", "pass"),
        ("slices of the rows", "pass"),
        ("loads and reproduces its predictions", "pass"),
        ("seconds to load", "pass"),
        ("milliseconds per 1,000 rows", "pass"),
    ]
    assert "48 predictions reproduced in a fresh process" in check_of(verdict, REPLAY).detail
    assert (verdict.side, verdict.rows, verdict.champion, verdict.champion_metrics) == ("holdout", 48, None, {})


def test_an_always_same_answer_is_no_first_champion(court: Court) -> None:
    rows = court.stored(court.state.regression)
    same = rows.assign(label="neutral", score=1.0)[["row", "key", "truth", "label", "score"]]
    verdict = court.judge(court.pose(court.state.regression, same, trained_on=[]), None)
    assert (verdict.decision, verdict.promote) == ("worse", False)
    assert verdict.reasons[0] == "worse than chance"


def test_a_better_challenger_is_accepted_with_the_rows_it_repairs(court: Court) -> None:
    strong, weak = court.state.regression, court.state.weak
    verdict = court.judge(strong, weak)
    assert verdict.promote
    told = f"better than the champion {weak.label}: f1_macro 1.000 instead of 0.556 on 48 rows that neither has seen"
    assert verdict.reasons == (told,)
    assert (verdict.rule, verdict.rule_reason) == ("gain", "another definition than the champion's")
    gain = check_of(verdict, "gain in f1_macro")
    assert gain.value == pytest.approx(verdict.metrics["f1_macro"].value - verdict.champion_metrics["f1_macro"].value)
    assert 0 < gain.low <= gain.value <= gain.high
    assert gain.detail.startswith("16 rows repaired, 0 broken, McNemar p = 3.1e-05")
    assert verdict.broken == ()
    assert len(verdict.repaired) == 16
    for row in verdict.repaired:
        assert row.truth == row.challenger == "negative" != row.champion


def test_metrics_are_computed_from_the_stored_rows(court: Court) -> None:
    verdict, rows = court.judge(court.state.weak, court.state.bayes), court.stored(court.state.weak)
    expected = {
        "accuracy": accuracy_score(rows["truth"], rows["label"]),
        "f1_macro": f1_score(rows["truth"], rows["label"], average="macro", zero_division=0),
    }
    assert {name: verdict.metrics[name].value for name in expected} == pytest.approx(expected)


def test_logged_metrics_persuade_nobody(court: Court) -> None:
    strong, weak = court.state.regression, court.state.weak
    before = court.judge(weak, strong)
    mlflow = client(weak.tracking_uri)
    for run, value in ((weak.run_id, 1.0), (strong.run_id, 0.0)):
        for metric in ("holdout.f1_macro", "holdout.accuracy", "f1_macro"):
            mlflow.log_metric(run, metric, value)
    assert court.judge(weak, strong) == before
    assert before.decision == "worse"


def test_below_a_floor_a_challenger_is_refused_even_as_the_first(court: Court) -> None:
    verdict = court.judge(court.state.weak, None, floors={"f1_macro": 0.9, "accuracy": 0.1})
    assert verdict.decision == "keep"
    assert verdict.reasons[0].startswith("it does not reach what the rules ask for")
    assert "floor f1_macro: 0.556 is below 0.9" in verdict.reasons
    assert [(check.name, check.outcome) for check in verdict.checks[1:3]] == [
        ("floor accuracy", "pass"),
        ("floor f1_macro", "fail"),
    ]


def test_a_floor_that_is_just_reached_is_reached(court: Court) -> None:
    assert court.judge(court.state.regression, None, floors={"f1_macro": 1.0, "accuracy": 1.0}).promote


def test_a_worse_challenger_is_refused_with_a_readable_reason(court: Court) -> None:
    verdict = court.judge(court.state.weak, court.state.regression)
    assert verdict.decision == "worse"
    assert verdict.reasons[0].startswith(
        f"worse than the champion {court.state.regression.label}: f1_macro 0.556 instead"
    )
    assert re.fullmatch(
        r"gain in f1_macro is -0\.\d{3} \[-0\.\d{3}, -0\.\d{3}\]: its interval must lie above 0 "
        r"\(0 rows repaired, 16 broken, McNemar p = 3\.1e-05, randomisation p = 1\)",
        verdict.reasons[1],
    )
    assert len(verdict.reasons) == 2
    assert len(verdict.broken) == 16
    assert verdict.repaired == ()


@pytest.mark.parametrize("min_gain", [0.0, -0.5])
@pytest.mark.parametrize("champion", ["regression", "bayes"])
def test_a_tie_keeps_the_champion(court: Court, champion: str, min_gain: float) -> None:
    verdict = court.judge(court.state.regression, getattr(court.state, champion), min_gain=min_gain)
    assert verdict.decision == ("no_better" if min_gain == 0 else "cannot_tell")
    assert "gain in f1_macro is +0.000" in verdict.reasons[1]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"min_rows": 49}, "48 comparable rows, 16 of the rarest class (at least 5); 49 rows are needed"),
        ({"min_rows_per_class": 17}, "48 comparable rows, 16 of the rarest class (at least 17)"),
    ],
)
def test_too_few_rows_are_no_ground_for_a_verdict(court: Court, rules: dict[str, int], reason: str) -> None:
    verdict = court.judge(court.state.regression, court.state.weak, **rules)
    assert (verdict.decision, len(verdict.reasons)) == ("not_enough_data", 2)
    assert re.fullmatch(
        rf"{re.escape(reason)}; to see a difference of 0\.02 in f1_macro with a power of 80% takes about [\d,]+ rows",
        verdict.reasons[1],
    )
    assert not verdict.promote


def test_rows_that_either_model_was_trained_on_do_not_count(court: Court) -> None:
    strong, weak = court.state.regression, court.state.weak
    fresh = pd.read_csv(write_news(court.folder / "fresh.csv", 81, start=1000))
    make_dataset(court, pd.concat([train_rows(court).head(60), fresh]), "mixed", test_size=0.1, holdout_size=0.5)
    for model in (strong, weak):
        evaluation.evaluate(court.evaluation(model, "mixed"))
    holdout = court.keys("mixed", Side.HOLDOUT)
    known = set(holdout) & set(court.keys("news", Side.TRAIN))
    others = [key for key in holdout if key not in known][:7]
    assert 10 < len(known) < len(holdout) - 10

    alone = court.judge(strong, None, "mixed", min_rows=1000)
    assert alone.rows == len(holdout) - len(known)
    assert f"; {len(known)} left out because the challenger was trained on them" in alone.reasons[1]

    champion = court.pose(weak, None, trained_on=others)
    artifact = court.evaluation(weak, "mixed").artifact
    path = download(weak.tracking_uri, f"runs:/{weak.run_id}/{artifact}", court.folder)
    client(weak.tracking_uri).log_artifact(champion.run_id, str(path), "evaluations")
    both = court.judge(strong, champion, "mixed", min_rows=1000)
    assert both.rows == len(holdout) - len(known) - 7
    turned = court.judge(champion, strong, "mixed", min_rows=1000)
    assert turned.rows == both.rows


def test_data_that_a_model_has_wholly_seen_judges_nothing(court: Court) -> None:
    make_dataset(court, train_rows(court), "seen", holdout=False)
    evaluation.evaluate(court.evaluation(court.state.regression, "seen"))
    verdict = court.judge(court.state.regression, None, "seen")
    assert (verdict.decision, verdict.rows, verdict.side) == ("not_enough_data", 0, "test")
    assert verdict.reasons[1].startswith("0 comparable rows, 0 of the rarest class")


UNCERTAIN = {f"probability.{name}": float("nan") for name in ("positive", "negative", "neutral")}


def other_labels(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(truth=rows["label"].replace("negative", "neutral"), label=rows["label"])


DAMAGE: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame | bytes | None], str]] = {
    "lack a row": (lambda rows: rows.iloc[1:], "covers other rows"),
    "are of other rows": (lambda rows: rows.assign(key=["0" * 64, *rows["key"][1:]]), "covers other rows"),
    "repeat a row": (lambda rows: pd.concat([rows, rows.head(1)]), "repeats a row"),
    "lack a score": (lambda rows: rows.assign(score=[float("nan"), *rows["score"][1:]]), r"score outside \[0, 1\]"),
    "hold no probability": (lambda rows: rows.assign(score=1.5), r"score outside \[0, 1\]"),
    "hold no number as probability": (lambda rows: rows.assign(**UNCERTAIN), "probabilities that do not add up to 1"),
    "lack a label": (lambda rows: rows.assign(label=[None, *rows["label"][1:]]), "empty label"),
    "hold an empty label": (lambda rows: rows.assign(label=["", *rows["label"][1:]]), "empty label"),
    "are judged by other labels": (other_labels, "evaluated against another truth"),
    "lack a column": (lambda rows: rows.drop(columns="truth"), " lacks or repeats the column truth"),
    "hold numbers as labels": (lambda rows: rows.assign(label=1), "label that is no text"),
    "hold texts as scores": (lambda rows: rows.assign(score="high"), "scores that are no numbers"),
    "hold nothing as probability": (
        lambda rows: rows.assign(**dict.fromkeys(UNCERTAIN)),
        "scores that are no numbers",
    ),
    "are not there": (lambda rows: None, "runs:/"),  # noqa: ARG005
    "are not Parquet": (lambda rows: b"PAR1 not parquet", "ArrowInvalid"),  # noqa: ARG005
}


@pytest.mark.parametrize(
    ("role", "damage"),
    [("champion", damage) for damage in DAMAGE]
    + [("challenger", damage) for damage in ("lack a row", "repeat a row", "lack a score", "are not there")],
)
def test_a_model_whose_stored_predictions_are_damaged_wins_nothing_and_loses_nothing(
    court: Court, role: str, damage: str
) -> None:
    change, words = DAMAGE[damage]
    models = {"challenger": court.state.regression, "champion": court.state.weak}
    keys = court.keys("news", Side.TRAIN)
    models[role] = court.pose(models[role], change(court.stored(models[role])), trained_on=keys)
    verdict = court.judge(**models)
    assert verdict.decision == "keep"
    assert re.search(rf"could not be judged: .*{words}", verdict.reasons[0])


def test_undamaged_predictions_in_another_run_are_judged(court: Court) -> None:
    """What the cases above rest on: without their damage the same models are judged and the challenger wins."""
    champion = court.pose(court.state.weak, court.stored(court.state.weak), trained_on=[])
    assert court.judge(court.state.regression, champion).promote


OWN = "tests.registry.own_metrics"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (
            {"own_metrics": {"ours": f"{OWN}:raises"}, "floors": {"ours": 0.1}},
            "ours: cannot be measured: .*raises.*no such",
        ),
        ({"own_metrics": {"ours": f"{OWN}:nan"}, "floors": {"ours": -1.0}}, "ours: cannot be measured"),
        ({"own_metrics": {"ours": f"{OWN}:word"}, "metric": "ours"}, "gain in ours: cannot be measured"),
        ({"own_metrics": {"ours": f"{OWN}:absent"}, "metric": "ours"}, "absent"),
        ({"own_metrics": {"ours": "no.such.module:at_all"}, "metric": "ours"}, "no.such|No module"),
        ({"floors": {"recall.sarcastic": 0.1}}, "recall.sarcastic: cannot be measured"),
        ({"slices": {"by": ("source_desk",)}}, "no column source_desk to make slices of"),
        ({"behaviour": ("unwritten",)}, "unwritten"),
    ],
)
def test_a_rule_that_cannot_be_asked_refuses(court: Court, rules: dict[str, object], words: str) -> None:
    verdict = court.judge(court.state.regression, court.state.weak, **rules)
    assert verdict.decision == "keep"
    assert re.search(words, "; ".join(verdict.reasons))


@pytest.mark.parametrize(
    "rules", [{"floors": {"roc_auc": 0.1}}, {"ceilings": {"log_loss": 9.0}}, {"metric": "average_precision"}]
)
def test_without_probabilities_a_rule_about_them_refuses(court: Court, rules: dict[str, object]) -> None:
    regression = court.state.regression
    bare = court.stored(regression)[["row", "key", "truth", "label", "score"]]
    posed = court.pose(regression, bare, trained_on=[])
    verdict = court.judge(posed, court.state.weak, **rules)
    assert verdict.decision == "keep"
    assert "cannot be measured" in verdict.reasons[1]
    assert court.judge(regression, court.state.weak, **rules).promote


def test_one_s_own_metric_decides(court: Court) -> None:
    """Share of rows that are called negative: of that the better model has more."""
    rules = {"own_metrics": {"ours": f"{OWN}:negatives"}, "metric": "ours"}
    verdict = court.judge(court.state.regression, court.state.weak, **rules)
    assert verdict.promote
    assert verdict.gains["ours"].value == pytest.approx(1 / 3)
    less = court.judge(
        court.state.regression, court.state.weak, own_metrics={"ours": f"-{OWN}:negatives"}, metric="ours"
    )
    assert less.decision == "worse"
    assert less.gains["ours"].value == pytest.approx(-1 / 3)


def test_what_mistakes_cost_may_forbid_what_accuracy_allows(court: Court) -> None:
    matrix = {"negative": {"negative": 50.0}}
    verdict = court.judge(court.state.regression, court.state.weak, costs={"matrix": matrix}, ceilings={"cost": 1.0})
    assert verdict.decision == "keep"
    assert verdict.metrics["cost"].value == pytest.approx(1000 * 50 / 3)
    assert verdict.gains["cost"].value == pytest.approx(-1000 * 50 / 3)
    assert "ceiling cost: 16,667 is above 1" in verdict.reasons


def test_a_dry_run_lets_pass_what_is_refused_but_not_what_does_not_run(court: Court) -> None:
    strong, weak = court.state.regression, court.state.weak
    verdict = court.judge(weak, strong, mode="dry_run")
    assert (verdict.decision, verdict.mode, verdict.promote) == ("worse", "dry_run", True)
    assert verdict.reasons[0] == "DRY RUN, nothing is protected"
    rows = court.stored(weak)
    other = court.pose(weak, rows.assign(label="neutral"), trained_on=[])
    assert not court.judge(other, strong, mode="dry_run").promote
    unreadable = court.pose(weak, None, trained_on=[])
    assert not court.judge(unreadable, strong, mode="dry_run").promote


@pytest.mark.parametrize("role", ["challenger", "champion"])
def test_a_model_that_hides_what_it_was_trained_on_is_not_judged(court: Court, role: str) -> None:
    models = {"challenger": court.state.regression, "champion": court.state.weak}
    models[role] = court.pose(models[role], court.stored(models[role]), trained_on=None)
    verdict = court.judge(**models)
    assert verdict.decision == "keep"
    assert "nobody said which rows" in verdict.reasons[0]


def test_without_readable_data_nothing_is_promoted(court: Court, state: State) -> None:
    assert (
        "could not be judged: Dataset 'unknown' has no version"
        in court.judge(court.state.regression, None, "unknown").reasons[0]
    )
    other = Court(state, court.folder)
    with (state.config.datasets / "news" / "1.0.0" / "split.parquet").open("ab") as file:
        file.write(b"\0")
    verdict = other.judge(state.regression, None)
    assert (verdict.decision, verdict.reasons[0].startswith("could not be judged: ")) == ("keep", True)


@pytest.mark.parametrize("proven", [False, True])
def test_a_model_whose_files_were_tampered_with_is_refused(
    court: Court, state: State, tmp_path: Path, proven: bool
) -> None:
    """Also where the model reproduced its predictions before somebody changed its files."""
    tampered = Court(state, tmp_path)
    if proven:
        court.judge(court.state.regression, None)
        tampered.evidence = court.evidence
    with (state.folder(state.regression) / "artifacts" / "pipeline.skops").open("ab") as file:
        file.write(b"\0")
    verdict = tampered.judge(state.regression, None)
    assert verdict.decision == "keep"
    assert verdict.reasons[0] == "its stored files do not repeat its predictions"
    assert "the files digest to" in verdict.reasons[1]
    assert not (tmp_path / "evidence").exists()


def test_what_waiting_may_cure_is_raised_instead_of_refused(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    unreachable = court.state.weak.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(TransientError):
        court.judge(court.state.regression, unreachable)


def test_a_verdict_is_kept_under_its_digest_beside_the_challengers_run(court: Court) -> None:
    challenger = court.pose(court.state.regression, court.stored(court.state.regression), trained_on=[])
    verdict = court.judge(challenger, court.state.weak)
    assert court.judge(challenger, court.state.weak) == verdict
    mlflow = client(challenger.tracking_uri)
    kept = mlflow.list_artifacts(challenger.run_id, "verdicts")
    stem = f"verdicts/dev-{verdict.digest[:16]}"
    assert {file.path for file in kept} == {f"{stem}.json", f"{stem}.html"}
    path = download(challenger.tracking_uri, f"runs:/{challenger.run_id}/{stem}.json", court.folder)
    assert Verdict.model_validate(json.loads(path.read_text())) == verdict
    tag = mlflow.get_run(challenger.run_id).data.tags["gate.dev"]
    assert tag == f"promote: {verdict.reasons[0]}"


def test_a_verdict_does_not_depend_on_what_was_proven_before(court: Court) -> None:
    first, again = (court.judge(court.state.regression, None) for _ in range(2))
    assert first.digest == again.digest
    assert "reproduced in a fresh process" in check_of(again, REPLAY).detail


def test_other_content_has_another_digest(court: Court) -> None:
    verdict = court.judge(court.state.weak, court.state.bayes)
    assert verdict.model_copy(update={"rows": 47}).digest != verdict.digest
    assert Verdict.model_validate_json(verdict.model_dump_json()).digest == verdict.digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows, None),
        (lambda rows: rows.assign(score=rows["score"] + 1e-9), None),
        (lambda rows: rows.assign(score=rows["score"] - 1e-3), "48 of 48 predictions differ, first row"),
        (lambda rows: rows.assign(label=["neutral", *rows["label"][1:]]), "1 of 48 predictions differ"),
        (lambda rows: rows.iloc[::-1], "of other rows"),
    ],
)
def test_a_replay_tells_another_model_from_rounding(
    court: Court, change: Callable[[pd.DataFrame], pd.DataFrame], words: str | None
) -> None:
    rows = court.stored(court.state.regression)
    rows = pd.concat([rows[rows["label"] != "neutral"], rows[rows["label"] == "neutral"]]).sort_values("row")
    posed = court.pose(court.state.regression, change(rows))
    if words is None:
        assert "48 predictions reproduced" in replay.replay(court.evaluation(posed)).outcome
    else:
        with pytest.raises(IntegrityError, match=words):
            replay.replay(court.evaluation(posed))
