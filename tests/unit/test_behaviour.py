"""Behaviour checks: suites are validated when they are read, and each kind of test fails the model that it is for."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.problems.behaviour import asking, suites
from lifecycle.problems.behaviour.asking import NO_CASE
from lifecycle.problems.behaviour.changes import CHANGES, negated
from lifecycle.problems.behaviour.suites import Suite
from lifecycle.problems.contract import TEXT_COLUMNS, Column, Columns
from lifecycle.problems.findings import BehaviourLine
from lifecycle.problems.text_classification import estimators
from lifecycle.problems.text_classification.model import TextModel
from tests.conftest import ROOT, SAMPLE

Predict = Callable[[pd.DataFrame], pd.DataFrame]
SHIPPED = ROOT / "config" / "behaviour"
ROWS = pd.DataFrame(
    {
        "row": range(4),
        "text": ["Profit rose to 12 million.", "Sales fell.", "The meeting is on 5 May", "Shares gained!"],
        "truth": ["positive", "negative", "neutral", "positive"],
    }
)


def model(label_of: Callable[[str], str]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A model that is a rule."""
    return lambda texts: pd.DataFrame({"label": [label_of(text) for text in texts["text"]], "score": 1.0})


def by_words(text: str) -> str:
    """Reads words whatever their case, and nothing else."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    if words & {"rose", "gained", "record"}:
        return "positive"
    return "negative" if words & {"fell", "loss", "not"} else "neutral"


def run(
    asked: Sequence[Suite],
    rows: pd.DataFrame,
    predict: Predict,
    inputs: Columns = TEXT_COLUMNS,
    *,
    confidence: float = 0.95,
) -> tuple[BehaviourLine, ...]:
    return asking.run(asked, rows, inputs, predict, confidence=confidence)


def suite(*tests: dict[str, Any], name: str = "own") -> Suite:
    return Suite.model_validate({"name": name, "tests": tests})


def asked(label_of: Callable[[str], str], **test: Any) -> BehaviourLine:
    """What comes of one test."""
    (line,) = run([suite({"name": "it", **test})], ROWS, model(label_of), confidence=0.95)
    return line


def invariance(change: str, **test: Any) -> dict[str, Any]:
    return {"kind": "invariance", "change": change, **({} if "texts" in test else {"rows": 4}), **test}


# --- what each kind notices


@pytest.mark.parametrize(
    ("change", "shaky"),
    [
        ("upper_case", lambda text: "positive" if text.isupper() else by_words(text)),
        ("lower_case", lambda text: "positive" if text.islower() else by_words(text)),
        ("whitespace", lambda text: "positive" if "  " in text else by_words(text)),
        ("punctuation", lambda text: "positive" if text.endswith(".") else "neutral"),
        ("numbers", lambda text: "positive" if "12" in text else "neutral"),
    ],
)
def test_a_change_that_must_not_matter_is_noticed_where_it_does(change: str, shaky: Callable[[str], str]) -> None:
    assert asked(by_words, **invariance(change)).outcome == "pass"
    found = asked(shaky, **invariance(change))
    assert (found.kind, found.outcome) == ("invariance", "fail")
    assert found.failures > 0
    example = found.examples[0]
    assert example["answered"] != example["expected"]
    assert example["before"].endswith(f"[{example['expected']}]")
    assert example["given"] != example["before"].rpartition(" [")[0]


def test_names_are_swapped_for_each_other_name_wherever_they_stand_as_words() -> None:
    texts = ["Ann pays Bob.", "Annual report of Bob", "Nobody is named."]
    seen: list[str] = []

    def label_of(text: str) -> str:
        seen.append(text)
        return "positive" if text == "Cleo pays Ann." else "neutral"

    found = asked(label_of, **invariance("swap", names=["Bob", "Ann", "Cleo"], texts=texts))
    assert set(seen) == {
        *texts[:2],
        *("Bob pays Cleo.", "Cleo pays Ann.", "Annual report of Ann", "Annual report of Cleo"),
    }
    assert (found.cases, found.failures) == (4, 1)
    assert found.examples == (
        {"before": "Ann pays Bob. [neutral]", "given": "Cleo pays Ann.", "expected": "neutral", "answered": "positive"},
    )


def test_a_direction_is_that_the_label_moves_to_the_one_asked_for() -> None:
    pair = {"kind": "direction", "becomes": "negative", "pairs": [{"before": "Profit rose.", "after": "Profit fell."}]}
    assert asked(by_words, **pair).outcome == "pass"
    stubborn = asked(lambda _: "positive", **pair)
    assert (stubborn.failures, stubborn.examples[0]["expected"]) == (1, "negative, from another label")
    assert asked(lambda _: "negative", **pair).outcome == "fail"  # nothing has moved


def test_a_negation_must_not_stay_what_it_negates() -> None:
    pairs = [{"before": "It is a record.", "after": "It is not a record."}]
    negation = {"kind": "direction", "must_not_be": "positive", "pairs": pairs}
    assert asked(by_words, **negation).examples[0]["expected"] == "not positive"
    assert asked(lambda text: "negative" if "not" in text else by_words(text), **negation).outcome == "pass"
    assert asked(lambda text: "positive" if "not" in text else "neutral", **negation).outcome == "fail"


def test_two_texts_that_must_differ_may_not_get_one_label() -> None:
    pairs = [{"before": "Profit rose.", "after": "Profit fell."}]
    differ = {"kind": "direction", "must_differ": True, "pairs": pairs}
    assert asked(by_words, **differ).outcome == "pass"
    assert asked(lambda _: "neutral", **differ).examples[0]["expected"] == "not neutral"


def test_simple_texts_must_get_their_label() -> None:
    cases = [{"text": "Profit rose.", "label": "positive"}, {"text": "Profit fell.", "label": "negative"}]
    simple = {"kind": "minimum_functionality", "cases": cases}
    assert asked(by_words, **simple).outcome == "pass"
    found = asked(lambda _: "positive", **simple)
    assert found.examples == ({"given": "Profit fell.", "expected": "negative", "answered": "positive"},)


# --- counting


def test_slots_are_filled_in_every_combination_and_alike_in_a_pair() -> None:
    seen: list[str] = []

    def label_of(text: str) -> str:
        seen.append(text)
        return by_words(text)

    slots = {"what": ["Profit", "Sales"], "when": ["today", "in May", "in May"]}
    pairs = [{"before": "{what} rose {when}.", "after": "{what} fell {when}."}, {"before": "{what}", "after": "no"}]
    found = asked(label_of, kind="direction", must_differ=True, slots=slots, pairs=pairs)
    assert found.cases == 4 + 2  # what is the same counts once
    assert {"Profit rose in May.", "Profit fell in May.", "Sales"} <= set(seen)
    assert found.failures == 2


def test_a_share_of_failures_is_held_against_the_limit_with_its_interval_and_few_examples() -> None:
    slots = {"number": [str(number) for number in range(20)]}
    cases = [{"text": "Profit {number}", "label": "neutral"}]
    test = {"kind": "minimum_functionality", "cases": cases, "slots": slots}

    def wrong_below_ten(text: str) -> str:
        return "negative" if len(text) == len("Profit 1") else "neutral"

    found = asked(wrong_below_ten, max_failures=0.5, **test)
    assert (found.cases, found.failures, found.limit, found.outcome) == (20, 10, 0.5, "pass")
    assert (round(found.low, 3), round(found.high, 3)) == (0.299, 0.701)
    assert len(found.examples) == 5
    assert asked(wrong_below_ten, max_failures=0.49, **test).outcome == "fail"


def test_a_test_that_nothing_can_be_asked_in_fails_and_says_so() -> None:
    wordy = ROWS.assign(text=["one", "two", "three", "four"])
    (found,) = run([suite({"name": "it", **invariance("numbers")})], wordy, model(lambda _: "neutral"), confidence=0.95)
    assert (found.cases, found.failures, found.outcome) == (0, 0, "fail")
    assert found.examples == (NO_CASE,)


def test_rows_are_sampled_and_always_the_same() -> None:
    rows = pd.DataFrame({"row": range(50), "text": [f"Text {n}." for n in range(50)], "truth": "neutral"})
    drawn: list[set[str]] = []

    def predict(texts: pd.DataFrame) -> pd.DataFrame:
        drawn.append(set(texts["text"]))
        return pd.DataFrame({"label": "neutral", "score": 1.0}, index=texts.index)

    for _ in range(2):
        (line,) = run([suite({"name": "it", **invariance("upper_case", rows=10)})], rows, predict, confidence=0.95)
        assert line.cases == 10
    assert drawn[0] == drawn[1] != {*rows["text"][:10], *rows["text"][:10].str.upper()}


def test_all_suites_are_asked_in_one_call_and_without_suites_none_is_made() -> None:
    calls: list[int] = []

    def predict(texts: pd.DataFrame) -> pd.DataFrame:
        calls.append(len(texts))
        return model(by_words)(texts)

    one = suite({"name": "a", **invariance("upper_case")}, {"name": "b", **invariance("lower_case")}, name="one")
    two = suite({"name": "a", **invariance("whitespace")}, name="two")
    lines = run([one, two], ROWS, predict, confidence=0.95)
    assert calls == [4 * 4]  # each row once, and its three changes
    assert [(line.suite, line.name) for line in lines] == [("one", "a"), ("one", "b"), ("two", "a")]
    assert run([], ROWS, predict, confidence=0.95) == ()
    assert len(calls) == 1


@pytest.mark.parametrize("labels", [["neutral"], [None] * 8])
def test_a_model_that_does_not_answer_each_text_is_refused(labels: list[Any]) -> None:
    def predict(_: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"label": pd.Series(labels, dtype=object)})

    with pytest.raises(IntegrityError, match="labels for 8 texts"):
        run([suite({"name": "it", **invariance("upper_case")})], ROWS, predict, confidence=0.95)


# --- pairs

PAIR_INPUTS = (Column(name="said", kind="text"), Column(name="asked", kind="text"))
PAIR_ROWS = pd.DataFrame(
    {
        "row": range(3),
        "said": ["A man is running", "Nobody is here", "Two dogs were playing with a boy who is small"],
        "asked": ["A man is sleeping", "Somebody is here", "Dogs were playing"],
        "truth": ["neutral", "contradiction", "entailment"],
    }
)


def by_both(said: str, asked: str) -> str:
    """Reads as a person does who knows what `not` is."""
    if ("not" in said.split()) != ("not" in asked.split()):
        return "contradiction"
    return "entailment" if {*asked.split()} <= {*said.split()} else "neutral"


def of_pair(reads: Callable[[str, str], str], **test: Any) -> BehaviourLine:
    def predict(texts: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"label": [reads(*pair) for pair in zip(texts["said"], texts["asked"], strict=True)]})

    (line,) = run([suite({"name": "it", **test})], PAIR_ROWS, predict, PAIR_INPUTS)
    return line


def test_a_sentence_follows_from_itself_and_contradicts_its_negation() -> None:
    same = {"kind": "relation", "second": "same", "label": "entailment", "rows": 3}
    assert of_pair(by_both, **same).cases == 3
    assert of_pair(by_both, **same).outcome == "pass"
    negation = {**same, "second": "negated", "label": "contradiction"}
    assert (of_pair(by_both, **negation).cases, of_pair(by_both, **negation).outcome) == (2, "pass")
    overlap = of_pair(lambda said, asked: "entailment" if said[:5] == asked[:5] else "neutral", **negation)
    shown = "said=A man is running, asked=A man is not running"
    assert {"given": shown, "expected": "contradiction", "answered": "entailment"} in overlap.examples
    never = of_pair(by_both, kind="relation", second="negated", must_not_be="contradiction", texts=["It is so"])
    assert (never.failures, never.examples[0]["expected"]) == (1, "not contradiction")


def test_both_texts_of_a_pair_are_changed_alike_and_exchanged() -> None:
    pair = {"texts": [["{who} met Ann", "Ann was met"]], "slots": {"who": ["Bob", "Cleo"]}}
    seen: list[tuple[str, str]] = []

    def reads(said: str, asked: str) -> str:
        seen.append((said, asked))
        return "neutral" if said.startswith("Ann was") else "entailment"

    assert of_pair(reads, **invariance("swap", names=["Ann", "Bob"], **pair)).failures == 0
    assert ("Ann met Bob", "Bob was met") in seen
    exchanged = of_pair(reads, **invariance("exchange", **pair))
    assert (exchanged.cases, exchanged.failures) == (2, 2)
    assert exchanged.examples[0]["before"] == "said=Bob met Ann, asked=Ann was met [entailment]"
    assert of_pair(reads, **invariance("upper_case", rows=2)).cases == 2


def test_pairs_are_not_asked_of_a_model_of_texts_nor_texts_of_one_of_pairs() -> None:
    for name, texts, said in [
        ("inference_of_pairs", 1, "asks about pairs of texts; the model reads one text"),
        ("financial_sentiment", 2, "asks about one text; the model reads pairs of texts"),
    ]:
        with pytest.raises(ConfigError, match=said):
            suites.load([name], texts, SHIPPED)
    assert suites.load(["text_invariance"], 2, SHIPPED), "what is about rows is about both"
    with pytest.raises(ValueError, match="single texts and pairs"):
        suite(SIMPLE, {"name": "pair", **invariance("upper_case", texts=[["a", "b"]])})


@given(st.text(), st.text())
def test_a_negation_only_adds_a_word_to_a_sentence_that_says_none(before: str, after: str) -> None:
    assert negated("A boy who is small is running") == "A boy who is small is not running"
    assert negated(f"{before} not {after}") == ""
    if made := negated(f"{before} is {after}"):
        assert made.replace(" not", "", 1) == f"{before} is {after}"


# --- the changes


@given(st.text())
def test_changed_numbers_keep_their_length_and_everything_else(text: str) -> None:
    changed = CHANGES["numbers"](text)
    assert CHANGES["numbers"](text) == changed
    assert re.sub("[0-9]", "0", changed) == re.sub("[0-9]", "0", text)
    before, after = re.findall("[0-9]+", text), re.findall("[0-9]+", changed)
    assert all(new != old and new[0] != "0" for old, new in zip(before, after, strict=True))


@given(st.text())
def test_white_space_and_punctuation_leave_the_words(text: str) -> None:
    assert CHANGES["whitespace"](text).split() == text.split()
    assert re.findall(r"\w+", CHANGES["punctuation"](text)) == re.findall(r"\w+", text)


def test_the_end_of_a_text_is_changed_one_way_or_the_other() -> None:
    assert [CHANGES["punctuation"](text) for text in ("Up.", "Up!", "Up", "Up?", "...")] == [
        *("Up", "Up", "Up.", "Up?.", "..."),
    ]


# --- reading


CASE = {"text": "Profit rose.", "label": "positive"}
SIMPLE = {"name": "it", "kind": "minimum_functionality", "cases": [CASE]}
SAME = {"name": "it", "kind": "relation", "second": "same", "label": "a", "rows": 3}
PAIRS = {"name": "it", "kind": "direction", "pairs": [{"before": "It rose.", "after": "It fell."}]}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "must hold"),
        ("- a", "must hold"),
        ("tests: [", "not YAML"),
        ({"tests": []}, "tests"),
        ({"description": "nothing"}, "tests"),
        ({"name": "other", "tests": [SIMPLE]}, "must hold"),
        ({"tests": [SIMPLE], "limit": 1}, "limit"),
        ({"tests": [{**SIMPLE, "max_failure": 0.1}]}, "max_failure"),
        ({"tests": [{**SIMPLE, "max_failures": 1}]}, "max_failures"),
        ({"tests": [{**SIMPLE, "kind": "invariant"}]}, "invariant"),
        ({"tests": [{**SIMPLE, "cases": []}]}, "cases"),
        ({"tests": [{**SIMPLE, "cases": [{**CASE, "label": 1}]}]}, "label"),
        ({"tests": [SIMPLE, SIMPLE]}, "two tests are called 'it'"),
        ({"tests": [{**SIMPLE, "slots": {"who": ["Ann"]}}]}, "who"),
        ({"tests": [{**SIMPLE, "cases": [{**CASE, "text": "{who} rose"}]}]}, "who"),
        ({"tests": [{**SIMPLE, "slots": {"who": []}}]}, "who"),
        ({"tests": [PAIRS]}, "exactly one of"),
        ({"tests": [{**PAIRS, "becomes": "negative", "must_differ": True}]}, "exactly one of"),
        ({"tests": [{**PAIRS, "must_differ": False}]}, "must_differ"),
        ({"tests": [{**PAIRS, "becomes": "a", "pairs": [{"before": "x", "after": "x"}]}]}, "same text"),
        ({"tests": [{"name": "it", **invariance("sarcasm")}]}, "sarcasm"),
        ({"tests": [{"name": "it", **invariance("upper_case", rows=None)}]}, "either"),
        ({"tests": [{"name": "it", **invariance("upper_case", rows=3, texts=["a"])}]}, "either"),
        ({"tests": [{"name": "it", **invariance("swap")}]}, "names"),
        ({"tests": [{"name": "it", **invariance("swap", names=["Ann"])}]}, "names"),
        ({"tests": [{"name": "it", **invariance("numbers", names=["Ann", "Bob"])}]}, "names"),
        ({"tests": [{"name": "it", **invariance("numbers", texts=["no digit"])}]}, "none of the texts"),
        ({"tests": [{"name": "it", **invariance("exchange", texts=["one"])}]}, "list of two"),
        ({"tests": [{"name": "it", **invariance("upper_case", texts=[["a", "b", "c"]])}]}, "texts"),
        ({"tests": [{**SAME, "label": None}]}, "exactly one of"),
        ({"tests": [{**SAME, "must_not_be": "b"}]}, "exactly one of"),
        ({"tests": [{**SAME, "rows": None}]}, "either"),
        ({"tests": [{**SAME, "second": "longer"}]}, "second"),
    ],
)
def test_a_suite_that_says_something_else_than_it_means_is_refused(tmp_path: Path, content: Any, named: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(ConfigError) as refused:
        suites.load(["own"], 1, tmp_path)
    assert str(path) in refused.value.what
    assert named in refused.value.what


def test_slots_may_not_make_more_cases_than_anyone_looks_at(tmp_path: Path) -> None:
    slots = {name: [str(number) for number in range(20)] for name in "abc"}
    content = {"tests": [{**SIMPLE, "slots": slots, "cases": [{**CASE, "text": "{a}{b}{c}"}]}]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="8,000 cases"):
        suites.load(["own"], 1, tmp_path)


def test_a_suite_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match="financial_sentiment, inference_of_pairs, text_invariance"):
        suites.load(["finance"], 1, SHIPPED)


def test_a_suite_that_there_is_not_is_told_with_the_shipped_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "behaviour").mkdir()
    (tmp_path / "config" / "behaviour" / "ours.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there are: financial_sentiment, inference_of_pairs, ours, text_invariance"):
        suites.load(["finance"], 1)


@pytest.mark.parametrize(
    ("test", "key"),
    [
        ({**SIMPLE, "cases": [CASE, {"text": "Profit fell.", "label": "negativ"}]}, "tests.0.cases.1.label='negativ'"),
        ({**PAIRS, "becomes": "negativ"}, "tests.0.becomes='negativ'"),
        ({**PAIRS, "must_not_be": "negativ"}, "tests.0.must_not_be='negativ'"),
    ],
)
def test_a_label_that_the_model_does_not_know_is_an_error_of_the_suite(test: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run([suite(test)], ROWS, model(by_words), confidence=0.95)
    assert f"own.yaml: {key}" in refused.value.what
    assert "negative, neutral, positive" in refused.value.what


def test_a_label_is_meant_however_its_letters_are_written() -> None:
    loud = ROWS.assign(truth=ROWS["truth"].str.upper())
    simple = suite({**SIMPLE, "cases": [CASE, {"text": "Profit fell.", "label": "Negative"}]})
    (line,) = run([simple], loud, model(lambda text: by_words(text).upper()))
    assert line.outcome == "pass"


def test_editors_can_check_a_suite_by_its_schema() -> None:
    schema = Suite.model_json_schema()
    assert set(schema["properties"]) == {"description", "tests"}
    assert schema["required"] == ["tests"]


# --- what is shipped


@pytest.fixture(scope="module")
def sample() -> dict[str, pd.DataFrame]:
    """Two parts of the bundled sample: to train on and to judge on."""
    rows = pd.read_csv(SAMPLE, dtype=str, keep_default_na=False).set_axis(["text", "truth"], axis=1)
    rows = rows.apply(lambda column: column.str.strip())
    rows = rows[(rows["text"] != "") & (rows["truth"] != "")].drop_duplicates("text").reset_index(drop=True)
    return {"train": rows[rows.index % 4 > 0], "judged": rows[rows.index % 4 == 0]}


@pytest.mark.parametrize("model_type", ["naive_bayes", "logistic_regression"])
def test_honest_models_of_the_sample_pass_the_suite_for_all_texts(
    sample: dict[str, pd.DataFrame], model_type: Any
) -> None:
    trained = TextModel(estimators.fit(model_type, {}, 0, sample["train"][["text"]], sample["train"]["truth"]))
    shipped = suites.load(["text_invariance", "financial_sentiment"], 1, SHIPPED)
    lines = run(shipped, sample["judged"], lambda texts: trained.predict(None, texts), confidence=0.95)
    general = [line for line in lines if line.suite == "text_invariance"]
    assert {line.outcome for line in general} == {"pass"}
    assert min(line.cases for line in general) > 150
    deep = {line.name: line.outcome for line in lines if line.suite == "financial_sentiment"}
    assert deep["rose becomes fell"] == "fail"  # words alone, without their order, do not tell; docs/gate.md says so
    assert deep["no news"] == "pass"


def test_a_model_that_reads_as_a_person_does_passes_the_suite_for_financial_news() -> None:
    """What is asked can be answered: the labels of the suite do not contradict each other."""

    def reads(text: str) -> str:
        if re.search(r"not|failed|no longer", text) and not re.search("record|order was", text):
            return "neutral"
        if re.search(r"loss(?! narrowed)|fell|decreased|dropped|cut|lays off|lost|downgraded|plunged|warning", text):
            return "negative"
        good = r"rose|increased|grew|profit|record|won|doubled|raised|upgraded|narrowed|soared|targets|beat|dividend"
        return "positive" if re.search(good, text) else "neutral"

    (found,) = suites.load(["financial_sentiment"], 1, SHIPPED)
    lines = run([found], ROWS, model(reads), confidence=0.95)
    assert [(line.name, line.examples) for line in lines if line.outcome == "fail"] == []
