"""Stored predictions of two models on the same rows: joined by key, not by place, without what either has seen."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import IntegrityError
from lifecycle.evaluation.comparable import comparable
from lifecycle.problems.known import named

TEXTS = named("text-classification")
LABELS = ("a", "b", "c")


def truth_of(size: int) -> pd.DataFrame:
    keys = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(size)]
    labels = [LABELS[i % 3] for i in range(size)]
    texts = [f"text {i}" for i in range(size)]
    return pd.DataFrame(
        {"row": range(1, size + 1), "key": keys, "text": texts, "label": labels, "source_desk": "x", "split": "holdout"}
    )


def predictions_of(truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(3), len(truth))
    frame = pd.DataFrame(drawn, columns=[f"probability.{name}" for name in LABELS])
    labels = np.array(LABELS, object)[drawn.argmax(axis=1)]
    return truth[["row", "key"]].assign(truth=truth["label"], label=labels, score=drawn.max(axis=1)).join(frame)


def short(key: str) -> int:
    return int(key[:16], 16)


@given(st.integers(1, 40), st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_were_stored_does_not_matter(size: int, seed: int, random: object) -> None:
    truth = truth_of(size)
    stored = {"challenger": predictions_of(truth, seed), "champion": predictions_of(truth, seed + 100)}
    shuffled = {role: frame.sample(frac=1, random_state=random.randrange(9999)) for role, frame in stored.items()}  # type: ignore[attr-defined]
    first, second = comparable(TEXTS, truth, stored, {}), comparable(TEXTS, truth, shuffled, {})
    pd.testing.assert_frame_equal(first.rows, second.rows)
    for one, other in ((first.challenger, second.challenger), (first.champion, second.champion)):
        assert one is not None
        assert other is not None
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert [LABELS[code] for code in first.challenger.label] == list(stored["challenger"]["label"])


@given(st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)))
def test_what_either_has_seen_is_left_out_and_counted(new: set[int], old: set[int]) -> None:
    truth = truth_of(20)
    stored = {"challenger": predictions_of(truth, 0), "champion": predictions_of(truth, 1)}
    seen = {
        "challenger": {short(truth["key"][i]) for i in new},
        "champion": {short(truth["key"][i]) for i in old},
    }
    found = comparable(TEXTS, truth, stored, seen)
    assert list(found.rows["row"]) == [i + 1 for i in range(20) if i not in new | old]
    assert found.left_out == {"challenger": len(new), "champion": len(old)}
    assert len(found.challenger.label) == len(found.rows)


def test_classes_that_only_one_model_knows_mean_the_same_for_both() -> None:
    truth = truth_of(6)
    plain = predictions_of(truth, 0)
    extra = plain.assign(**{"probability.z": 0.0}).assign(label=["z", *plain["label"][1:]])
    found = comparable(TEXTS, truth, {"challenger": extra, "champion": plain}, {})
    assert found.challenger.classes == ("a", "b", "c", "z")
    assert found.champion is not None
    assert found.champion.classes == found.challenger.classes
    assert found.champion.probabilities is not None
    assert found.champion.probabilities[:, 3].tolist() == [0.0] * 6
    assert found.challenger.label[0] == 3


def test_a_model_that_tells_no_probabilities_has_none() -> None:
    truth = truth_of(6)
    found = comparable(
        TEXTS, truth, {"challenger": predictions_of(truth, 0)[["row", "key", "truth", "label", "score"]]}, {}
    )
    assert found.challenger.probabilities is None
    assert found.champion is None
    assert list(found.rows.columns) == ["row", "text", "source_desk", "truth"]


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, 0.9])
def test_probabilities_must_be_some(value: float) -> None:
    truth = truth_of(6)
    broken = predictions_of(truth, 0)
    broken.loc[2, "probability.a"] = value
    with pytest.raises(IntegrityError, match="challenger are not usable: has probabilities that do not add up to 1"):
        comparable(TEXTS, truth, {"challenger": broken}, {})


def test_a_single_probability_must_be_one_too() -> None:
    truth = truth_of(1)
    alone = truth[["row", "key"]].assign(truth=truth["label"], label="a", score=0.5)
    comparable(TEXTS, truth, {"challenger": alone.assign(**{"probability.a": 1.0})}, {})
    with pytest.raises(IntegrityError, match="do not add up to 1"):
        comparable(TEXTS, truth, {"challenger": alone.assign(**{"probability.a": 0.5})}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 1}, "has a label that is no text"),
        ({"label": [1, "a", "b", "c", "a", "b"]}, "has a label that is no text"),
        ({"label": [float("nan"), "a", "b", "c", "a", "b"]}, "has an empty label"),
        ({"score": "high"}, "has scores that are no numbers"),
        ({"score": [None, *["high"] * 5]}, "has scores that are no numbers"),
        ({"score": True}, "has scores that are no numbers"),
        ({"score": 1j}, "has scores that are no numbers"),
        ({"probability.a": "0.1"}, "has scores that are no numbers"),
        ({"score": float("inf")}, r"has a score outside \[0, 1\]"),
    ],
)
def test_answers_of_another_kind_are_named(change: dict[str, object], words: str) -> None:
    truth = truth_of(6)
    broken = predictions_of(truth, 0).assign(**change)
    with pytest.raises(IntegrityError, match=f"challenger are not usable: .*{words}"):
        comparable(TEXTS, truth, {"challenger": broken}, {})


@pytest.mark.parametrize("column", ["key", "truth", "label", "score"])
def test_a_column_that_is_not_there_or_there_twice_is_named(column: str) -> None:
    truth = truth_of(6)
    plain = predictions_of(truth, 0)
    with pytest.raises(IntegrityError, match=f"champion are not usable: .*lacks or repeats the columns? {column}"):
        comparable(TEXTS, truth, {"challenger": plain, "champion": plain.drop(columns=column)}, {})
    twice = pd.concat([plain, plain[[column]]], axis=1)
    with pytest.raises(IntegrityError, match=f"challenger are not usable: .*lacks or repeats the columns? {column}"):
        comparable(TEXTS, truth, {"challenger": twice}, {})


@pytest.mark.parametrize("label", [None, ""])
def test_a_label_must_be_one(label: str | None) -> None:
    truth = truth_of(6)
    plain = predictions_of(truth, 0)
    broken = plain.assign(label=[label, *plain["label"][1:]])
    with pytest.raises(IntegrityError, match="champion are not usable: has an empty label"):
        comparable(TEXTS, truth, {"challenger": plain, "champion": broken}, {})


def test_a_class_in_two_unicode_forms_of_an_earlier_release_is_one() -> None:
    """Earlier releases left both forms in a dataset version and in the predictions of its models."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    truth = truth_of(4).assign(label=[composed, decomposed, "b", "b"])
    stored = truth[["row", "key"]].assign(
        truth=truth["label"], label=[decomposed, composed, "b", "b"], score=[0.5, 0.5, 0.75, 1.0],
        **{f"probability.{composed}": [0.25, 0.5, 0.25, 0.0], "probability.b": [0.25, 0.25, 0.75, 1.0],
           f"probability.{decomposed}": [0.5, 0.25, 0.0, 0.0]},
    )  # fmt: skip
    found = comparable(TEXTS, truth, {"challenger": stored}, {})
    assert found.challenger.classes == ("b", composed)
    assert found.challenger.truth.tolist() == found.challenger.label.tolist() == [1, 1, 0, 0]
    assert found.challenger.probabilities is not None
    assert found.challenger.probabilities.tolist() == [[0.25, 0.75], [0.25, 0.75], [0.75, 0.25], [1.0, 0.0]]
    assert found.rows["truth"].tolist() == [composed, composed, "b", "b"]
    assert found.knows == {"challenger": {"b", composed}}


