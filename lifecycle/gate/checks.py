"""Each rule of the gate as a check: what was measured, what was asked, and whether it passed.

What cannot be measured does not pass.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.class_names import difference
from lifecycle.core.errors import MetricError
from lifecycle.evaluation import statistics
from lifecycle.evaluation.bootstrap import differing
from lifecycle.evaluation.statistics import Measured
from lifecycle.gate.contest import Terms
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.verdict import REPLAY, Check
from lifecycle.problems import shares
from lifecycle.problems.findings import BehaviourLine, Interval, SliceLine, shown
from lifecycle.problems.known import Problem
from lifecycle.problems.metric import Codes, Metric, Scores
from lifecycle.settings.gate_rules import GateRules

ROWS, GROUPS, GAIN, CLASSES = "comparable rows", "groups of rows", "gain in", "classes of the champion"
TOLD_SLICES = 2
"""How many of the slices that fail a reason names; the verdict lists all."""


class Rival(NamedTuple):
    """An earlier champion, and the challenger on the same rows."""

    label: str
    challenger: Scores
    scores: Scores
    groups: Codes | None = None


def enough_groups(groups: Codes | None, risk: float) -> Iterator[Check]:
    """Whether the rows are of enough groups: n of them can be swapped in 2^n ways, so no p is below 2^-n."""
    if groups is not None:
        count, needed = len(np.unique(groups)), math.ceil(-math.log2(risk))
        outcome = "pass" if count >= needed else "not_enough_data"
        yield Check(name=GROUPS, outcome=outcome, value=count, limit=needed)


def enough_rows(rows: pd.DataFrame, left_out: Mapping[str, int], rules: GateRules, *, classes: bool = True) -> Check:
    """Whether the comparable rows, in all and of the rarest class if there are classes, are enough to judge on."""
    rarest = int(rows["truth"].value_counts().min()) if len(rows) and classes else 0
    enough = len(rows) >= rules.min_rows and (rarest >= rules.min_rows_per_class or not classes)
    of_class = [f"{rarest} of the rarest class (at least {rules.min_rows_per_class})"] if classes else []
    seen = [f"{count:,} left out because the {role} was trained on them" for role, count in left_out.items() if count]
    return Check(
        name=ROWS,
        outcome="pass" if enough else "not_enough_data",
        value=len(rows),
        limit=rules.min_rows,
        detail="; ".join([*of_class, *seen]),
    )


def floors(measured: Measured, rules: GateRules) -> Iterator[Check]:
    """One check per floor and ceiling: the metric itself, not its interval, must keep to it."""
    for metric, floor in sorted(rules.floors.items()):
        found = measured.challenger.get(metric)
        yield _against(f"floor {metric}", found, floor, found is not None and found.value >= floor, measured, metric)
    for metric, ceiling in sorted(rules.ceilings.items()):
        found = measured.challenger.get(metric)
        yield _against(
            f"ceiling {metric}", found, ceiling, found is not None and found.value <= ceiling, measured, metric
        )


def gain(measured: Measured, models: tuple[Scores, Scores], terms: Terms) -> Check:
    """The paired comparison: the gain must lie above the limit by more than chance. A tie keeps the champion.

    Only a retraining may answer the same in every row: it is newer, and not worse. So may who is to be no worse and to
    change few predictions: a champion in a smaller form is best where it changes none.
    """
    return _gained(f"{GAIN} {terms.metric.name}", measured, models, terms)


def predecessors(rivals: Sequence[Rival], terms: Terms) -> Iterator[Check]:
    """The best of some earlier champions, each on the rows that it and the challenger have not seen.

    Many small losses, each of which is tolerated, would add up if each were measured from the one before.
    """
    if rivals:
        best = min(rivals, key=lambda rival: _lead(terms.metric, rival))
        models = best.challenger, best.scores
        name = f"{GAIN} {terms.metric.name} over the earlier champion {best.label}"
        own = terms._replace(groups=best.groups)
        yield _gained(name, _measured(own, models), models, own)


def _lead(metric: Metric, rival: Rival) -> float:
    """How far the challenger is ahead of an earlier champion; nobody is ahead of one that cannot be measured."""
    found = statistics.difference(metric, rival.challenger, rival.scores)
    return -math.inf if math.isnan(found) else found


def beyond_trivial(problem: Problem, challenger: Scores, terms: Terms) -> Iterator[Check]:
    """A first champion must be better, by more than chance, than what takes no model."""
    rules = terms.rules.model_copy(update={"min_gain": 0.0})
    try:
        for name, metric, answer in problem.judging.trivial(challenger, rules):
            own, models = terms._replace(metric=metric, rules=rules), (challenger, answer)
            yield _gained(f"{GAIN} {metric.name} over {name}", _measured(own, models), models, own)
    except MetricError as error:
        detail = f"cannot be measured: {error}"
        yield Check(name=f"{GAIN} {rules.metric} over any constant answer", outcome="fail", limit=0, detail=detail)


def never_found(challenger: Scores, rules: GateRules) -> Iterator[Check]:
    """Every class of sufficient size must be found at least once by a first champion."""
    if rules.missed_class_rows is not None and challenger.classes and challenger.right is not None:
        found, counts = challenger.truth[challenger.right], np.bincount(challenger.truth)
        missed = [code for code in np.flatnonzero(counts >= rules.missed_class_rows) if code not in found]
        told = ", ".join(f"{challenger.classes[code]} (0 of {counts[code]})" for code in missed[:TOLD_SLICES])
        more = f" and {len(missed) - TOLD_SLICES} more" if len(missed) > TOLD_SLICES else ""
        outcome, detail = ("fail", f"none of its rows is found: {told}{more}") if missed else ("pass", "")
        yield Check(name="classes never found", outcome=outcome, value=len(missed), limit=0, detail=detail)


def lost_classes(knows: Mapping[str, Collection[str]], rules: GateRules) -> Iterator[Check]:
    """What the champion could say the challenger must be able to say too; asked if there is a difference."""
    new, old = set(knows.get("challenger", ())), set(knows.get("champion", ()))
    if new and old and old - new:
        allowed = rules.lost_classes == "allow"
        way_out = "" if allowed else "; if that is meant, set gate.lost_classes to allow"
        yield Check(
            name=CLASSES,
            outcome="pass" if allowed else "fail",
            value=len(old - new),
            limit=0,
            detail=f"{difference(old, new)}{way_out}",
        )


def _measured(terms: Terms, models: tuple[Scores, Scores]) -> Measured:
    rules = terms.rules
    return statistics.measure(
        [terms.metric], *models, confidence=rules.confidence, resamples=rules.resamples, groups=terms.groups
    )


def _gained(name: str, measured: Measured, models: tuple[Scores, Scores], terms: Terms) -> Check:
    metric, limit, found = terms.metric, terms.limit, measured.gain.get(terms.metric.name)
    if found is None:
        return _against(name, None, limit, False, measured, metric.name)
    flips = statistics.discordance(*models)
    p = statistics.randomised_p(metric, *models, resamples=terms.rules.resamples, groups=terms.groups)
    may_be_same = terms.contest.rule == "retraining" or (limit < 0 and terms.rules.max_churn is not None)
    differs = may_be_same or bool(differing(metric, *models).any())
    surely, why = _surely_above(found, models, terms)
    asked = found.model_copy(update={"low": surely})
    accepted = differs and statistics.accepts_gain(asked, p, min_gain=limit, risk=terms.risk)
    detail = f"{flips.told}, randomisation p = {p:.2g}"
    told = f"{detail}; {why} it begins at {shown(surely, '+')}" if found.low > limit >= surely else detail
    return _check(name, found, limit, accepted).model_copy(update={"detail": told})


def _surely_above(found: Interval, models: tuple[Scores, Scores], terms: Terms) -> tuple[float, str]:
    """Where an interval begins that may be wrong as seldom as the contest allows, and why not where it is shown.

    Where a loss is tolerated, rows that do not differ speak for the challenger, and the fewer differ the less they say:
    nothing lost on 100 rows excludes no loss of 0.03.
    """
    metric, rules, risk = terms.metric, terms.rules, terms.risk
    low = statistics.at_risk(found, rules.confidence, risk).low
    if terms.limit < 0:
        variance = statistics.spread(
            metric, *models, confidence=rules.confidence, resamples=rules.resamples, groups=terms.groups
        )
        careful = statistics.careful_low(found.value, variance, len(models[0].truth), risk=risk)
        if careful < low:
            return careful, "with as many more rows that differ as chance may have hidden"
    return low, "widened for the challengers that were judged on these rows before," if risk != rules.risk else ""


def slices(lines: tuple[SliceLine, ...], rules: GateRules) -> Check:
    """No slice of the rows may fail; those that are too small are counted."""
    failed = [line for line in lines if line.outcome == "fail"]
    small = sum(line.outcome == "too_few" for line in lines)
    told = "; ".join(_told(line) for line in failed[:TOLD_SLICES])
    if len(failed) > TOLD_SLICES:
        told += f"; and {len(failed) - TOLD_SLICES} more"
    aside = f"{small} of fewer than {rules.slices.min_rows} rows not judged" if small else ""
    return Check(
        name="slices of the rows",
        outcome="fail" if failed else "pass",
        value=len(failed),
        limit=0,
        detail="; ".join(filter(None, (told or f"{len(lines) - small} judged", aside))),
    )


def calibration(measured: Measured, rules: GateRules) -> Iterator[Check]:
    """How far confidence may be from accuracy, in itself and against the champion."""
    asked, found, before = rules.calibration, measured.challenger.get("ece"), measured.champion.get("ece")
    if asked.max_ece is not None:
        kept = found is not None and found.value <= asked.max_ece
        yield _against("calibration", found, asked.max_ece, kept, measured, "ece")
    if asked.max_ece_increase is not None and measured.champion:
        rise = None if found is None or before is None else found.value - before.value
        detail = _why(measured, "ece")
        if found and before:
            detail = f"expected calibration error from {before.value:.3f} to {found.value:.3f}"
            detail += f"; it may rise by {asked.max_ece_increase:g}"
        yield Check(
            name="calibration against the champion",
            outcome="pass" if rise is not None and rise <= asked.max_ece_increase else "fail",
            value=rise,
            limit=asked.max_ece_increase,
            detail=detail,
        )


def churn(challenger: Scores, champion: Scores, rules: GateRules) -> Iterator[Check]:
    """How many predictions would change for those who read them."""
    if rules.max_churn is not None:
        changed = challenger.changed(champion)
        found = shares.wilson(changed, len(champion.truth), rules.confidence)
        yield _check("changed predictions", found, rules.max_churn, found.value <= rules.max_churn)


def behaviour(lines: tuple[BehaviourLine, ...]) -> Iterator[Check]:
    """One check per suite: none of its tests may fail."""
    for suite in dict.fromkeys(line.suite for line in lines):
        of_suite = [line for line in lines if line.suite == suite]
        failed = [f"{line.name} ({line.failures} of {line.cases})" for line in of_suite if line.outcome == "fail"]
        yield Check(
            name=f"behaviour {suite}",
            outcome="fail" if failed else "pass",
            value=len(failed),
            limit=0,
            detail="; ".join(failed) or f"{len(of_suite)} tests",
        )


def infrastructure(proof: Proof, rules: GateRules) -> Iterator[Check]:
    """That the stored model runs: in a fresh process, in time, within its budget."""
    asked, budget = rules.infrastructure, rules.budget
    told = [proof.outcome, *([proof.scoring_server] if proof.scoring_server else [])]
    yield Check(name=REPLAY, outcome="pass", detail="; ".join(told))
    yield _limited("seconds to load", proof.load_seconds, asked.max_load_seconds)
    if budget.max_milliseconds_per_1000 is not None:
        yield _limited("milliseconds per 1,000 rows", proof.milliseconds_per_1000, budget.max_milliseconds_per_1000)
    if budget.max_megabytes is not None:
        yield _limited("megabytes", proof.megabytes, budget.max_megabytes)
    if proof.requirements:
        outcome = "fail" if asked.requirements == "enforce" else "pass"
        count = len(proof.requirements)
        yield Check(name="requirements", outcome=outcome, value=count, limit=0, detail="; ".join(proof.requirements))


def _limited(name: str, value: float, limit: float) -> Check:
    return Check(name=name, outcome="pass" if value <= limit else "fail", value=value, limit=limit)


def _check(name: str, found: Interval, limit: float, passes: bool) -> Check:
    outcome = "pass" if passes else "fail"
    return Check(name=name, outcome=outcome, value=found.value, low=found.low, high=found.high, limit=limit)


def _against(name: str, found: Interval | None, limit: float, passes: bool, measured: Measured, metric: str) -> Check:
    if found is None:
        return Check(name=name, outcome="fail", limit=limit, detail=_why(measured, metric))
    return _check(name, found, limit, passes)


def _why(measured: Measured, metric: str) -> str:
    return f"cannot be measured: {measured.unmeasurable.get(metric, 'it is not among the metrics of these rows')}"


def _told(line: SliceLine) -> str:
    if line.champion is None:
        return f"{line.name}: {line.quality} {shown(line.challenger.value)} of {line.rows} rows"
    change = f"{shown(line.champion.value)} to {shown(line.challenger.value)}"
    return f"{line.name}: {line.quality} from {change} on {line.rows} rows" + (f" (p = {line.p:.2g})" if line.p else "")
