"""A text is found in whatever form something of ours or of a library's holds it, and nothing else is changed."""

import html
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.class_names import as_markdown
from lifecycle.erasure.forms import Forms, is_distinct
from lifecycle.problems.behaviour.changes import CHANGES

TEXTS = [
    'Anna\'s loan <b>über</b> 12 % was "refused" & closed.',
    "the customer wrote C:\\new\\table | and_more of it",
    "straße nach Süden, dritter Stock, bei Müller",
    "cafe\u0301 au lait is what she orders every day",
    "我们的客户住在北京市朝阳区三里屯路",
    "she was so 📉 about `this` *thing* [she](bought)",
    "  two   blanks\tand\na line end in her words  ",
    "it's ' all ' quotes \" and ' more \" of them",
    "&lt;already escaped&gt; she wrote &amp; sent it",
    "a very long story of a person " + "and again " * 30 + "to its end",
    "\\begin{letter} of a person \\end{letter}",
]
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper": str.upper,
    "lower": str.lower,
    "blanks": CHANGES["whitespace"],
    "punctuation": CHANGES["punctuation"],
    "html": html.escape,
    "html twice": lambda text: html.escape(html.escape(text)),
    "json": json.dumps,
    "json in letters": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "markdown": as_markdown,
    "markdown in json": lambda text: json.dumps(as_markdown(text)),
    "repr": repr,
    "ascii": ascii,
    "html in json": lambda text: json.dumps(html.escape(text)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_found_in_every_form_and_goes(text: str, form: str) -> None:
    shown, forms = FORMS[form](text), Forms([text])
    line = f"read {shown} there"
    assert forms.stand_in(line)
    assert forms.cleaned(line).rstrip().replace(" !", "") != line
    assert not forms.stand_in(forms.cleaned(line))
    assert forms.cleaned(line).startswith("read ")
    assert forms.cleaned(line).endswith("there")


@pytest.mark.parametrize("cut", [40, 59, 60, 120, 200, 300, 1000])
def test_a_text_is_found_where_it_was_cut(cut: int) -> None:
    text = "a very long story of a person " + "and more of it " * 90
    forms = Forms([text])
    for shown in (f'"{text[:cut]}"', f"<bdi>{text[:cut]}</bdi>", f"| 1 | {text[:cut]} |", f"such as ['{text[:cut]}']"):
        assert text[:30] not in forms.cleaned(shown), shown
    another = text[:cut] + "another ending of somebody else"
    assert forms.cleaned(f'"{another}"') == f'"{another}"'


def test_an_entry_goes_whole_with_the_prediction_that_it_shows() -> None:
    text = "Anna's loan was refused & closed"
    forms = Forms([text])
    verdict = {
        "broken": [_flip(1, text), _flip(2, "another")],
        "rows": 9,
        "behaviour": [{"examples": [_example(text)]}],
    }
    kept = json.loads(forms.cleaned(json.dumps(verdict)))
    assert kept == {"broken": [_flip(2, "another")], "rows": 9, "behaviour": [{"examples": []}]}
    page = f"<table><tr><td>1</td><td>{html.escape(text)}</td></tr><tr><td>2</td><td>another</td></tr></table>"
    assert forms.cleaned(page) == "<table><tr><td>2</td><td>another</td></tr></table>"
    lines = f"| row | text |\n|---|---|\n| 1 | {as_markdown(text)} |\n| 2 | another |\n"
    assert forms.cleaned(lines) == "| row | text |\n|---|---|\n| 2 | another |\n"
    assert json.loads(forms.cleaned(json.dumps(lines))) == "| row | text |\n|---|---|\n| 2 | another |\n"


@pytest.mark.parametrize("text", ["positive", "ok", "7", "row", "text", "pass", "the row", "x", "0.44", "Rejected"])
def test_a_short_text_goes_where_rows_are_shown_and_nowhere_else(text: str) -> None:
    forms = Forms([text])
    assert not is_distinct(text)
    harmless = {"classes": [text, "negative"], text: {"state": text}, "message": f"{text}: a {text} b", "counts": [7]}
    assert json.loads(forms.cleaned(json.dumps(harmless))) == harmless
    assert json.loads(forms.cleaned(json.dumps({"broken": [_flip(7, text)]}))) == {"broken": []}
    page = f'<td>{text}</td><tr><td class="text"><bdi>{text}</bdi></td><td><bdi>a</bdi></td></tr>'
    assert forms.cleaned(page) == f"<td>{text}</td>"
    assert forms.cleaned(f"| 1 | a | {text} |\n") == ""


@given(st.text(min_size=1, max_size=80), st.text(max_size=200))
def test_what_does_not_hold_the_text_stays_as_it_is(text: str, other: str) -> None:
    forms = Forms([text])
    if not forms.stand_in(other) and "|" not in other and "<" not in other:
        assert forms.cleaned(json.dumps([other])) in {json.dumps([other]), json.dumps([other], ensure_ascii=False)}
    if is_distinct(text):
        assert not forms.stand_in(forms.cleaned(f"a {text} b"))
        assert not forms.stand_in(forms.cleaned(json.dumps({"message": f"a {text} b"})))


def _flip(row: int, text: str) -> dict[str, object]:
    return {"row": row, "text": text, "truth": "a", "champion": "a", "challenger": "b", "score": 0.5}


def _example(text: str) -> dict[str, str]:
    return {"before": f"{text} [positive]", "given": text.upper(), "expected": "positive", "answered": "negative"}