def test_a_model_knows_the_classes_that_it_tells_probabilities_of() -> None:
    truth = truth_of(6)
    plain = predictions_of(truth, 0)
    found = comparable(TEXTS, truth, {"challenger": plain.assign(**{"probability.z": 0.0}), "champion": plain}, {})
    assert found.knows == {"challenger": {"a", "b", "c", "z"}, "champion": {"a", "b", "c"}}
    silent = comparable(
        TEXTS, truth, {"challenger": plain, "champion": plain[["row", "key", "truth", "label", "score"]]}, {}
    )
    assert silent.knows == {"challenger": {"a", "b", "c"}}


ODD = (
    "accuracy",
    "a//b",
    "$5-$10",
    ".",
    "[red]",
    "<b>",
    "{{ x }}",
    "a|b",
    "two\nlines",
    "👍🏽",
    "l" * 600,
    "label",
    "score",
)


def test_any_label_makes_a_column_of_its_own() -> None:
    truth = truth_of(len(ODD)).assign(label=list(ODD))
    sure = pd.DataFrame(np.eye(len(ODD)), columns=[f"probability.{label}" for label in ODD])
    stored = truth[["row", "key"]].assign(truth=list(ODD), label=list(ODD), score=1.0).join(sure)
    found = comparable(TEXTS, truth, {"challenger": stored}, {}).challenger
    assert found.classes == tuple(sorted(ODD))
    assert (found.truth == found.label).all()
    assert found.probabilities is not None
    assert (found.probabilities[np.arange(len(ODD)), found.truth] == 1).all()
