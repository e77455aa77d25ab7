"""A split in which no text of a pair, first or second, is on two sides: pairs that share a text stay together.

A text that the parent version holds keeps its side, and so do all pairs that reach it over shared texts. A pair that
would join texts of two sides is set aside: else one of them would be on both.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Self

from lifecycle.core.errors import DataError
from lifecycle.core.names import Side
from lifecycle.data import units
from lifecycle.data.columns import OTHER_SIDE
from lifecycle.problems.text_classification.identity import normalised

if TYPE_CHECKING:
    import pandas as pd
    from scipy.cluster.hierarchy import DisjointSet

logger = logging.getLogger(__name__)

TOO_FEW = 0.5
"""A side with less than this share of the rows that were asked for is told of."""


class Linked(NamedTuple):
    """Which texts belong together by the rows that hold them, and the rows that would join two sides."""

    groups: "DisjointSet"
    joining: list[int]


class BySharedTexts(NamedTuple):
    """The columns of the texts, and the sides of those that the parent version holds."""

    texts: tuple[str, ...]
    name: str
    fractions: Mapping[Side, float]
    known: Mapping[str, str] = {}

    @property
    def said(self) -> str:
        """By what it decides."""
        return "texts that they share with others"

    def unfit(self, frame: "pd.DataFrame") -> tuple[dict[int, str], str]:
        """None: every text tells where it belongs."""
        _ = frame
        return {}, ""

    def settled(self, frame: "pd.DataFrame", identities: "pd.Series[str]") -> Self:
        """The same: the parent's texts settle all."""
        _ = frame, identities
        return self

    def moved(self, frame: "pd.DataFrame", identities: "pd.Series[str]") -> dict[int, str]:
        """The rows that would join texts of two sides, with their reason."""
        return dict.fromkeys(self._linked(frame, identities[frame.index]).joining, OTHER_SIDE)

    def divide(self, rows: "pd.DataFrame", strata: "pd.Series[str]") -> tuple["pd.Series[str]", dict[str, str]]:
        """The side of each row; no moments.

        Raises:
            DataError: A side is left without a row.
        """
        groups = self._linked(rows, rows["key"]).groups
        names, roots = _names(rows, self.texts[0], groups)
        side_of = {groups[_node(side)]: str(side) for side in Side}
        known = {name: side_of[root] for name, root in zip(names, roots, strict=True) if root in side_of}
        sides = names.map(units.of_groups(names, strata, known, self.fractions))
        self._require_every_side(sides, names)
        return sides.rename("split").astype("str"), {}

    def _linked(self, rows: "pd.DataFrame", keys: "pd.Series[str]") -> Linked:
        """Join what shares a text, row by row in the order of keys: what is set aside depends on the content alone."""
        import pandas as pd
        from scipy.cluster.hierarchy import DisjointSet

        pairs = pd.DataFrame({text: rows[text].map(normalised) for text in self.texts}).loc[keys.sort_values().index]
        groups = DisjointSet([*map(_node, Side), *self.known, *pd.unique(pairs.to_numpy().ravel())])
        for text, side in self.known.items():
            groups.merge(text, _node(Side(side)))
        joining = list[int]()
        for row, *texts in pairs.itertuples(name=None):
            of_sides = {groups[_node(side)] for side in Side}
            if len({groups[text] for text in texts} & of_sides) > 1:
                joining.append(row)
                continue
            for text in texts[1:]:
                groups.merge(texts[0], text)
        return Linked(groups, joining)

    def _require_every_side(self, sides: "pd.Series[str]", groups: "pd.Series[str]") -> None:
        """Refuse an empty side, and tell of one that is much smaller than was asked for: a large group is not parted.

        Raises:
            DataError: A side is left without a row.
        """
        of_groups, rows = groups.value_counts(), len(sides)
        shares = {side: float((sides == str(side)).sum()) / rows for side in self.fractions}
        side = min(shares, key=lambda side: shares[side] / self.fractions[side])
        if shares[side] >= TOO_FEW * self.fractions[side]:
            return
        what = f"{self.name}: the split {side} has {shares[side]:.1%} of the rows, not {self.fractions[side]:.0%}: "
        what += f"of {len(of_groups):,} groups of pairs that share texts, none of which is parted, the largest has "
        what += f"{of_groups.iloc[0]:,} of {rows:,} rows ({of_groups.iloc[0] / rows:.1%})."
        fix = (
            f"Keep one of the texts apart: split: {{by: group, column: {self.texts[0]}}}; or fewer splits: no holdout."
        )
        if not shares[side]:
            raise DataError(what, fix)
        logger.warning("%s %s", what, fix)


def together(rows: "pd.DataFrame", texts: tuple[str, ...]) -> "pd.Series[str]":
    """The name of the group of each row: rows that share a text, or reach each other over shared ones, have one."""
    return _names(rows, texts[0], BySharedTexts(texts, "", {})._linked(rows, rows["key"]).groups)[0]


def _names(rows: "pd.DataFrame", text: str, groups: "DisjointSet") -> tuple["pd.Series[str]", "pd.Series[str]"]:
    """The names of groups by their least keys, the same in whatever order the rows come, and their roots."""
    roots = rows[text].map(lambda text: groups[normalised(text)])
    return rows["key"].groupby(roots).transform("min"), roots


def _node(side: Side) -> tuple[Side]:
    """What stands for a side among texts, none of which it equals."""
    return (side,)
