"""Divide rows among train, test and holdout: stratified, without leaks, and stable when the data grows."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lifecycle.core.names import Side

if TYPE_CHECKING:
    import pandas as pd


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
    import pandas as pd

    sides = keys.map(dict(inherited)).astype("object")
    for _, members in keys.groupby(strata, sort=True):
        taken = sides.loc[members.index].value_counts()
        quotas = apportion(len(members), list(fractions.values()))
        missing = [max(0, quota - int(taken.get(side, 0))) for side, quota in zip(fractions, quotas, strict=True)]
        fresh = members[sides.loc[members.index].isna()].sort_values()
        shares = [gap / sum(missing) for gap in missing] if sum(missing) else list(fractions.values())
        start = 0
        for side, count in zip(fractions, apportion(len(fresh), shares), strict=True):
            sides.loc[fresh.index[start : start + count]] = str(side)
            start += count
    return pd.Series(sides, index=keys.index, name="split").astype("str")


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Divide a whole number by shares that sum to 1: floors first, then the largest remainders; ties to the left."""
    exact = [round(total * share, 9) for share in shares]
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
