"""When two pairs are the same: both texts are, in this order."""

import hashlib
import json

from lifecycle.problems.text_classification.identity import normalised


def pair_key(first: str, second: str) -> str:
    """The sha256 of both normalised texts: what one says of the other is another pair than what the other says of it."""
    return hashlib.sha256(json.dumps([normalised(first), normalised(second)]).encode()).hexdigest()
