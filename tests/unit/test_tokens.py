"""Texts of any script are cut into what carries their meaning; English is read as ever."""

import csv
import logging
import re
import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.problems.text_classification import estimators, tokens
from tests.conftest import SAMPLE

ENGLAND, SCOTLAND = (
    "🏴" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f" for region in ("gbeng", "gbsct")
)
"""Flags that differ only in letters which nobody sees."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("not up 5 % to €3.5", ["not", "up", "5", "%", "to", "€", "3", "5"]),
        ("हिन्दी में समाचार", ["हिन्दी", "में", "समाचार"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("ভাষা", ["ভাষা"]),
        ("مَرْحَبًا بك", ["مَرْحَبًا", "بك"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("cafe\u0301 caf\u00e9", ["cafe\u0301", "caf\u00e9"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("今天很好。", ["今", "天", "很", "好"]),
        ("ありがとう", ["あ", "り", "が", "と", "う"]),
        ("カメラを買う", ["カ", "メ", "ラ", "を", "買", "う"]),
        ("ภาษาง่าย", ["ภ", "า", "ษ", "า", "ง่", "า", "ย"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("iPhone很好用", ["iPhone", "很", "好", "用"]),
        ("👍🏽🎉", ["👍🏽", "🎉"]),
        ("👨\u200d👩\u200d👧 ok ❤\ufe0f", ["👨\u200d👩\u200d👧", "ok", "❤\ufe0f"]),
        (f"{ENGLAND}{SCOTLAND} won", [ENGLAND, SCOTLAND, "won"]),
        ("→ up ↓", ["→", "up", "↓"]),
        ("a b c", ["a", "b", "c"]),
        ("!? ...", []),
    ],
)
def test_tokens_of_a_script(text: str, found: list[str]) -> None:
    assert re.findall(tokens.ALL_SCRIPTS, text) == found


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_latin_words_are_the_same_by_both_patterns(text: str) -> None:
    assert re.findall(tokens.ALL_SCRIPTS, text) == re.findall(tokens.WORDS, text)


def test_no_sign_or_blank_counts_as_a_mark() -> None:
    mark = re.compile(f"[{tokens.MARKS}]")
    found = {unicodedata.category(letter) for letter in map(chr, range(0x10000)) if mark.match(letter)}
    assert not {kind for kind in found if kind[0] in "PSZ"}


WORDS = {"analyzer": "word", "token_pattern": tokens.WORDS, "ngram_range": (1, 2)}
OTHERS = {"analyzer": "word", "token_pattern": tokens.ALL_SCRIPTS, "ngram_range": (1, 2)}
RUN_TOGETHER = {**OTHERS, "ngram_range": (1, 3)}
LETTERS = {"analyzer": "char", "ngram_range": (1, 3)}


@pytest.mark.parametrize(
    ("texts", "chosen"),
    [
        ([], WORDS),
        (["profit rose"] * 10, WORDS),
        (["profit rose"] * 99 + ["to the moon 🚀"], WORDS),
        (["profit rose"] * 98 + ["to the moon 🚀"] * 2, OTHERS),
        (["profit rose 👍"] * 10, OTHERS),
        (["👍🎉"] * 10, OTHERS),
        (["हिन्दी में"] * 10, OTHERS),
        (["今天很好"] * 10, RUN_TOGETHER),
        (["สวัสดี"] * 10, RUN_TOGETHER),
        (["今天很好"] * 5 + ["a much longer English sentence stands here"] * 5, OTHERS),
        (["!?", "...", ":-)"] * 4, LETTERS),
        (["words"] * 9 + ["?!"], WORDS),
        (["words"] * 8 + ["?!"] * 2, LETTERS),
    ],
)
def test_what_texts_ask_for(texts: list[str], chosen: dict[str, object]) -> None:
    assert tokens.choice(texts, {}) == chosen


def test_the_bundled_sample_is_read_as_words() -> None:
    with SAMPLE.open(encoding="utf-8") as file:
        assert tokens.choice([row["Sentence"] for row in csv.DictReader(file)], {}) == WORDS


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("👍🎉", "👎💔"), ("很好", "很差"), ("ดีมาก", "แย่มาก"), ("とても良い", "とても悪い"), ("अच्छा", "बुरा"),
        ("!!!", "???"), ("+", "-"), ("x", "y"), ("جيد", "سيئ"), ("좋아요", "싫어요"),
        (":-)", ":-("), ("a👍", "a👎"), (f"go {ENGLAND}", f"go {SCOTLAND}"), ("ឆ្នាំ", "ខ្មែរ"),
    ],
)  # fmt: skip
def test_texts_that_differ_in_what_they_say_are_told_apart(good: str, bad: str) -> None:
    texts = pd.DataFrame({"text": [good, bad] * 10})
    fitted = estimators.fit("naive_bayes", {}, 0, texts, ["good", "bad"] * 10)
    assert fitted.predict(texts).tolist() == ["good", "bad"] * 10


@pytest.mark.parametrize(
    ("texts", "params", "warned"),
    [
        (["one", "two"] * 5, {}, True),
        (["one", "two"] * 5, {"tfidf__analyzer": "char"}, False),
        (["one two", "two three"] * 5, {}, False),
    ],
)
def test_texts_of_one_token_are_worth_a_warning(
    texts: list[str], params: dict[str, object], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lifecycle"):
        estimators.fit("naive_bayes", params, 0, pd.DataFrame({"text": texts}), ["good", "bad"] * 5)
    assert ("Most texts are a single token" in caplog.text) is warned


def test_the_choice_can_be_overridden() -> None:
    params = {"tfidf__ngram_range": [2, 4], "tfidf__analyzer": "char_wb", "alpha": 0.5}
    chosen = estimators.text_parameters(estimators.build("naive_bayes", params, 0, ["今天很好"]))
    assert (chosen["tfidf.ngram_range"], chosen["tfidf.analyzer"]) == ((2, 4), "char_wb")
    only = estimators.text_parameters(estimators.build("naive_bayes", {"tfidf__min_df": 2}, 0, ["今天很好"]))
    assert (only["tfidf.ngram_range"], only["tfidf.token_pattern"]) == ((1, 3), tokens.ALL_SCRIPTS)
