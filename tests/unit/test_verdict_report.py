"""The report of a verdict: nothing leads outside, text stays text, and every plot shows the numbers of the verdict."""

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from lifecycle.gate.present import report
from lifecycle.gate.verdict import Check, Flip, Verdict
from lifecycle.problems.classification.metrics import named
from lifecycle.problems.classification.scores import ClassScores
from lifecycle.problems.findings import BehaviourLine, Interval, SliceLine
from lifecycle.settings.gate_rules import GateRules

SCRIPT = "<script>canary()</script><img src=x onerror='canary()'> \" ' &"
VOID = {"meta", "br", "img", "input", "link"}
CLASSES = ("negative", "neutral", "positive")


class Page(HTMLParser):
    """The elements of a page, each with the elements around it and its text; every one must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {"in": " ".join(self.open), **{name: value or "" for name, value in attrs}}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((" ".join(self.open), " ".join(data.split())))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = attributes.items()
        return [found for name, found in self.elements if name == tag and wanted <= found.items()]

    @property
    def text(self) -> str:
        return " ".join(text for around, text in self.texts if "style" not in around)


def predictions(seed: int, *, classes: tuple[str, ...] = CLASSES, rows: int = 300, skill: float = 1.0) -> ClassScores:
    """A model that is right more often than not; the truth is the same for every seed."""
    truth = np.random.default_rng(0).integers(0, len(classes), rows)
    logits = np.random.default_rng(seed).normal(size=(rows, len(classes)))
    logits[np.arange(rows), truth] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ClassScores(classes, truth, probabilities.argmax(axis=1), probabilities.max(axis=1), probabilities)


def around(value: float, by: float = 0.03) -> Interval:
    return Interval(value=value, low=value - by, high=value + by)


def refusal(**changes: Any) -> Verdict:
    """What remains where nothing could be compared."""
    return Verdict(
        **{
            "decision": "keep",
            "reasons": ("could not be judged: the champion's files are missing",),
            "env": "prod",
            "challenger": "dev.ml.sentiment v2",
            "champion": "prod.ml.sentiment v1",
            "data_name": "news",
            "data_version": "1.0.0",
            "dataset_digest": "",
            "side": "",
            "rows": 0,
            **changes,
        }
    )


def verdict(new: ClassScores, old: ClassScores | None, **changes: Any) -> Verdict:
    """A verdict with a line of every kind."""

    def matrix(model: ClassScores) -> tuple[tuple[int, ...], ...]:
        pairs = Counter(zip(model.truth.tolist(), model.label.tolist(), strict=True))
        codes = range(len(model.classes))
        return tuple(tuple(pairs[truth, label] for label in codes) for truth in codes)

    flip = Flip(row=7, text="Sales fell.", truth="negative", champion="negative", challenger="positive", score=0.91)
    return refusal(
        **{
            "decision": "promote",
            "reasons": ("better than the champion",),
            "champion": "prod.ml.sentiment v1" if old else None,
            "dataset_digest": "d" * 64,
            "side": "holdout",
            "rows": len(new.truth),
            "left_out": {"challenger": 12, "champion": 0},
            "checks": (
                Check(name="comparable rows", outcome="pass", value=300, limit=50, detail="80 of the rarest class"),
                Check(name="floor accuracy", outcome="pass", value=0.71, low=0.68, high=0.74, limit=0.4),
                Check(name="gain in accuracy", outcome="fail", value=0.0412, low=-0.011, high=0.0934, limit=0.005),
                Check(name="behaviour negation", outcome="not_enough_data"),
            ),
            "metrics": {"accuracy": around(0.71), "recall.neutral": around(0.6), "log_loss": around(0.8, 0.1)},
            "champion_metrics": {"accuracy": around(0.66), "log_loss": around(1.2, 0.1)} if old else {},
            "gains": {"accuracy": around(0.05), "log_loss": around(0.4)} if old else {},
            "slices": (
                SliceLine(
                    name="label = neutral",
                    rows=100,
                    challenger=around(0.5),
                    champion=around(0.7) if old else None,
                    gain=-0.2 if old else None,
                    p=0.0123 if old else None,
                    outcome="fail",
                ),
                SliceLine(name="source = wire", rows=9, challenger=around(0.4), outcome="too_few"),
            ),
            "behaviour": (
                BehaviourLine(
                    suite="finance",
                    name="profit fell",
                    kind="minimum_functionality",
                    cases=20,
                    failures=5,
                    low=0.11,
                    high=0.47,
                    limit=0.1,
                    outcome="fail",
                    examples=({"given": "Profit fell.", "answered": "positive"},),
                ),
            ),
            "classes": new.classes,
            "confusion": matrix(new),
            "champion_confusion": matrix(old) if old else (),
            "broken_rows": 31,
            "repaired_rows": 1 if old else 0,
            "broken": (flip,) * 20 if old else (),
            "repaired": (flip,) if old else (),
            **changes,
        }
    )


NEW, OLD = predictions(1, skill=1.5), predictions(2)
TEXT = report.render(verdict(NEW, OLD), NEW, OLD)
PAGE = Page(TEXT)


def test_nothing_leads_outside() -> None:
    attributes = [(tag, name, value) for tag, found in PAGE.elements for name, value in found.items()]
    leading = {"src", "srcset", "href", "xlink:href", "action", "formaction", "data", "poster", "background", "ping"}
    assert not [each for each in attributes if each[1] in leading]
    assert not [each for each in attributes if each[1].startswith("on")]
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in PAGE.elements
    }
    assert not re.search(r"url\(|@import|@font-face|image-set", TEXT)
    (policy,) = PAGE.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_text_stays_text_wherever_it_stands() -> None:
    classes = (SCRIPT, "b")
    new, old = predictions(1, classes=classes), predictions(2, classes=classes)
    whole = verdict(new, old)
    flip = Flip(row=1, text=SCRIPT, truth=SCRIPT, champion=SCRIPT, challenger=SCRIPT, score=0.5)
    hostile = whole.model_copy(
        update={
            "reasons": (SCRIPT,),
            "challenger": SCRIPT,
            "champion": SCRIPT,
            "data_name": SCRIPT,
            "data_version": SCRIPT,
            "side": SCRIPT,
            "dataset_digest": SCRIPT,
            "left_out": {SCRIPT: 3},
            "checks": (Check(name=SCRIPT, outcome="fail", detail=SCRIPT),),
            "metrics": {SCRIPT: around(0.5), f"recall.{SCRIPT}": around(0.5)},
            "slices": (whole.slices[0].model_copy(update={"name": SCRIPT}),),
            "behaviour": tuple(
                line.model_copy(update={"suite": SCRIPT, "name": SCRIPT, "examples": ({SCRIPT: SCRIPT},)})
                for line in whole.behaviour
            ),
            "broken": (flip,),
            "repaired": (flip,),
        }
    )
    page = Page(report.render(hostile, new, old))
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert page.text.count("<script>canary()</script>") > 30


def test_every_table_has_headers_and_every_plot_a_title() -> None:
    tables = PAGE.all("table")
    assert len(tables) == 11
    assert all("div" in found["in"] for found in tables), "tables scroll in a box of their own"
    assert len(PAGE.all("div", **{"class": "box", "role": "region", "tabindex": "0"})) == len(tables)
    assert all(found["scope"] in {"col", "row"} for found in PAGE.all("th"))
    titled = [text for around, text in PAGE.texts if around.endswith("svg title")]
    assert len(titled) == len(PAGE.all("svg", role="img"))
    assert len(PAGE.all("svg")) == len(titled) + len(PAGE.all("svg", **{"aria-hidden": "true"}))
    assert "accuracy: challenger 0.710, from 0.680 to 0.740; champion 0.660, from 0.630 to 0.690" in titled
    assert [tag for tag, _ in PAGE.elements if tag == "h1"] == ["h1"]


def test_every_colour_is_there_by_day_and_by_night() -> None:
    css = "".join(text for around, text in PAGE.texts if around.endswith("style"))
    style = re.findall(r"style=\"[^\"]*\"", TEXT)
    day = set(re.findall(r"(--[\w-]+):", css))
    assert set(re.findall(r"var\((--[\w-]+)\)", css + "".join(style))) <= day
    night = "".join(re.findall(r"prefers-color-scheme: dark\) \{ :root \{([^}]*)\}", css))
    assert {"--challenger", "--champion", "--ok", "--bad", "--warn"} <= set(re.findall(r"(--[\w-]+):", night))


def cells(text: str) -> list[list[str]]:
    """The words of each row of the tables in a piece of the page."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.S)
    plain = [
        [re.sub(r"<title>.*?</title>|<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.S)]
        for row in rows
    ]
    return [[" ".join(cell.split()) for cell in row] for row in plain]


def section(heading: str) -> list[list[str]]:
    return cells(TEXT.partition(f"<h2>{heading}</h2>")[2].partition("<h2>")[0])


def test_the_tables_say_what_the_verdict_says() -> None:
    assert section("Checks")[1:] == [
        ["comparable rows", "✓ passed", "300", "", "50", "80 of the rarest class"],
        ["floor accuracy", "✓ passed", "0.710", "[0.680, 0.740]", "0.400", ""],
        ["gain in accuracy", "✗ failed", "0.041", "[-0.011, 0.093]", "0.005", ""],
        ["behaviour negation", "? not enough data", "", "", "", ""],
    ]
    assert [row[:3] + row[4:5] for row in section("Metrics")[1:]] == [
        ["accuracy", "0.710 [0.680, 0.740]", "0.660 [0.630, 0.690]", "+0.050 [+0.020, +0.080]"],
        ["log_loss (less is better)", "0.800 [0.700, 0.900]", "1.200 [1.100, 1.300]", "+0.400 [+0.370, +0.430]"],
        ["recall.neutral", "0.600 [0.570, 0.630]", "–", "–"],
    ]
    assert [row[:4] + row[5:] for row in section("Slices of the rows")[1:]] == [
        ["label = neutral", "100", "0.500 [0.470, 0.530]", "0.700 [0.670, 0.730]", "-0.200", "0.012", "✗ failed"],
        ["source = wire", "9", "0.400 [0.370, 0.430]", "–", "–", "–", "– too few rows to judge"],
    ]
    behaviour = section("Behaviour")
    assert behaviour[1][:4] == ["finance: profit fell", "minimum functionality", "5 of 20", "0.250 [0.110, 0.470]"]
    assert behaviour[1][5:] == ["0.100", "✗ failed"]
    assert behaviour[2:] == [["given", "answered"], ["Profit fell.", "positive"]]
    changed = section("Rows that change")
    assert changed[1] == ["7", "negative", "negative", "positive", "0.910", "Sales fell."]
    assert len(changed) == 1 + 20 + 1 + 1
    for told in (
        "Rows newly broken: 31, of them the worst 20",
        "Rows newly repaired: 1",
        "12 rows that the challenger was trained on",
    ):
        assert told in PAGE.text
    assert verdict(NEW, OLD).digest in PAGE.text


def test_the_matrices_show_counts_and_shares() -> None:
    rows = section("Confusion")
    assert [row[0] for row in rows] == ["truth \\ label", *CLASSES] * 2
    for model, found in ((NEW, rows[1:4]), (OLD, rows[5:])):
        counts = confusion_matrix(model.truth, model.label)
        shares = np.rint(100 * counts / counts.sum(axis=1, keepdims=True)).astype(int)
        assert [row[1:] for row in found] == [
            [f"{count}{share} %" for count, share in zip(*line, strict=True)]
            for line in zip(counts, shares, strict=True)
        ]
    assert len(PAGE.all("td", **{"class": "right"})) == 6


def test_whiskers_stand_where_their_intervals_are() -> None:
    scale = report.Scale(0, 1)
    whiskers = [(float(found["x1"]), float(found["x2"])) for found in PAGE.all("line", **{"class": "whisker"})]
    assert (scale.at(0.68), scale.at(0.74)) in whiskers
    assert (scale.at(0.63), scale.at(0.69)) in whiskers
    assert scale.at(0) < scale.at(0.5) < scale.at(1) < 200
    assert scale.at(7) == scale.at(1)
    gains = report.Scale(-0.08, 0.08)  # log loss is no share: it neither sets the scale nor stands on it
    assert (gains.at(0.02), gains.at(0.08)) in whiskers
    assert len(whiskers) == 2 + 1 + 1 + 2 + 1 + 1  # accuracy, its gain, recall, two parts, behaviour
    limits = [float(found["x1"]) for found in PAGE.all("line", **{"class": "limit"})]
    assert limits == [scale.at(0.4), gains.at(0.005), scale.at(0.1)]  # a floor, the gain asked, behaviour


def test_the_reliability_diagram_shows_the_error_that_the_metric_has() -> None:
    found = re.findall(r"<strong>(\w+)</strong>: expected calibration error ([\d.]+)", TEXT)
    ece = named("ece", GateRules()).measure
    assert found == [
        (role, f"{float(ece(model, np.ones(len(model.truth)))):.3f}")
        for role, model in (("challenger", NEW), ("champion", OLD))
    ]
    edges = NEW._replace(score=np.where(NEW.score > 0.5, 0.5, 0.4))  # a bin holds its upper end
    drawn = report._model("challenger", "", (), (), edges)
    assert [each.high for each in drawn.reliability or []] == [0.4, 0.5]
    assert drawn.ece == pytest.approx(float(ece(edges, np.ones(len(NEW.truth)))))
    bins = {model: len(np.unique(np.ceil(model_.score * 10))) for model, model_ in (("circle", NEW), ("rect", OLD))}
    assert {tag: len(PAGE.all(tag, **{"class": "point"})) for tag in bins} == bins


def test_the_curves_enclose_the_areas_that_scikit_learn_finds() -> None:
    lines = PAGE.all("polyline", **{"class": "line"})
    assert len(lines) == 2 + 2 * 2 * len(CLASSES)
    points = [np.array([pair.split(",") for pair in found["points"].split()], float) for found in lines]
    assert max(len(each) for each in points) <= report.CURVE_POINTS
    assert all((each >= 0).all() and (each <= 1).all() for each in points)
    drawn = [abs(np.trapezoid(each[:, 1], each[:, 0])) for each in points[2:]]
    for measure, word, found in (
        (average_precision_score, "average precision", drawn[:6]),
        (roc_auc_score, "area", drawn[6:]),
    ):
        areas = [
            (
                measure(NEW.truth == code, NEW.probabilities[:, code]),
                measure(OLD.truth == code, OLD.probabilities[:, code]),
            )
            for code in range(len(CLASSES))
        ]
        told = re.findall(rf", {word}: challenger ([\d.]+), champion ([\d.]+)", TEXT)
        assert np.array(told, float) == pytest.approx(np.array(areas), abs=0.0005)
        champion_first = np.array(found).reshape(-1, 2)
        assert champion_first[:, ::-1] == pytest.approx(np.array(areas), abs=0.01)


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    new = predictions(3, rows=5000, skill=0.3)
    drawn = report._model("challenger", "", (), (), new)
    for curves in (drawn.roc, drawn.precision_recall):
        for curve in (curves or {}).values():
            assert 100 < len(curve.points) <= 200
    (first, *_, last) = (drawn.roc or {})["neutral"].points
    assert (first, last) == ([0, 0], [1, 1])


def test_a_refusal_without_any_rows_says_why() -> None:
    page = Page(report.render(refusal()))
    headings = [text for around, text in page.texts if around.endswith(("h1", "h2"))]
    assert headings == ["dev.ml.sentiment v2 in prod", "What this rests on"]
    assert "could not be judged: the champion's files are missing" in page.text
    assert "Refused" in page.text
    assert "no rows were compared" in page.text
    assert not page.all("svg")


def test_without_a_champion_only_the_challenger_is_drawn() -> None:
    page = Page(report.render(verdict(NEW, None), NEW, None))
    assert "against no champion, on 300 rows that it was not trained on: news 1.0.0 holdout." in page.text
    assert not [found for _, found in page.elements if found.get("class") == "champion"]
    assert "Rows that change" not in page.text
    assert len(page.all("polyline")) == 1 + 2 * len(CLASSES)


def test_too_few_rows_still_show_what_there_is() -> None:
    few = predictions(1, rows=4)
    told = verdict(few, None, decision="not_enough_data", metrics={}, slices=(), behaviour=())
    page = Page(report.render(told, few, None))
    assert "Refused" in page.text
    headings = [text for around, text in page.texts if around.endswith("h2")]
    assert headings[:2] == ["Checks", "Confusion"]


def test_no_rows_at_all() -> None:
    none = predictions(1, rows=0)
    page = Page(report.render(verdict(none, none, decision="not_enough_data"), none, none))
    assert not page.all("polyline")
    assert not page.all("table", **{"class": "matrix"})


@pytest.mark.parametrize("silent", ["challenger", "champion"])
def test_a_model_without_probabilities_is_said_to_have_no_curves(silent: str) -> None:
    models = {"challenger": NEW, "champion": OLD}
    models[silent] = models[silent]._replace(probabilities=None)
    page = Page(report.render(verdict(NEW, OLD), models["challenger"], models["champion"]))
    assert f"The {silent} gives no probabilities of the classes, so it has no curves." in page.text
    assert len(page.all("polyline")) == 2 + 2 * len(CLASSES)
    assert page.all("circle", **{"class": "point"})


def test_a_class_that_has_all_rows_or_none_has_no_curve() -> None:
    one = NEW._replace(truth=np.zeros_like(NEW.truth))
    page = Page(report.render(verdict(one, one), one, one))
    assert "No class has both rows of its own and others, so there is no curve." in page.text
    alone = predictions(1, classes=("only",))
    assert "No class has both" in Page(report.render(verdict(alone, alone), alone, alone)).text


def test_of_many_classes_the_largest_are_shown_and_the_rest_is_counted() -> None:
    classes = tuple(f"class {number:03}" for number in range(400))
    truth = np.concatenate([np.arange(400), np.repeat(np.arange(100, 112), 300)])
    new = predictions(1, classes=classes, rows=len(truth))._replace(truth=truth)
    every = {f"{score}.{name}": around(0.5) for name in classes for score in ("precision", "recall", "f1")}
    parts = tuple(
        SliceLine(name=f"label = {name}", rows=1, challenger=around(0.5), outcome="too_few") for name in classes
    )
    told = verdict(new, new, metrics={**every, "accuracy": around(0.5)}, slices=parts)
    text = report.render(told, new, new)
    page = Page(text)
    assert len(text) < 1_000_000
    assert "The 12 largest of 400 classes." in page.text
    assert "The first 60 of 1201 metrics; the verdict's JSON has all." in page.text
    assert "100 of 400 slices; the verdict's JSON has all." in page.text
    matrix = cells(text.partition("<h2>Confusion</h2>")[2].partition("</table>")[0])
    assert [row[0] for row in matrix[1:]] == list(classes[100:112])
    assert matrix[0][-1] == "others"
    counts = [int(cell.removesuffix(" %")[:1]) for cell in matrix[1][1:]]
    assert len(counts) == 13
    assert cells(text.partition("<h2>Metrics</h2>")[2])[1][0] == "accuracy", "metrics of the whole come first"


def test_a_dry_run_is_loud_about_protecting_nothing() -> None:
    proven = (Check(name="loads and reproduces its predictions", outcome="pass"),)
    loud = {
        report.render(verdict(NEW, OLD, decision="keep", mode="dry_run", checks=checks), NEW, OLD): told
        for checks, told in ((proven, "This challenger is promoted, whatever"), ((), "this one is not, because"))
    }
    for text, told in loud.items():
        (alert,) = re.findall(r'<p class="loud" role="alert">(.*?)</p>', text, re.S)
        assert "Dry run: nothing is protected." in alert
        assert told in alert
    assert not PAGE.all("p", role="alert")


@settings(deadline=None, max_examples=25)
@given(st.tuples(st.floats(), st.floats(), st.floats()))
@example((0.5, float("nan"), 1.0))
@example((0.5, 0.0, float("inf")))
def test_no_number_breaks_the_report(ends: tuple[float, float, float]) -> None:
    """A report that cannot be written would refuse a good challenger."""
    found = Interval(value=ends[0], low=ends[1], high=ends[2])
    line = SliceLine(name="a", rows=1, challenger=found, champion=found, gain=ends[0], p=ends[1], outcome="pass")
    check = Check(name="a", outcome="fail", value=ends[0], low=ends[1], high=ends[2], limit=ends[0])
    behaviour = BehaviourLine(
        suite="a",
        name="a",
        kind="direction",
        cases=0,
        failures=0,
        low=ends[1],
        high=ends[2],
        limit=0.1,
        outcome="fail",
    )
    told = refusal(
        rows=1,
        metrics={"accuracy": found, "log_loss": found},
        champion_metrics={"accuracy": found},
        gains={"accuracy": found, "log_loss": found},
        slices=(line,),
        checks=(check,),
        behaviour=(behaviour,),
    )
    page = Page(report.render(told))
    places = [value for tag, found in page.elements if tag in {"line", "circle", "rect"} for value in found.values()]
    assert not Counter(places).keys() & {"nan", "inf", "-inf"}
