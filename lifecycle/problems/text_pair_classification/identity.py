"""When two pairs are the same: both texts are, in this order."""

import hashlib
import json

from lifecycle.problems.text_classification.identity import normalised


def pair_key(first: str, second: str) -> str:
    """The sha256 of both normalised texts; the other way round they are another pair."""
    return hashlib.sha256(json.dumps([normalised(first), normalised(second)]).encode()).hexdigest()
