"""Divide rows among train, test and holdout: stratified, without leaks, and stable when the data grows."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lifecycle.core.names import Side
from lifecycle.data.keys import in_order

if TYPE_CHECKING:
    import pandas as pd


UNKNOWN = -1


def assign(
    keys: "pd.Series[str]", strata: "pd.Series[str]", fractions: Mapping[Side, float], inherited: Mapping[str, str]
) -> "pd.Series[str]":
    """Give each key a side.

    A key in `inherited` keeps its side. The others fill, per stratum, what is missing to the stratum's quotas, in the
    order of the keys: hashes, so the order is random with respect to the content and the same on every machine and for
    every order of rows. Without inherited keys each side of a stratum of n rows holds floor or ceil of n times its
    fraction.

    Args:
        keys: Unique keys, shape (n,).
        strata: Stratum of each row, same index.
        fractions: Share of the whole per side, summing to 1.
        inherited: Key to side, from the previous version.
    """
    import numpy as np
    import pandas as pd

    names = [*dict.fromkeys(map(str, [*fractions, *inherited.values()]))]
    numbers = {name: number for number, name in enumerate(names)}
    known = keys.map({key: numbers[side] for key, side in inherited.items()}) if inherited else None
    sides = np.full(len(keys), UNKNOWN) if known is None else known.fillna(UNKNOWN).to_numpy(np.int64, copy=True)
    order, (stratum, _) = in_order(keys), pd.factorize(strata)
    by_stratum = order[np.argsort(stratum[order], kind="stable")]
    for members in np.split(by_stratum, np.cumsum(np.bincount(stratum))[:-1]):
        taken = np.bincount(sides[members] + 1, minlength=len(names) + 1)[1:].tolist()
        quotas = apportion(len(members), list(fractions.values()))
        missing = [max(0, quota - taken[number]) for number, quota in enumerate(quotas)]
        fresh = members[sides[members] == UNKNOWN]
        shares = [gap / sum(missing) for gap in missing] if sum(missing) else list(fractions.values())
        sides[fresh] = np.repeat(np.arange(len(fractions)), apportion(len(fresh), shares))
    return pd.Series(pd.Categorical.from_codes(sides, pd.Index(names)), index=keys.index, name="split").astype("str")


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Divide a whole number by shares that sum to 1: floors first, then the largest remainders; ties to the left."""
    exact = [round(total * share, 9) for share in shares]
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
