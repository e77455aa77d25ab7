"""What is made of a text: another one of the same meaning, or the contrary."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from lifecycle.problems.text_pair_classification.model import Words

SEED = 20_240_229
AUXILIARY = re.compile(
    r"(?<!who )(?<!which )(?<!that )\b(?:is|are|was|were|will|would|could|should|must)\b", re.IGNORECASE
)
"""The word after which an English sentence is negated; in a clause about somebody it negates that clause alone."""


def _other_digits(text: str) -> str:
    """Every digit becomes another one, and a number does not begin with 0: it keeps its length."""
    random = Random(f"{SEED} {text}")  # noqa: S311  the same text is always changed in the same way

    def other(number: re.Match[str]) -> str:
        leading, rest = number[0][0], number[0][1:]
        changed = [random.choice([each for each in "0123456789" if each != digit]) for digit in rest]
        return random.choice([each for each in "123456789" if each != leading]) + "".join(changed)

    return re.sub("[0-9]+", other, text)


def _end_differently(text: str) -> str:
    """A full stop or exclamation mark at the end goes; where there is none, a full stop comes."""
    bare = text.rstrip(" .!")
    return text if not bare else bare if bare != text else f"{text}."


CHANGES: dict[str, Callable[[str], str]] = {
    "upper_case": str.upper,
    "lower_case": str.lower,
    "whitespace": lambda text: "  " + re.sub(r"\s+", "  ", text.strip()) + "  ",
    "punctuation": _end_differently,
    "numbers": _other_digits,
}
"""What turns a text into one of the same meaning; `swap` needs names, and `exchange` two texts."""


def swapped(texts: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Each name becomes the next one, the one after that, and so on, in all texts alike."""
    order = sorted(set(names), key=lambda name: (-len(name), name))  # the longest is looked for first
    known = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, order))})(?!\w)")
    for step in range(1, len(order)):
        following = {name: order[(place + step) % len(order)] for place, name in enumerate(order)}
        yield tuple(replaced(known, text, following) for text in texts)


def replaced(pattern: re.Pattern[str], text: str, by: Mapping[str, str]) -> str:
    """Replace what a pattern finds, or the group in it, by what stands for that."""
    return pattern.sub(lambda found: by[found[found.lastindex or 0]], text)


def negated(text: str) -> str:
    """An English sentence with `not` behind its auxiliary; empty if it has none, or says no already."""
    auxiliary = AUXILIARY.search(text)
    if auxiliary is None or Words.of(text).negations:
        return ""
    return f"{text[: auxiliary.end()]} not{text[auxiliary.end() :]}"


SECOND: dict[str, Callable[[str], str]] = {"same": str, "negated": negated}
"""What the second text of a pair is made of the first; empty where nothing is made."""
