"""The model card: the same facts in the run, in the description and on the terminal."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from cli import model as command
from lifecycle import settings
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.gate.verdict import Check, Verdict
from lifecycle.problems.findings import BehaviourLine, Interval, SliceLine
from lifecycle.registry import card, catalog, labels, promotion, store
from lifecycle.registry.promotion import Intent
from lifecycle.settings import Settings
from lifecycle.settings.rules import CardRules, CardWords
from lifecycle.tracking.artifacts import download
from lifecycle.tracking.client import client
from tests.registry.conftest import State, promote

WORDS = CardRules(
    intended_use="Tone of headlines",
    owners=("news desk",),
    licence="Apache-2.0",
    limits=("texts of one word",),
    out_of_scope=("advice",),
    data_licences={"news": "CC0-1.0"},
)


def verdict(*, champion: str | None = None, slices: int = 1, label: str = "positive") -> Verdict:
    found = Interval(value=0.5, low=0.25, high=0.75)
    return Verdict(
        decision="promote",
        reasons=("better",),
        env=Environment.DEV,
        challenger="the challenger",
        champion=champion,
        data_name="news",
        data_version="1.0.0",
        dataset_digest="d" * 64,
        side="holdout",
        rows=1234,
        checks=(
            Check(name="floor f1_macro", outcome="pass", value=0.5, limit=0.4),
            Check(name="floor accuracy", outcome="fail", value=0.5, limit=0.6),
            Check(name="slices of the rows", outcome="fail", value=1, limit=0, detail="label = neutral"),
        ),
        metrics={"f1_macro": found, f"recall.{label}": found},
        champion_metrics={"f1_macro": found} if champion else {},
        gains={"f1_macro": Interval(value=0.125, low=0.0625, high=0.25)} if champion else {},
        classes=(label, "neutral"),
        confusion=((3, 1), (0, 4)),
        slices=tuple(
            SliceLine(name=f"label = {label} {n}", rows=31, challenger=found, outcome="pass")
            for n in range(slices)
        ),
        behaviour=(
            BehaviourLine(
                suite="own", name="upper case", kind="invariance", cases=40, failures=1,
                low=0.0, high=0.1, limit=0.05, outcome="pass",
            ),
        ),
    )  # fmt: skip


def keep(judged: Verdict, model: ModelRef) -> None:
    """Store a verdict where the gate does."""
    path = f"verdicts/{judged.env}-{judged.digest[:16]}.json"
    client(model.tracking_uri).log_dict(model.run_id, judged.model_dump(mode="json"), path)


def promoted(state: State, model: ModelRef, judged: Verdict, **facts: str) -> int:
    """Make a champion by a verdict that is kept, and return its number."""
    keep(judged, model)
    before = promotion.champion(state.target)
    intent = promotion.intend(state.target, model, before, reason="better", verdict_digest=judged.digest, **facts)
    return promotion.promote(intent).champion


def with_words(config: Settings) -> Settings:
    return config.model_copy(update={"card": WORDS})


def description(state: State, number: int) -> str:
    return store.version(state.target, number).description


def in_the_run(state: State, model: ModelRef, number: int, folder: Path) -> str:
    uri = f"runs:/{model.run_id}/model_card/{state.target.name}-v{number}.md"
    return download(state.config.mlflow_uri, uri, folder).read_text(encoding="utf-8")


def changed_at(state: State, number: int) -> int:
    found = store.mlflow_of(state.target).get_model_version(state.target.name, str(number))
    return int(found.last_updated_timestamp)


def test_the_same_card_stands_in_the_run_and_in_the_description(state: State, tmp_path: Path) -> None:
    config = with_words(state.config)
    promote(state.target, state.weak)
    number = promoted(state, state.bayes, verdict(champion="dev.ml.sentiment v1"), approved_by="Ann")
    labels.describe(state.target, "First release", number)
    written = card.write(config, "sentiment", number)
    assert written == card.read(config, "sentiment", number)
    assert in_the_run(state, state.bayes, number, tmp_path) == written
    assert description(state, number) == f"First release\n\n{labels.CARD}\n\n{written.rstrip()}"
    assert catalog.show_version(state.target, number).description == "First release"
    for fact in (
        f"# {state.target.name} v{number}\n",
        "- Intended use: Tone of headlines\n",
        "- Out of scope: advice\n",
        "- Limits: texts of one word\n",
        "- Licence: Apache-2.0\n",
        "- Owners: news desk\n",
        "- Algorithm: naive_bayes\n",
        "- Parameters: alpha 0.1, ",
        "- Seed: 0\n",
        "- Code: 0",
        state.bayes.run_id,
        "Trained on news 1.0.0, digest `",
        "Licence: CC0-1.0.",
        "| train | 48 | 48 | 48 | 144 |\n",
        "- Champion by: promotion, entry v2\n",
        "- Reason: better\n",
        "- Approved by: Ann\n",
        "- Champion it replaced: v1\n",
        f"- Files: {state.bayes.artifact_sha256[:12]}\n",
        "Accepted in dev, on 1,234 holdout rows of news 1.0.0",
        "1 of 3 checks passed",
        "\n- Not passed: floor accuracy: 0.500, the limit is 0.600\n",
        "\n- Not passed: slices of the rows: label = neutral\n",
        "| metric | challenger | champion | gain, above 0 is better |\n|---|---|---|---|\n",
        "| f1_macro | 0.500 [0.250, 0.750] | 0.500 [0.250, 0.750] | +0.125 [+0.062, +0.250] |\n",
        "| positive |  | 0.500 |  | 4 |\n",
        "| label = positive 0 | 31 | pass | 0.500 [0.250, 0.750] |  |  |  |\n",
        "| own: upper case | pass | 1 of 40 | 5% |  |\n",
    ):
        assert fact in written, fact
    before = changed_at(state, number)
    assert card.write(config, "sentiment", number) == written
    assert changed_at(state, number) == before


def test_what_people_wrote_is_kept_whenever_they_write_it(state: State) -> None:
    number = promoted(state, state.bayes, verdict())
    written = card.write(state.config, "sentiment", number).rstrip()
    assert description(state, number) == f"{labels.CARD}\n\n{written}"
    labels.describe(state.target, "By hand\n\nin two lines\n", number)
    kept = f"By hand\n\nin two lines\n\n{labels.CARD}\n\n"
    assert description(state, number) == kept + written
    changed = card.write(with_words(state.config), "sentiment", number).rstrip()
    assert description(state, number) == kept + changed
    assert changed != written
    labels.describe(state.target, description(state, number), number)  # copied with the card beneath
    assert description(state, number) == kept + changed
    labels.describe(state.target, "", number)
    assert description(state, number) == f"{labels.CARD}\n\n{changed}"
    store.describe(state.target, number, "Written in MLflow's UI over everything")
    card.write(with_words(state.config), "sentiment", number)
    assert description(state, number).startswith("Written in MLflow's UI over everything\n\n**Model card**")
    earlier = f"Of a release before\n\n{labels.EARLIER_CARD}\n\n# an old card"
    store.describe(state.target, number, earlier)
    assert labels.words(earlier) == "Of a release before"
    card.write(with_words(state.config), "sentiment", number)
    assert description(state, number) == f"Of a release before\n\n{labels.CARD}\n\n{changed}"
    labels.describe(state.target, "The model")
    assert catalog.show(state.target).description == "The model"


def test_a_card_that_was_interrupted_is_completed(state: State, tmp_path: Path) -> None:
    """Who dies before the description is written has left the artifact: the description says that both are there."""
    number = promoted(state, state.bayes, verdict())
    with closing(sqlite3.connect(state.config.state / "mlflow.db", timeout=240)) as database:
        database.execute(
            "CREATE TRIGGER died BEFORE UPDATE OF description ON model_versions BEGIN SELECT RAISE(ABORT, 'died'); END"
        )
        with pytest.raises(MlflowException, match="died"):
            card.write(state.config, "sentiment", number)
        database.execute("DROP TRIGGER died")
    left = in_the_run(state, state.bayes, number, tmp_path)
    assert description(state, number) == ""
    assert card.write(state.config, "sentiment", number) == left
    assert left.rstrip() in description(state, number)


def test_a_long_card_is_cut_in_the_description_alone(state: State, tmp_path: Path) -> None:
    number = promoted(state, state.bayes, verdict(slices=100))
    labels.describe(state.target, "Mine " * 100, number)
    written = card.write(state.config, "sentiment", number)
    assert len(written) > 5000
    assert in_the_run(state, state.bayes, number, tmp_path) == written
    cut = description(state, number)
    assert len(cut) <= 5000
    assert cut.startswith(("Mine " * 100).rstrip())
    head, _, rest = cut.rpartition("\n\n*The rest")
    assert rest == " did not fit: `mlops model card`.*"
    assert head.partition(labels.CARD)[2].strip() in written
    assert head.endswith(" |")  # between two lines
    before = changed_at(state, number)
    card.write(state.config, "sentiment", number)
    assert changed_at(state, number) == before


def test_words_that_fill_a_description_are_whole_and_longer_ones_refused(state: State) -> None:
    number = promoted(state, state.bayes, verdict())
    card.write(state.config, "sentiment", number)
    for length in (5000, 4990, 4850):
        labels.describe(state.target, "w" * length, number)
        card.write(state.config, "sentiment", number)
        assert labels.words(description(state, number)) == "w" * length
        assert len(description(state, number)) <= 5000
    with pytest.raises(ConfigError, match="at most 5,000 characters; given were 5,001"):
        labels.describe(state.target, "w" * 5001, number)


def test_a_verdict_that_is_not_the_recorded_one_is_not_shown(state: State) -> None:
    """Neither the one that is at hand, nor a file that was changed, nor one that is gone."""
    judged, other = verdict(), verdict(label="neutral")
    number = promoted(state, state.bayes, judged)
    assert "| positive |" in card.read(state.config, "sentiment", number, other)
    path = f"verdicts/dev-{judged.digest[:16]}.json"
    for content in (other.model_dump_json(), "{}", "no JSON"):
        client(state.config.mlflow_uri).log_text(state.bayes.run_id, content, path)
        shown = card.read(state.config, "sentiment", number)
        assert f"The verdict `{judged.digest[:12]}` that it was promoted by cannot be read." in shown
        assert "recall" not in shown
    assert "| positive |" in card.read(state.config, "sentiment", number, judged)
    gone = promotion.intend(
        state.target, state.regression, promotion.champion(state.target), reason="", verdict_digest="e" * 64
    )
    shown = card.read(state.config, "sentiment", promotion.promote(gone).champion)
    assert "The verdict `eeeeeeeeeeee` that it was promoted by cannot be read." in shown


def test_a_version_that_no_verdict_made_champion_says_so(state: State) -> None:
    candidate = promotion.enter_challenger(state.target, state.bayes).version or 0
    shown = card.read(state.config, "sentiment", candidate)
    assert "No gate has judged it here.\n" in shown
    assert "- Champion by: nothing yet\n" in shown
    assert "- Intended use: not stated (setting card.intended_use)\n" in shown
    client(state.config.mlflow_uri).set_tag(state.weak.run_id, "gate.dev", "keep: too weak")
    by_hand = promotion.promote(promotion.intend(state.target, state.weak, None, reason="asked", gate="skipped"))
    shown = card.read(state.config, "sentiment", by_hand.champion)
    assert "Promoted past the gate. Its last verdict here: keep: too weak\n" in shown
    assert "- Champion by: promotion, entry v2\n" in shown
    assert "- Champion it replaced: none\n" in shown
    with pytest.raises(NotFoundError):
        card.read(state.config, "sentiment", 9)


def test_a_candidate_that_was_promoted_where_it_was_tells_of_its_entry(state: State) -> None:
    """The entry is another version; a rollback leads back to the candidate and changes nothing in its card."""
    candidate = promotion.enter_challenger(state.target, state.bayes)
    judged = verdict()
    keep(judged, state.bayes)
    intent = promotion.intend(state.target, candidate, None, reason="as good", verdict_digest=judged.digest)
    assert promotion.promote(intent).champion == 1
    shown = card.read(state.config, "sentiment", 1)
    assert "- Champion by: promotion, entry v2\n- Who: " in shown
    assert "| positive |" in shown
    promote(state.target, state.regression)
    back = promotion.intend_rollback(state.target, None, "it was worse")
    assert isinstance(back, Intent)
    assert promotion.promote(back).champion == 1
    assert card.read(state.config, "sentiment", 1) == shown


def test_a_version_without_a_run_or_data_in_reach_has_a_card_all_the_same(state: State, tmp_path: Path) -> None:
    elsewhere = state.config.model_copy(update={"data_root": tmp_path / "none"})
    number = promoted(state, state.bayes, verdict())
    assert "Trained on news 1.0.0" in card.read(elsewhere, "sentiment", number)
    assert "| train |" not in card.read(elsewhere, "sentiment", number)
    alone = store.create_version(state.target, state.folder(state.bayes).as_uri(), "", {})
    written = card.write(state.config, "sentiment", alone)
    assert "Nobody recorded what it was trained on." in written
    assert "- Champion by: nothing yet" in description(state, alone)


def test_no_label_or_reason_can_break_the_page(state: State) -> None:
    hostile = "a|b\n# c <script>`x`"
    judged = verdict(label=hostile)
    keep(judged, state.bayes)
    intent = promotion.intend(state.target, state.bayes, None, reason=hostile, verdict_digest=judged.digest)
    shown = card.read(state.config, "sentiment", promotion.promote(intent).champion)
    assert r"| a\|b # c &lt;script\>\`x\` |  | 0.500" in shown
    assert "- Reason: a\\|b # c &lt;script\\>\\`x\\`\n" in shown
    assert "<script" not in shown


def test_words_for_one_model_come_before_those_for_all() -> None:
    rules = WORDS.model_copy(update={"models": {"tone": CardWords(owners=("tone team",), limits=())}})
    assert rules.of("tone").owners == ("tone team",)
    assert rules.of("tone").limits == ()
    assert rules.of("tone").intended_use == "Tone of headlines"
    assert rules.of("sentiment").owners == ("news desk",)


def test_the_command_prints_the_card_and_writes_it_when_asked(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    number = promoted(state, state.bayes, verdict())
    monkeypatch.setenv("MLOPS_CARD", '{"owners": ["news desk"]}')
    config, run = settings.load("dev"), CliRunner().invoke
    asked = ["card", "--model-name", "sentiment", "--env", "dev"]
    printed = run(command.app, asked).stdout
    assert printed == card.read(config, "sentiment", number)
    assert "- Owners: news desk\n" in printed
    assert description(state, number) == ""
    as_json = json.loads(run(command.app, [*asked, "--version", "1", "--write", "--json"]).stdout)
    assert as_json == {"model": "dev.ml.sentiment", "version": 1, "card": printed}
    assert printed.rstrip() in description(state, number)
