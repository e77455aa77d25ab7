"""When two texts are the same."""

import hashlib
import unicodedata


def normalised(text: str) -> str:
    """The form in which two texts count as the same: case-folded, NFC, runs of blanks as one space."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFD", text).casefold()  # Unicode's canonical caseless match, then composed
    return " ".join(unicodedata.normalize("NFC", folded).split())


def text_key(text: str) -> str:
    """The sha256 of the normalised text: the identity of a text in every dataset version."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()
