"""Whether a model can be what somebody says of it: that it has not seen the rows that it is judged on.

What a training of ours recorded is known. What a person declared is not, and a model that was fitted on the holdout
shows it: it is right where nobody could be, and far better there than on rows that it did not see. Both have innocent
causes too, so a doubt names its way out. A model of which little gives itself away, because it learns no row by heart,
passes: no arithmetic replaces a declaration that is true.
"""

from collections.abc import Iterator

import numpy as np

from lifecycle.gate.verdict import Check
from lifecycle.problems import shares
from lifecycle.problems.findings import Interval
from lifecycle.problems.metric import Scores
from lifecycle.tracking.claims import Claim

TOO_GOOD, TOO_FAR = "too good to be unseen", "test against holdout"
MIN_ROWS = 50
"""To be right on fewer rows without exception shows nothing."""
FAR_FROM_PERFECT = 0.95
"""An accuracy that the reference does not reach, chance included; where it does, the rows are easy."""
PLAUSIBLE = 5
"""A model that makes less than a fifth of the champion's mistakes, by more than chance, is no better model."""
P = 0.001
"""The risk of doubting by chance alone, of each test."""
EXPLAINED = 0.05
"""From this p on, mistakes on the test side explain that there are none on the holdout."""
WAYS_OUT = (
    "register it again with all that it saw (mlops model register-external … --trained-on), train it here (mlops "
    "train), or let a person vouch for it (setting skip_gate, mlops promote --skip-gate)"
)


def doubts(
    claim: Claim,
    challenger: Scores,
    champion: Scores | None,
    test: tuple[int, int] | None,
    *,
    enforce: bool = True,
) -> tuple[Check, ...]:
    """What speaks against a declared claim; of a recorded one a warning at most, of none nothing.

    Args:
        claim: Of the challenger.
        challenger: On the comparable rows.
        champion: Likewise; without one the best answer that is the same to every row takes its place.
        test: How many rows of the test side of the same dataset version the challenger has right, and how many there
            are that it is not said to have seen; None if that is not known.
        enforce: Whether a doubt fails; otherwise it is a detail of a check that passes.
    """
    if claim.origin == "none" or challenger.right is None or not len(challenger.truth):
        return ()
    test = test if test and test[1] else None
    if claim.origin == "recorded":
        return tuple(_differs(challenger, test))
    found = (_too_good(claim, challenger, champion, test), _too_far(claim, challenger, test))
    return found if enforce else tuple(map(_as_warning, found))


def _as_warning(check: Check) -> Check:
    """A doubt that is told and refuses nothing."""
    if check.outcome == "pass":
        return check
    return check.model_copy(update={"outcome": "pass", "detail": f"warning: {check.detail}"})


def _differs(challenger: Scores, test: tuple[int, int] | None) -> Iterator[Check]:
    """Our training has not seen the holdout: if it does better there, the sides are not alike."""
    if test and _p(challenger, test) < P:
        detail = f"warning: {_both(challenger, test)}; are its rows easier, or copies of others?"
        yield _measured(TOO_FAR, challenger, detail, passes=True)


def _too_good(claim: Claim, challenger: Scores, champion: Scores | None, test: tuple[int, int] | None) -> Check:
    reference, who = _reference(challenger, champion)
    perfect = _perfect(challenger, test) and reference.high < FAR_FROM_PERFECT
    doubted = perfect or (champion is not None and _far_fewer_mistakes(challenger, champion, test))
    detail = f"right on {_told(challenger)}, {who} on {reference.value:.1%}"
    if doubted:
        detail += f"; {claim.words}: {WAYS_OUT}"
    return _measured(TOO_GOOD, challenger, detail, passes=not doubted)


def _too_far(claim: Claim, challenger: Scores, test: tuple[int, int] | None) -> Check:
    if not test:
        detail = "not compared: of the test split nothing is known that it is not said to have seen"
        return _measured(TOO_FAR, challenger, detail, passes=True)
    doubted = _p(challenger, test) < P
    detail = _both(challenger, test)
    if doubted:
        detail += f"; {claim.words}: {WAYS_OUT}"
    return _measured(TOO_FAR, challenger, detail, passes=not doubted)


def _perfect(challenger: Scores, test: tuple[int, int] | None) -> bool:
    """Whether it is right on every row of several classes, and no mistakes on the test side explain that by chance."""
    rows = len(challenger.truth)
    if rows < MIN_ROWS or _hits(challenger) < rows or len(np.unique(challenger.truth)) < 2:
        return False
    return test is None or test[0] == test[1] or _p(challenger, test) < EXPLAINED


def _far_fewer_mistakes(challenger: Scores, champion: Scores, test: tuple[int, int] | None) -> bool:
    """Whether it makes less than a fifth of the champion's mistakes, here or here and on the test side together."""
    rows = len(challenger.truth)
    here = (rows - _hits(challenger), rows)
    both = (here[0] + test[1] - test[0], here[1] + test[1]) if test else here
    theirs = (rows - _hits(champion), rows)
    return min(shares.rarer_p(seen, theirs, PLAUSIBLE) for seen in (here, both)) < P


def _reference(challenger: Scores, champion: Scores | None) -> tuple[Interval, str]:
    """The accuracy that can be had without having seen the rows, and whose it is."""
    if champion is not None:
        return _share(_hits(champion), len(champion.truth)), "the champion"
    who, right = challenger.without_model
    return _share(right, len(challenger.truth)), who


def _measured(name: str, challenger: Scores, detail: str, *, passes: bool) -> Check:
    found = _share(_hits(challenger), len(challenger.truth))
    return Check(
        name=name,
        outcome="pass" if passes else "fail",
        value=found.value,
        low=found.low,
        high=found.high,
        detail=detail,
    )


def _p(challenger: Scores, test: tuple[int, int]) -> float:
    return shares.larger_p((_hits(challenger), len(challenger.truth)), test)


def _both(challenger: Scores, test: tuple[int, int]) -> str:
    shown = f"{test[0] / test[1]:.1%} of {test[1]:,} on the test split, p = {_p(challenger, test):.2g}"
    return f"right on {_told(challenger)}, and on {shown}"


def _told(challenger: Scores) -> str:
    rows = len(challenger.truth)
    return f"{_hits(challenger) / rows:.1%} of {rows:,} rows"


def _hits(scores: Scores) -> int:
    return 0 if scores.right is None else int(scores.right.sum())


def _share(hits: int, rows: int) -> Interval:
    return shares.wilson(hits, rows, 1 - 2 * P)
