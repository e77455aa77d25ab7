"""A verdict on regressors as people see it: terminal, Markdown and HTML say numbers, errors and inputs, not labels."""

import re

import numpy as np
import pytest

from cli import show
from lifecycle.gate.present import advice, markdown, report, rows
from lifecycle.gate.verdict import Verdict
from lifecycle.problems.contract import Column
from lifecycle.problems.findings import shown
from lifecycle.problems.regression.scores import NumberScores
from lifecycle.settings.gate_rules import SliceRules
from tests.unit.test_number_decisions import TRUTH, answers, case, judged
from tests.unit.test_verdict_report import SCRIPT, Page

NEW, OLD = answers(6.0, 1), answers(4.0)
HOSTILE = "a|b <script>canary()</script> [/red] {{ x }}"
ASKED = case(NEW, OLD, **{HOSTILE: np.where(TRUTH > 20, SCRIPT, "plain")})._replace(
    inputs=(Column(name="temp", kind="numeric"), Column(name=HOSTILE, kind="categorical"))
)
REFUSED = judged(ASKED, slices=SliceRules(by=("target", HOSTILE)), floors={"r2": 0.99})
FIRST = judged(case(OLD))


@pytest.fixture(scope="module")
def html() -> str:
    return report.render(REFUSED, ASKED.challenger, ASKED.champion)


def test_a_terminal_shows_errors_and_inputs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    show.verdict(REFUSED)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0] == "REFUSED in dev: new against old"
    assert max(len(line) for line in lines if line.startswith(" ")) <= 100
    names = list(dict.fromkeys(line.split()[0] for line in lines if re.match(r" (root_|r2|mean_)", line)))
    assert names[:2] == ["root_mean_squared_error", "r2"]
    assert "Mean absolute error on slices of the rows, those that fail first" in shown
    assert re.search(r"Rows predicted farther off: 2\d\d, of them the worst 12", shown)
    assert re.search(r"Rows predicted closer: 1\d\d, of them the worst 12", shown)
    assert not re.search(r"accuracy|label|newly|classes|precision", shown.lower())


def test_markdown_says_the_same_and_no_name_of_a_column_makes_a_table() -> None:
    text = markdown.text(REFUSED)
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    assert len(tables) == 4, "metrics, slices, and the rows farther off and closer"
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}) == 1, table
    assert "| row | truth | champion | challenger | error | inputs |" in text
    assert "<script>" not in text
    assert markdown.text(FIRST).count("\n## ") == 1, "of a first champion there are its metrics"


def test_a_page_shows_numbers_beside_the_truth_and_no_curves_of_classes(html: str) -> None:
    page = Page(html)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Checks",
        "Metrics",
        "Slices of the rows",
        "Rows that change",
        "Predicted against actual",
        "What this rests on",
    ]
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert "canary()" in page.text
    panels = html.partition("<h2>Predicted against actual</h2>")[2].partition("<h2>")[0]
    assert panels.count('class="point"') == 2 * report.CURVE_POINTS
    assert "The error is the challenger's." in page.text
    assert "confidence" not in page.text


def test_points_stand_where_the_numbers_are() -> None:
    scores = NumberScores(np.array([0.0, 5.0, 10.0]), np.array([-99.0, 2.5, 99.0]))
    assert report._errors(scores) == [[0, 0], [0.5, 0.25], [1, 1]], "what lies beyond stands at the end"
    same = NumberScores(np.array([3.0, 3.0]), np.array([3.0, 4.0]))
    assert report._errors(same) == [[0, 0], [0, 1]]


@pytest.mark.parametrize("verdict", [REFUSED, FIRST])
def test_all_show_the_same_rows(
    verdict: Verdict, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    show.verdict(verdict)
    terminal, text = capsys.readouterr().out, markdown.text(verdict)
    page = Page(report.render(verdict)).text
    for check in rows.checks(verdict).rows:
        assert check.cells[0] in terminal
        assert check.cells[2] in page
    for metric in rows.metrics(verdict).rows:
        assert metric.cells[1] in text
        assert metric.cells[1] in terminal


def test_a_table_without_rows_is_none() -> None:
    titles = [table.title for table in rows.every(FIRST)]
    assert titles == ["Checks", "Metrics"]
    assert not rows.classes(REFUSED).rows
    assert [table.title.partition(":")[0] for table in rows.every(REFUSED)][-2:] == [
        "Rows predicted farther off",
        "Rows predicted closer",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ""),
        (3.0, "3"),
        (12_345.0, "12,345"),
        (0.5, "0.500"),
        (12_345.6, "12,346"),
        (float("nan"), "not a number"),
        (float("-inf"), "-inf"),
        (0.0000123, "1.23e-05"),
    ],
)
def test_a_number_is_written_as_a_person_reads_it(value: float | None, words: str) -> None:
    assert rows.number(value) == words


def test_a_refusal_says_which_gain_these_rows_would_have_shown() -> None:
    (gain,) = [check for check in REFUSED.checks if check.name == "gain in root_mean_squared_error"]
    base, told = REFUSED.champion_metrics["root_mean_squared_error"].value, advice.enough(REFUSED, 0.95)
    needed = (gain.limit or 0) + (gain.value or 0) - (gain.low or 0)
    assert told.startswith(f"On these {REFUSED.rows:,} rows a gain of about {shown(needed)} in root_mean_squared_error")
    assert told.endswith(f"{shown(base - needed)}, where the champion has {shown(base)}."), "of an error less is better"
    assert advice.enough(FIRST, 0.95) == ""


def test_no_gain_is_advised_that_the_challenger_had_and_was_refused_with() -> None:
    shown_above = {"value": 0.2, "low": 0.1, "high": 0.3, "limit": 0.0}  # refused by a more careful bound
    checks = tuple(
        check.model_copy(update=shown_above) if check.name.startswith("gain in") else check for check in REFUSED.checks
    )
    assert advice.enough(REFUSED.model_copy(update={"checks": checks}), 0.95) == ""


def test_a_champion_that_is_nearly_perfect_is_told_as_such() -> None:
    """No error is below 0: `-0.254, where the champion has 0.006` is no advice."""
    nearly = judged(case(NEW, answers(0.001)))
    assert nearly.decision != "promote"
    assert advice.enough(nearly, 0.95).startswith("No gain over ")
