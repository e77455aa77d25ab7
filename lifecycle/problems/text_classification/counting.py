"""The terms of texts counted as scikit-learn counts them, in half the time: for scoring, when all terms are known.

scikit-learn puts every two words in a row together and looks the text up, most of them in vain. Here each word is
looked up once and is a number from then on; which words in a row are a term is told of all texts at a time.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from lifecycle.problems.text_classification import tokens
from lifecycle.problems.text_classification.model import parts, vars_of

WITHOUT_BLANKS = frozenset({tokens.WORDS, tokens.ALL_SCRIPTS, r"\S+", r"(?u)\b\w\w+\b"})
"""Patterns whose tokens hold no blank, so that a term parts into its words at its blanks."""
UNKNOWN = -1


class Step(NamedTuple):
    """Which beginning of a term and which word after it make which longer beginning."""

    known: "pd.Index[int]"
    made: Any

    @classmethod
    def of(cls, known: Mapping[int, int]) -> Self:
        """A step of a mapping."""
        return cls(pd.Index([*known]), np.array([*known.values(), UNKNOWN]))

    def taken(self, before: Any, words: Any) -> Any:
        """What each beginning becomes with the word after it."""
        return self.made[self.known.get_indexer(_key(before, words))]  # -1, where there is none, is the last place


class Terms(NamedTuple):
    """A vocabulary as a tree: words are numbers, and so are beginnings of terms, of which 0 is empty."""

    words: dict[str, int]
    steps: tuple[Step, ...]
    columns: Any
    """Of each beginning that is a whole term its column."""

    @classmethod
    def of(cls, vocabulary: Mapping[str, int]) -> Self:
        """The tree of a vocabulary."""
        words, steps, columns = dict[str, int](), list[dict[int, int]](), [UNKNOWN]
        for term, column in vocabulary.items():
            reached = 0
            for place, word in enumerate(term.split(" ")):
                if place == len(steps):
                    steps.append({})
                key = _key(reached, words.setdefault(word, len(words)))
                reached = steps[place].setdefault(key, len(columns))
                if reached == len(columns):
                    columns.append(UNKNOWN)
            columns[reached] = column
        return cls(words, tuple(map(Step.of, steps)), np.array(columns, np.int32))

    def found(self, words: Any, text_of: Any) -> tuple[Any, Any]:
        """The terms in words of texts, which follow each other: of each its text and its column."""
        texts, columns = list[Any](), list[Any]()
        places, reached = np.arange(len(words)), np.zeros(len(words), np.int64)
        for length, step in enumerate(self.steps):
            after = places + length
            is_going_on = after < len(words)
            is_going_on[is_going_on] &= text_of[after[is_going_on]] == text_of[places[is_going_on]]
            is_going_on[is_going_on] &= words[after[is_going_on]] != UNKNOWN
            places, reached = places[is_going_on], step.taken(reached[is_going_on], words[after[is_going_on]])
            places, reached = places[reached != UNKNOWN], reached[reached != UNKNOWN]
            found = self.columns[reached]
            texts.append(text_of[places[found != UNKNOWN]])
            columns.append(found[found != UNKNOWN])
        return np.concatenate(texts), np.concatenate(columns)


def _key(before: Any, word: Any) -> Any:
    return before << 32 | word


class _ByWords(CountVectorizer):  # type: ignore[misc]  # sklearn is untyped
    @cached_property
    def _terms(self) -> Terms:
        return Terms.of(self.vocabulary_)

    def transform(self, raw_documents: Iterable[Any]) -> Any:
        """Count; `TfidfVectorizer` weighs what this returns."""
        if isinstance(raw_documents, str):
            return super().transform(raw_documents)  # which refuses it
        words, ends = self._words(raw_documents)
        text_of = np.repeat(np.arange(len(ends), dtype=np.int32), np.diff(ends, prepend=0))
        texts, columns = self._terms.found(words, text_of)
        shape = len(ends), len(self.vocabulary_)
        counts = coo_matrix((np.ones(len(texts), self.dtype), (texts, columns)), shape).tocsr()
        counts.sort_indices()
        if self.binary:
            counts.data.fill(1)
        return counts

    def _words(self, texts: Iterable[Any]) -> tuple[Any, Any]:
        """The words of all texts as numbers, and where each text ends."""
        preprocessed, tokenized, number = self.build_preprocessor(), self.build_tokenizer(), self._terms.words.get
        words, ends = list[int](), list[int]()
        for text in texts:
            words.extend(map(number, tokenized(preprocessed(self.decode(text))), repeat(UNKNOWN)))
            ends.append(len(words))
        return np.fromiter(words, np.int64, len(words)), np.array(ends, np.int64)


class Tfidf(TfidfVectorizer, _ByWords):  # type: ignore[misc]
    """A fitted `TfidfVectorizer` that counts the terms of texts by their words."""


def quicken(pipeline: Any) -> None:
    """Let a fitted pipeline count so, which answers the same to the last bit; it is not to be stored again.

    A vectoriser whose terms may be other than words in a row is left as it is.
    """
    for part in list(parts(pipeline)):
        if type(part) is TfidfVectorizer and _has_words_in_a_row(part):
            part.__class__ = Tfidf


def _has_words_in_a_row(vectoriser: Any) -> bool:
    chosen = (vectoriser.analyzer, vectoriser.tokenizer, vectoriser.preprocessor, vectoriser.stop_words)
    is_plain = chosen == ("word", None, None, None) and vectoriser.token_pattern in WITHOUT_BLANKS
    vocabulary, (fewest, most) = vars_of(vectoriser).get("vocabulary_"), vectoriser.ngram_range
    return is_plain and type(vocabulary) is dict and all(fewest <= term.count(" ") + 1 <= most for term in vocabulary)
