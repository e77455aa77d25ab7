"""The terms of texts hashed as scikit-learn hashes them, in half the time.

scikit-learn puts every two words in a row together and hashes the text. Here words are numbers, and of the terms of a
block of texts each is put together and hashed once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix, vstack
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

BLOCK = 20_000
"""Texts that are looked at together."""
WORD = (1 << 32) - 1
"""In a key of two numbers the places of the second."""


class _Hasher(FeatureHasher):  # type: ignore[misc]  # sklearn is untyped
    ngram_range = (1, 1)

    def transform(self, raw_X: Iterable[Sequence[str]]) -> Any:  # noqa: N803  scikit-learn's name
        """Hash the terms of texts, of which the words are given."""
        texts, hashed = iter(raw_X), list[Any]()
        while block := list(islice(texts, BLOCK)):
            hashed.append(self._of_block(block))
        return vstack(hashed, format="csr") if hashed else super().transform(iter(()))

    def _of_block(self, texts: list[Sequence[str]]) -> Any:
        numbers = defaultdict[str, int]()
        numbers.default_factory = numbers.__len__
        words, ends = list[int](), list[int]()
        for text in texts:
            words.extend(map(numbers.__getitem__, text))
            ends.append(len(words))
        text_of = np.repeat(np.arange(len(ends), dtype=np.int32), np.diff(ends, prepend=0))
        nothing = np.empty(0, np.int32)
        found: Any = [(nothing, nothing, nothing), *self._terms([*numbers], np.array(words, np.int64), text_of)]
        rows, columns, values = map(np.concatenate, zip(*found, strict=True))
        return coo_matrix((values, (rows, columns)), (len(ends), self.n_features), self.dtype).tocsr()

    def _terms(self, named: list[str], words: Any, text_of: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Of the terms of each length: their texts, columns and values; `named` are the words that the numbers mean."""
        fewest, most = self.ngram_range
        terms, places, reached = named, np.arange(len(words)), words
        for length in range(1, most + 1):
            if length > 1:
                places, reached, keys = _longer(places, reached, words, text_of, length)
                terms = [f"{terms[key >> 32]} {named[key & WORD]}" for key in keys.tolist()]
            if length >= fewest and terms:
                hashes = np.fromiter(map(murmurhash3_32, terms), np.int64, len(terms))
                signs = np.where(hashes < 0, -1, 1) if self.alternate_sign else np.ones(len(terms))
                columns = (np.abs(hashes) % self.n_features).astype(np.int32)
                yield text_of[places], columns[reached], signs.astype(self.dtype)[reached]


def _longer(places: Any, reached: Any, words: Any, text_of: Any, length: int) -> tuple[Any, Any, Any]:
    """Where terms are followed by one more word of their text: the places, the longer terms, and what these are of."""
    after = places + (length - 1)
    is_going_on = after < len(words)
    is_going_on[is_going_on] &= text_of[after[is_going_on]] == text_of[places[is_going_on]]
    longer, keys = pd.factorize(reached[is_going_on] << 32 | words[after[is_going_on]])
    return places[is_going_on], longer, keys


class Hashing(HashingVectorizer):  # type: ignore[misc]
    """A `HashingVectorizer` of words in a row that hashes each term once."""

    def build_analyzer(self) -> Any:
        """What cuts a text into its words."""
        preprocessed, tokenized = self.build_preprocessor(), self.build_tokenizer()
        return lambda text: tokenized(preprocessed(self.decode(text)))

    def _get_hasher(self) -> _Hasher:
        hasher = _Hasher(self.n_features, input_type="string", dtype=self.dtype, alternate_sign=self.alternate_sign)
        hasher.ngram_range = self.ngram_range
        return hasher


@contextmanager
def quickly(pipeline: Any) -> Iterator[None]:
    """Let a pipeline hash so for a while, also what is made of its parts meanwhile; then it is as it was, to be stored.

    What it answers is the same to the last bit. A vectoriser whose terms may be other than words in a row is left.
    """
    quicken(pipeline)
    try:
        yield
    finally:
        for part in _vectorisers(pipeline):
            if type(part) is Hashing:
                part.__class__ = HashingVectorizer


def quicken(pipeline: Any) -> None:
    """Let a pipeline hash so; it is not to be stored again."""
    for part in _vectorisers(pipeline):
        if type(part) is HashingVectorizer and _has_words_in_a_row(part):
            part.__class__ = Hashing


def _vectorisers(pipeline: Any) -> list[Any]:
    """Where ours stand, first in a pipeline or for a column: all its parts are also those of a vocabulary, too many."""
    features = getattr(pipeline, "steps", [(None, pipeline)])[0][1]
    named = [*getattr(features, "transformers", ()), *getattr(features, "transformers_", ())]
    return [features, *(part for _, part, _ in named)]


def _has_words_in_a_row(part: HashingVectorizer) -> bool:
    return (part.analyzer, part.tokenizer, part.preprocessor, part.stop_words) == ("word", None, None, None)
