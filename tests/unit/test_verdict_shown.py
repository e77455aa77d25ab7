"""A verdict as people see it: on a terminal of 100 columns, and as Markdown in Prefect's UI."""

import io
import json
import re
import sys

import pytest

from cli import show
from lifecycle.core.names import Environment
from lifecycle.gate.present import markdown
from lifecycle.gate.present import rows as tables
from lifecycle.gate.verdict import Check, Flip, Verdict
from lifecycle.problems.findings import BehaviourLine, Interval, SliceLine
from tests.conftest import ROOT


def near(value: float) -> Interval:
    return Interval(value=value, low=value - 0.05, high=value + 0.05)


METRICS = (
    "accuracy",
    "f1_macro",
    "log_loss",
    *(f"{m}.{c}" for m in ("precision", "recall", "f1") for c in ("no", "yes")),
)
GAIN = Check(
    name="gain in f1_macro", outcome="fail", value=-0.02, low=-0.06, high=0.02, limit=0, detail="2 repaired, 3 broken"
)
REFUSED = Verdict(
    decision="keep",
    reasons=(
        "no better than the champion; it fails a behaviour suite",
        "gain in f1_macro is -0.020 [-0.060, +0.020]: its interval must lie above 0",
        "behaviour text: case",
    ),
    env=Environment.DEV,
    challenger="run 0123456789abcdef0123456789abcdef",
    champion="dev.ml.sentiment v2",
    data_name="news",
    data_version="1.0.0",
    dataset_digest="d" * 64,
    side="holdout",
    rows=961,
    rule="gain",
    rule_reason="another definition than the champion's",
    judged_before=3,
    risk=0.0016,
    left_out={"challenger": 0, "champion": 7},
    checks=(Check(name="comparable rows", outcome="pass", value=961, limit=50, detail="69 of the rarest class"), GAIN),
    metrics={name: near(0.8) for name in METRICS},
    champion_metrics={name: near(0.82) for name in METRICS},
    gains={name: near(-0.02) for name in METRICS},
    slices=(
        SliceLine(
            name="label = no", rows=400, challenger=near(0.6), champion=near(0.8), gain=-0.2, p=0.001, outcome="fail"
        ),
        *(SliceLine(name=f"length {n}", rows=20, challenger=near(0.8), outcome="too_few") for n in range(20)),
    ),
    behaviour=(
        BehaviourLine(
            suite="text",
            name="case",
            kind="invariance",
            cases=100,
            failures=9,
            low=0.05,
            high=0.16,
            limit=0.02,
            outcome="fail",
            examples=({"given": "PROFIT ROSE", "expected": "yes", "answered": "no"},),
        ),
    ),
    classes=("no", "yes"),
    confusion=((300, 100), (80, 481)),
    broken_rows=30,
    repaired_rows=1,
    broken=tuple(
        Flip(
            row=n,
            text=f"[/red](a _link_) | <b>row {n}</b>\nof *some_body*" * 3,
            truth="yes",
            champion="yes",
            challenger="no",
            score=0.9,
        )
        for n in range(20)
    ),
    repaired=(Flip(row=99, text="fine", truth="no", champion="yes", challenger="no", score=0.6),),
)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    show.verdict(REFUSED)
    return capsys.readouterr().out


def test_a_terminal_shows_everything_within_100_columns(shown: str) -> None:
    lines = shown.splitlines()
    assert lines[0] == "REFUSED in dev: run 0123456789abcdef0123456789abcdef against dev.ml.sentiment v2"
    assert lines[1] == "On 961 rows of news 1.0.0 holdout; 7 rows that the champion was trained on are left out"
    assert set(REFUSED.terms) <= {*lines}
    assert REFUSED.terms == (
        "Compared by the gain: another definition than the champion's.",
        "3 other challengers were judged on these rows before: the risk of a wrong promotion is 0.0016.",
    )
    assert [line for line in lines if line.startswith("- ")] == [
        f"- {REFUSED.reasons[0]}",
        f"- {REFUSED.reasons[2]}",  # the table of checks does not have it
    ]
    assert shown.count("2 repaired, 3 broken") == 1
    assert max(map(len, lines)) <= 100
    assert shown.count("…") == 12  # the texts are cut, and nothing else
    assert [table.header.index(table.inputs) for table in tables.changes(REFUSED)] == [5, 5]
    names = [line.split()[0] for line in lines if line.startswith((" f1_macro ", " accuracy ", " log_loss "))]
    assert names == ["f1_macro", "accuracy", "log_loss"]  # the one that decides comes first
    assert "0.800 [0.750, 0.850]" in shown
    assert "-0.020 [-0.070, +0.030]" in shown
    assert re.search(r"^ no +0\.800 \(-0\.020\) .* 400 *$", shown, re.M)
    assert re.search(r"^ label = no +400 +fail", shown, re.M)
    assert "12 of 21" in shown
    assert re.search(r"^ text: case +fail +9 of 100 +2% +given: PROFIT ROSE", shown, re.M)
    assert "Rows newly broken: 30, of them the worst 12" in shown
    assert "Rows newly repaired: 1 " in shown
    assert "[/red](a _link_) | <b>row 0</b>" in shown


