"""What one answer is worth, by words alone: the same in every process, and no model is asked.

`words`         a text as it is compared
`token_f1`      how much of a reference answer an answer has, and how little beside it
`is_exact`      whether both have the same words
`supported`     the share of an answer's sentences that the retrieved passages say
`recalled`      the share of the expected documents among those that were retrieved
`reciprocal`    one through the place of the first of them
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence

WORD = re.compile(r"[^\W_]+(?:[.'’_-][^\W_]+)*")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
ARTICLES = frozenset({"a", "an", "the"})
SUPPORT = 0.8
"""So large a share of the words of a sentence must stand in one passage."""


def words(text: str) -> list[str]:
    """The words of a text in their order, without case and articles."""
    return [word for word in WORD.findall(text.casefold()) if word not in ARTICLES]


def token_f1(answer: str, reference: str) -> float:
    """The harmonic mean of precision and recall of words, as SQuAD measures it."""
    given, wanted = Counter(words(answer)), Counter(words(reference))
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total()) if shared else 0.0


def is_exact(answer: str, reference: str) -> bool:
    """Whether the words are the same, in the same order."""
    return words(answer) == words(reference)


def supported(answer: str, passages: Collection[str], question: str) -> float:
    """The share of sentences whose words one passage has; one that only repeats the question says nothing.

    It finds what was invented in other words. It does not find a sentence that turns a passage into its contrary with
    the passage's own words.
    """
    asked, sources = {*words(question)}, [{*words(passage)} for passage in passages]
    sentences = [said for part in SENTENCE.split(answer) if (said := {*words(part)})]
    if not sentences or {*words(answer)} <= asked:
        return 0.0
    found = [any(len(said & source) >= SUPPORT * len(said) for source in sources) for said in sentences]
    return sum(found) / len(found)


def recalled(expected: Collection[str], retrieved: Collection[str]) -> float:
    """The share of the expected documents that are among the retrieved ones."""
    return len({*expected} & {*retrieved}) / len({*expected}) if expected else 0.0


def reciprocal(expected: Collection[str], retrieved: Sequence[str]) -> float:
    """One through the place of the first expected document among the retrieved ones; 0 if there is none."""
    return next((1 / place for place, name in enumerate(retrieved, 1) if name in expected), 0.0)
