"""When two texts are the same."""

import hashlib
import re
import unicodedata

_BLANKS = re.compile(r"\s+")


def normalised(text: str) -> str:
    """The form in which two texts count as the same: case-folded, NFC, runs of blanks as one space."""
    folded = unicodedata.normalize("NFD", text).casefold()  # Unicode's canonical caseless match, then composed
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", folded)).strip()


def text_key(text: str) -> str:
    """The sha256 of the normalised text: the identity of a text in every dataset version."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()