def test_without_a_champion_or_rows_there_is_nothing_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    changes = {
        "champion": None,
        "rows": 0,
        "checks": (),
        "champion_metrics": {},
        "gains": {},
        "metrics": {},
        "rule": None,
    }
    none = {"rule": None, "slices": (), "behaviour": (), "confusion": (), "broken": (), "repaired": (), "left_out": {}}
    show.verdict(REFUSED.model_copy(update=changes | none))
    out = capsys.readouterr().out
    assert "against no champion" in out
    assert len(out.splitlines()) == 5


def test_a_dry_run_is_loud(capsys: pytest.CaptureFixture[str]) -> None:
    for checks, what in (((), "this model is not proven to run, and stays out"), (PROVEN, "promoted all the same")):
        dry = REFUSED.model_copy(update={"mode": "dry_run", "checks": checks})
        show.verdict(dry)
        out = capsys.readouterr().out
        assert "DRY RUN: the gate of dev protects nothing" in out
        assert what in out
        assert "**DRY RUN: the gate of dev protects nothing.**" in markdown.text(dry)
    show.verdict(REFUSED)
    assert "DRY RUN" not in capsys.readouterr().out + markdown.text(REFUSED)


PROVEN = (Check(name="loads and reproduces its predictions", outcome="pass"),)


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, None, True), (True, "1", False), (False, None, False)]
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, *, terminal: bool, no_color: str | None, coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    show.verdict(REFUSED)
    colours = re.findall(r"\x1b\[[\d;]*3\dm", out.getvalue())
    assert bool(colours) is coloured


def test_markdown_tells_the_same_and_takes_texts_as_texts() -> None:
    text = markdown.text(REFUSED)
    assert text.startswith("# Refused in dev\n")
    assert "- gain in f1_macro is -0.020 [-0.060, +0.020]" in text
    assert "| f1_macro | 0.800 [0.750, 0.850] | 0.820" in text
    assert "Left out: 7 rows that the champion was trained on." in text
    assert "## Rows newly broken: 30, of them the worst 12" in text
    assert r"[/red]\(a \_link\_) \| &lt;b\>row 0&lt;/b\> of \*some_body\*" in text
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    assert len(tables) == 6
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(cells) == 1, table
    assert f"`{REFUSED.digest}`" in text
    assert all(term in text for term in REFUSED.terms)


def test_a_metric_that_is_no_number_is_told_in_words() -> None:
    odd = REFUSED.model_copy(update={"metrics": {"f1_macro": Interval(value=float("nan"), low=0, high=1)}})
    assert "not a number [0.000, 1.000]" in markdown.text(odd)


def test_the_published_schema_is_that_of_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    from cli import gate

    gate.schema()
    published = (ROOT / "docs/verdict.schema.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == published, "Run: mlops gate schema > docs/verdict.schema.json"


def test_a_verdict_satisfies_the_published_schema() -> None:
    from jsonschema import Draft202012Validator, ValidationError

    schema = Draft202012Validator(json.loads((ROOT / "docs/verdict.schema.json").read_text(encoding="utf-8")))
    content = json.loads(REFUSED.model_dump_json())
    schema.validate(content)
    assert Verdict.model_validate(content) == REFUSED
    for change in ({"decision": "maybe"}, {"unknown": 1}, {"checks": [{"name": "x"}]}):
        with pytest.raises(ValidationError):
            schema.validate(content | change)
