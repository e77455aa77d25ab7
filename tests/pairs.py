"""Pairs of sentences that somebody has made up: the second follows from the first, contradicts it, or neither."""

import numpy as np
import pandas as pd

WHO = ("A man", "A woman", "A child", "An old man", "A girl", "A teacher")
DOES = ("playing", "buying", "painting", "carrying", "repairing", "watching")
WHAT = ("a guitar", "a bicycle", "a wooden boat", "a red kite", "a large drum", "a table", "an engine", "a camera")
WHERE = ("in the yard", "at the market", "on the beach", "in front of the house", "near the station")
CLASSES = ("contradiction", "entailment", "neutral")


def pairs(count: int = 600, seed: int = 7, names: tuple[str, str] = ("premise", "hypothesis")) -> pd.DataFrame:
    """A table of pairs with a number of each, of which the second text alone says little: either text may say no."""
    rng = np.random.default_rng(seed)
    rows = {}
    while len(rows) < count:
        who, does, what, where = (str(rng.choice(words)) for words in (WHO, DOES, WHAT, WHERE))
        no = bool(rng.integers(2))
        label, other = str(rng.choice(CLASSES)), str(rng.choice([word for word in WHAT if word != what]))
        says_no = no != (label == "contradiction")
        asked = f"{who} is {'not ' if says_no else ''}{does} {other if label == 'neutral' else what}"
        rows[f"{who} is {'not ' if no else ''}{does} {what} {where}", asked] = label
    frame = pd.DataFrame([*rows], columns=[*names])
    return frame.assign(pair=range(count), judgment=list(rows.values()))[["pair", *names, "judgment"]]
