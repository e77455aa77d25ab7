"""A class may be called anything, and is told from every other in each place that names it."""

import posixpath
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.entities import Metric

from lifecycle.core import class_names
from lifecycle.tracking import client as tracking

ODD = [
    "accuracy", "macro avg", "macro", "weighted avg", "https://example.org/a?b=c", "a//b", "a/./b", "a/..", "$5-$10",
    "over $$100", "../x", ".", "..", "/", "//", "a.", "\u200b", "l" * 600, "l" * 601, "👍🏽", "👍", "مرحبا", "שלום",
    "two\nlines", "tab\there", 'say "no"', "it's", "<b>", "&amp;", "[red]", "[/red]", "{{ x }}", "{% if %}", "a|b",
    "C", "C++", "C#", "+!", "+?", "__", "_x002B_", "_x005F_x002B_", "+", "Positive", "positive", "a b", "a  b", "ab",
    "café", "कि", "e\u0301x", "\\$", "_hidden", "#", "*bold*", "`code`", "null", "007", "1.0", "true",
    "_x0123456789ABCDEF_", "%s %(x)s %d", "a:b", "a;b", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
]  # fmt: skip
labels = st.one_of(st.text(min_size=1), st.text("_x02BF+/. :", min_size=1), st.sampled_from(ODD))


@given(labels)
@example("_x002B_")
@example("a_x005F_x002B_b+")
def test_a_label_comes_back_from_a_metrics_name(label: str) -> None:
    name = class_names.as_metric(label)
    if len(name) < class_names.METRIC_LENGTH:
        assert class_names.from_metric(name) == label


@given(st.sets(labels, min_size=2))
@example({"+", "_x002B_"})
@example({"l" * 600, "l" * 601, class_names.as_metric("l" * 600)})
def test_no_two_labels_share_a_metrics_name(found: set[str]) -> None:
    assert len({class_names.as_metric(label) for label in found}) == len(found)


@given(labels)
def test_mlflow_takes_every_name(label: str) -> None:
    from mlflow.utils.validation import _validate_metric

    name = f"holdout.precision.{class_names.as_metric(label)}"
    _validate_metric(name, 0.5, 0, 0)
    assert posixpath.normpath(name) == name
    assert name == name.strip()


@pytest.mark.parametrize("label", ["positive", "class 1", "a/b", "a:b", "intent_07", "x-y.z", "über", "赞", "007"])
def test_a_plain_label_stands_as_it_is(label: str) -> None:
    assert class_names.as_metric(label) == label


def test_a_digest_is_told_from_a_label() -> None:
    with pytest.raises(ValueError, match="digest of a longer label"):
        class_names.from_metric(class_names.as_metric("l" * 600))


def test_a_run_holds_a_metric_of_every_odd_label(home: Path) -> None:
    """MLflow's own store refuses or merges none of them."""
    client = tracking.client(f"sqlite:///{home / 'mlflow.db'}")
    run = client.create_run("0").info.run_id
    metrics = [Metric(f"test.f1.{class_names.as_metric(label)}", i, 0, 0) for i, label in enumerate(ODD)]
    client.log_batch(run, metrics)
    assert sorted(client.get_run(run).data.metrics.values()) == list(range(len(ODD)))


@pytest.mark.parametrize(
    ("first", "second"),
    [("caf\u00e9", "cafe\u0301"), (" a", "a\u00a0"), ("\u212b", "\u00c5"), ("\uac00", "\u1100\u1161"), ("a\n", "a")],
)
def test_labels_that_are_one_class(first: str, second: str) -> None:
    assert class_names.canonical(first) == class_names.canonical(second)


@pytest.mark.parametrize(("first", "second"), [("a", "A"), ("ﬁ", "fi"), ("²", "2"), ("a b", "a  b"), ("C", "C+")])
def test_labels_that_are_two_classes(first: str, second: str) -> None:
    assert class_names.canonical(first) != class_names.canonical(second)


@given(st.text())
def test_the_form_of_a_class_is_stable(label: str) -> None:
    once = class_names.canonical(label)
    assert class_names.canonical(once) == once == unicodedata.normalize("NFC", once)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("ab", "ab", ""),
        ("", "ab", "new 'a', 'b'"),
        ("ab", "abc", "new 'c'"),
        ("abc", "ab", "gone 'c'"),
        ("ab", "bc", "new 'c'; gone 'a'"),
        ("ab", "AB", "new 'A', 'B'; gone 'a', 'b'; none stays the same"),
        ("a", "abcdefgh", "new 'b', 'c', 'd', 'e', 'f' and 2 more"),
    ],
)
def test_the_difference_between_two_sets_of_classes_is_told(before: str, after: str, told: str) -> None:
    assert class_names.difference(before, after) == told


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("positive", "positive"),
        ("class_weight 0.5 [0.4, 0.6]", "class_weight 0.5 [0.4, 0.6]"),
        ("a|b", r"a\|b"),
        ("<b>", r"&lt;b\>"),
        ("two\nlines", "two lines"),
        ("*bold* `code` _it_", r"\*bold\* \`code\` \_it\_"),
        ("[x](http://e)", r"[x]\(http://e)"),
        ("# head", r"\# head"),
        ("$5-$10", r"\$5-\$10"),
        ("a\\", r"a\\"),
        ("said ", "said "),
    ],
)
def test_a_text_is_no_markup(text: str, written: str) -> None:
    assert class_names.as_markdown(text) == written


@pytest.mark.parametrize(
    ("label", "drawn"),
    [("plain", "plain"), ("$5-$10", r"\$5-\$10"), ("_x", " _x"), ("a\nb", "a b"), ("l" * 40, "l" * 29 + "…")],
)
def test_a_label_on_a_plot_is_no_formula_and_in_the_legend(label: str, drawn: str) -> None:
    assert class_names.as_plotted(label) == drawn


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("Positve", "positive"),
        ("POSITIVE", "positive"),
        ("neg", "neg."),
        ("odd", None),
        ("", None),
    ],
)
def test_the_nearest_class(label: str, meant: str | None) -> None:
    assert class_names.nearest(label, ["neg.", "negative", "positive"]) == meant


@pytest.mark.parametrize("dtype", ["str", "object"])
@pytest.mark.parametrize("labels", [[], ["e\u0301 ", "\u00e9", None, "b"]])
def test_a_column_is_named_as_each_of_its_labels_and_keeps_its_type(labels: list[str | None], dtype: str) -> None:
    column = pd.Series(labels, dtype=dtype)
    found = class_names.canonicals(column)
    assert found.dtype == column.dtype
    assert found.dropna().tolist() == [class_names.canonical(label) for label in labels if label is not None]
    assert found.isna().tolist() == [label is None for label in labels]
