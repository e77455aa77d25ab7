"""When two texts are the same."""

import hashlib
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

from lifecycle.core import letters

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

BLANKS = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"
PLAIN = bytes.maketrans(BLANKS, b" " * len(BLANKS)).lower()
"""How the letters of ASCII are normalised: as small ones, and all blanks as a space. Others stay as they are."""
DIGEST = hashlib.sha256().digest_size


def normalised(text: str) -> str:
    """The form in which two texts count as the same: case-folded, NFC, runs of blanks as one space."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFD", text).casefold()  # Unicode's canonical caseless match, then composed
    return " ".join(unicodedata.normalize("NFC", folded).split())


def text_key(text: str) -> str:
    """The sha256 of the normalised text: the identity of a text in every dataset version."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()


def text_keys(texts: "pa.LargeStringArray") -> "pa.LargeStringArray":
    """The keys of many texts: their letters are normalised together, but for those that ask for more than that."""
    raw, places = letters.letters(texts), letters.ends(texts)
    plain, sha256 = raw.translate(PLAIN), hashlib.sha256
    first = int(places[0])
    cuts = (places - first).tolist()
    digests = [sha256(plain[start:end]).digest() for start, end in pairwise(cuts)]
    for place in _others(raw, plain, places - first).tolist():
        text = raw[cuts[place] : cuts[place + 1]].decode()
        digests[place] = sha256(normalised(text).encode()).digest()
    return letters.of_width(b"".join(digests).hex().encode(), 2 * DIGEST)


def _others(raw: bytes, plain: bytes, places: "npt.NDArray[np.int64]") -> "npt.NDArray[np.int64]":
    """The places of texts that hold other letters than ASCII, begin or end with a blank, or hold two in a row."""
    import numpy as np

    is_blank = np.frombuffer(plain, np.uint8) == ord(" ")
    odd = [np.flatnonzero(np.frombuffer(raw, np.uint8) > 127), np.flatnonzero(is_blank[:-1] & is_blank[1:])]
    inner = places[1:-1][(places[1:-1] > 0) & (places[1:-1] < len(plain))]  # where texts meet
    odd += [inner[is_blank[inner]], inner[is_blank[inner - 1]] - 1]
    odd += [np.flatnonzero(is_blank[end]) + shift for end, shift in ((slice(0, 1), 0), (slice(-1, None), len(raw) - 1))]
    return np.unique(np.searchsorted(places, np.concatenate(odd), side="right") - 1)
