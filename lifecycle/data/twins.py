"""Near twins: texts that say the same in almost the same words, such as a retweet, a template or a corrected copy.

Of a pair each of both texts does.

`pairs`   all pairs that are alike enough, each verified
`linked`  groups of texts that belong on one side
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from lifecycle.problems.text_classification.identity import normalised
from lifecycle.problems.text_classification.tokens import SPEAKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIMILARITY = 0.75
"""Share of words and pairs of words that near twins have in common: one word of eleven may differ."""
BANDS, ROWS = 25, 5
"""Of the MinHash: a pair that is just similar enough is overlooked once in a thousand times, a likelier one never."""
NEIGHBOURS = 50
"""A text is compared with the last so many of a band at most, in the order of keys, and with so many in all, the
likeliest: a template with a million variants costs no more per text, and its texts still hang together."""
LARGEST_SHARE, ALWAYS = 0.05, 5
"""A group does not grow beyond this share of the texts, or this many: chains of likeness would join half a table."""

REMEMBERED = 1_000
"""Texts whose words are kept for the next comparison: those of a whole table of letters would fill the memory."""

KNOWN = 100_000
"""Digests of words and pairs that are kept: most texts are made of the same ones."""

WORDS = re.compile(SPEAKING)
ADDRESSES = re.compile(r"\brt @\w+:?|(?<!\w)@\w+|\bhttps?://\S+")
"""Who repeats a text, to whom it is said and where it links: of a copy nothing else differs."""


class Pair(NamedTuple):
    """Two near twins, the lesser key first, and the share of their words that is the same."""

    one: str
    other: str
    similarity: float


def pairs(texts: Mapping[str, tuple[str, ...]]) -> list[Pair]:
    """The near twins among rows of one text or more by key, the most similar first, ties in the order of keys.

    MinHash proposes and the words themselves decide, by 64 bits of their digests, so no pair is a false one. The result
    does not depend on the order of the texts, nor on the machine.
    """
    keys = sorted(texts)
    words = _Words([texts[key] for key in keys])
    found = []
    for one, other in _proposed(words):
        if (similarity := _alike(words.of(one), words.of(other))) >= SIMILARITY:
            found.append(Pair(keys[one], keys[other], similarity))
    return sorted(found, key=lambda pair: (-pair.similarity, pair.one, pair.other))


class _Words:
    """The shingles of many rows as digests, one text after another: a text is cut into words once.

    What stands in the second text of a row is something else than in the first.
    """

    def __init__(self, rows: Sequence[tuple[str, ...]]) -> None:
        import numpy as np

        digests, sizes = bytearray(), [0]
        for texts in rows:
            for place, text in enumerate(texts):
                each = shingles(text)
                digests += b"".join(_digest(shingle + "\0" * place) for shingle in each)
                sizes.append(len(each))
        self._width = len(rows[0]) if rows else 1
        self._digests = np.frombuffer(digests, "<u8")
        self._ends = np.cumsum(sizes)
        self.of = lru_cache(REMEMBERED)(self._of)

    def __iter__(self) -> "Iterator[npt.NDArray[np.uint64]]":
        return (self._digests[start:end] for start, end in pairwise(self._ends[:: self._width].tolist()))

    def _of(self, place: int) -> tuple[frozenset[int], ...]:
        first = place * self._width
        ends = self._ends[first : first + self._width + 1].tolist()
        return tuple(frozenset(self._digests[start:end].tolist()) for start, end in pairwise(ends))


@lru_cache(KNOWN)
def _digest(word: str) -> bytes:
    return sha1(word.encode("utf-8", "surrogatepass")).digest()[:8]  # noqa: S324  it keeps no secret


def shingles(text: str) -> frozenset[str]:
    """The words of a text, without addresses, and its pairs of neighbours; of a text without a word, its signs."""
    plain = normalised(text)
    named = ADDRESSES.sub(" ", plain) if "@" in plain or "http" in plain else plain
    words = WORDS.findall(named) or WORDS.findall(plain) or list(plain.replace(" ", ""))
    return frozenset((*words, *map(" ".join, pairwise(words))))


def _alike(one: Sequence[frozenset[int]], other: Sequence[frozenset[int]]) -> float:
    """The Jaccard similarity of the two texts that are least alike; all together are at least as similar."""
    return min(len(words & others) / max(len(words | others), 1) for words, others in zip(one, other, strict=True))


def _proposed(texts: _Words) -> Iterator[tuple[int, int]]:
    """Places of texts that share bands of their MinHash, each pair once."""
    before: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, shared in enumerate(_shared_bands(texts)):
        likely = Counter[int]()
        for band in shared:
            others = before[band]
            likely.update(others[-NEIGHBOURS:])
            others.append(place)
        yield from ((other, place) for other, _ in likely.most_common(NEIGHBOURS))


def _shared_bands(texts: _Words) -> list[list[tuple[int, int]]]:
    """Of each text the bands that it shares: most texts share none, and cost nothing from here on."""
    import numpy as np

    bands = _bands(texts)
    shared: list[list[tuple[int, int]]] = [[] for _ in range(len(bands))]
    for band in range(BANDS if len(bands) else 0):
        _, which, sizes = np.unique(bands[:, band], return_inverse=True, return_counts=True)
        for place in np.flatnonzero(sizes[which] > 1):
            shared[place].append((band, int(which[place])))
    return shared


def _bands(texts: _Words) -> "npt.NDArray[np.uint64]":
    """A number for each band of each text, which stands for its `ROWS` hashes; shape (texts, bands)."""
    import numpy as np

    weights = np.array([pow(0x9E3779B97F4A7C15, power, 2**64) for power in range(ROWS)], dtype=np.uint64)
    numbers = [hashes.astype(np.uint64).reshape(-1, BANDS, ROWS) @ weights for hashes in _hashes(texts)]
    return np.concatenate(numbers) if numbers else np.empty((0, BANDS), np.uint64)


def _hashes(texts: _Words) -> "Iterator[npt.NDArray[np.uint32]]":
    """The MinHash of each text, the same on every machine; of some texts at a time."""
    import numpy as np
    from datasketch import MinHash

    hashed = ((digests & 0xFFFFFFFF).tolist() for digests in texts)  # which is what datasketch itself takes of SHA-1
    made = MinHash.generator(hashed, num_perm=BANDS * ROWS, seed=1, scheme="affine32", hashfunc=int)
    while some := [each.hashvalues for each in islice(made, REMEMBERED)]:
        yield np.array(some, dtype=np.uint32)


def linked(found: Iterable[Pair], count: int, inherited: Mapping[str, str]) -> tuple[dict[str, str], list[list[str]]]:
    """What near twins mean for the sides of `count` texts, some of which have inherited theirs.

    A new text goes to the side of its most similar inherited twin. The other new ones are joined, the most similar
    first, with each other or with texts whose side is known, as long as a group stays small and has one side.

    Args:
        found: The pairs, in order.
        count: How many texts there are.
        inherited: Key to side, of those whose side is known.

    Returns:
        Sides of new texts by key; and groups of new texts, two or more in each, whose side is free.
    """
    found = list(found)
    sides = _beside_inherited(found, inherited)
    groups = _Groups({**inherited, **sides}, max(ALWAYS, int(LARGEST_SHARE * count)))
    for pair in found:
        groups.join(pair.one, pair.other)
    free = []
    for group in groups.made():
        new = sorted(key for key in group.members if key not in inherited)
        if group.side:
            sides |= dict.fromkeys(new, group.side)
        elif len(new) > 1:
            free.append(new)
    return sides, free


def _beside_inherited(found: Iterable[Pair], inherited: Mapping[str, str]) -> dict[str, str]:
    """New texts that have an inherited twin, and its side; the first pair is the most similar one."""
    sides: dict[str, str] = {}
    for pair in found:
        for new, known in ((pair.one, pair.other), (pair.other, pair.one)):
            if new not in inherited and known in inherited:
                sides.setdefault(new, inherited[known])
    return sides


class _Groups:
    """Sets of texts that are joined, unless they would be too many or have two sides."""

    def __init__(self, sides: Mapping[str, str], most: int) -> None:
        self._sides, self._most = sides, most
        self._groups: dict[str, _Group] = {}

    def join(self, one: str, other: str) -> None:
        first, second = self._of(one), self._of(other)
        two_sides = first.side and second.side and first.side != second.side
        if first is second or two_sides or len(first.members) + len(second.members) > self._most:
            return
        first.members += second.members
        first.side = first.side or second.side
        self._groups |= dict.fromkeys(second.members, first)

    def made(self) -> "list[_Group]":
        """Each group once."""
        return [*{id(group): group for group in self._groups.values()}.values()]

    def _of(self, key: str) -> "_Group":
        return self._groups.setdefault(key, _Group([key], self._sides.get(key)))


@dataclass(slots=True)
class _Group:
    members: list[str]
    side: str | None


def beside(found: Iterable[Pair], sides: Mapping[str, str], side: str) -> Counter[str]:
    """How many texts of each other side have a near twin on `side`."""
    twins = {
        key for pair in found for key, twin in (pair[:2], pair[1::-1]) if sides[twin] == side and sides[key] != side
    }
    return Counter(sides[key] for key in twins)
