"""`decide`: the evidence on two models and the rules of an environment become a verdict.

Pure: nothing is read, nothing is kept.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.class_names import difference
from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.evaluation import statistics
from lifecycle.evaluation.slices import slices
from lifecycle.evaluation.statistics import Measured
from lifecycle.gate import checks, reasons
from lifecycle.gate.checks import Rival
from lifecycle.gate.contest import Contest, Terms
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.reasons import Facts
from lifecycle.gate.verdict import REPLAY, Check, Decision, Flip, Measurements, Verdict
from lifecycle.problems.behaviour import asking
from lifecycle.problems.behaviour.suites import Suite
from lifecycle.problems.contract import Columns, described
from lifecycle.problems.findings import BehaviourLine, SliceLine
from lifecycle.problems.known import Problem
from lifecycle.problems.metric import Codes, Mask, Scores, own_digest, value_of
from lifecycle.settings.gate_rules import JUDGED, GateRules

SHOWN_FLIPS = 20


class Comparison(Frozen):
    """Who challenges whom, where, on which rows."""

    env: Environment
    challenger: str
    champion: str | None
    data_name: str
    data_version: str
    dataset_digest: str
    side: str


class Evidence(NamedTuple):
    """What is known of both models: their scores on the comparable rows, and how to ask the challenger for more."""

    problem: Problem
    inputs: Columns
    rows: pd.DataFrame
    challenger: Scores
    champion: Scores | None
    left_out: dict[str, int]
    predict: Callable[[pd.DataFrame], pd.DataFrame]
    prove: Callable[[], Proof]
    contest: Contest
    knows: Mapping[str, Collection[str]] = {}
    rivals: tuple[Rival, ...] = ()
    """Earlier champions, which a retraining is compared with too."""
    doubts: tuple[Check, ...] = ()
    """What speaks against what somebody says of the rows that the challenger has seen."""
    trained_on: Mapping[str, str] = {}
    groups: Codes | None = None
    """Which rows have something in common."""

    def terms(self, rules: GateRules) -> Terms:
        """How the two are compared by the rules of an environment; shares of the champion's value become numbers."""
        rules = self.problem.judging.completed(rules)
        metric = self.problem.judging.named(rules.metric, rules)
        unit = abs(value_of(metric, self.champion or self.challenger)) if metric.in_units and len(self.rows) else 1.0
        return Terms(metric, rules.in_units(unit) if math.isfinite(unit) else rules, self.contest, self.groups)


class _Findings(NamedTuple):
    """What the checks rest on."""

    measured: Measured
    variance: float
    """Of the gain, times the rows."""
    slices: tuple[SliceLine, ...]
    behaviour: tuple[BehaviourLine, ...]


@np.errstate(over="ignore", invalid="ignore")  # an error beyond all numbers is told as one that cannot be measured
def decide(comparison: Comparison, evidence: Evidence, rules: GateRules, suites: tuple[Suite, ...] = ()) -> Verdict:
    """Run every check on the evidence; with too few rows no later number would mean anything, so none is computed.

    The fresh process is started only for a challenger that nothing else speaks against, and always in a dry run.

    Raises:
        IntegrityError: There is a champion without predictions, or the other way round.
    """
    if (comparison.champion is None) != (evidence.champion is None):
        what = f"The champion is {comparison.champion}, but its predictions are not those that were given."
        raise IntegrityError(what)
    terms = evidence.terms(rules)
    has_classes = bool(evidence.challenger.classes)
    enough = checks.enough_rows(evidence.rows, evidence.left_out, rules, classes=has_classes)
    size = (enough, *checks.enough_groups(evidence.groups, terms.risk))
    if any(check.outcome != "pass" for check in size):
        return _verdict(comparison, evidence, terms, size, None)
    found = _findings(evidence, terms, suites)
    done = [*size, *evidence.doubts, *_compared(evidence, found, terms)]
    if rules.mode == "dry_run" or all(check.outcome == "pass" for check in done):
        done += _proven(evidence, rules)
    return _verdict(comparison, evidence, terms, tuple(done), found)


def _findings(evidence: Evidence, terms: Terms, suites: tuple[Suite, ...]) -> _Findings:
    judging, rules = evidence.problem.judging, terms.rules
    wanted = {metric.name: metric for metric in judging.standard(evidence.challenger)}
    wanted |= {name: judging.named(name, rules) for name in _named_by(rules) if name not in wanted}
    models = evidence.challenger, evidence.champion
    return _Findings(
        measured=statistics.measure(
            list(wanted.values()),
            *models,
            confidence=rules.confidence,
            resamples=rules.resamples,
            groups=evidence.groups,
        ),
        variance=_variance(evidence, terms),
        slices=slices(evidence.problem, evidence.inputs, evidence.rows, *models, rules),
        behaviour=asking.run(suites, evidence.rows, evidence.inputs, evidence.predict, confidence=rules.confidence),
    )


def _named_by(rules: GateRules) -> list[str]:
    """Every metric that a rule names; what a team has defined is shown too."""
    own = [*rules.own_metrics, *(["cost"] if rules.costs else []), *([JUDGED] if rules.language_judge else [])]
    return [rules.metric, *rules.floors, *rules.ceilings, *own]


def _compared(evidence: Evidence, found: _Findings, terms: Terms) -> Iterator[Check]:
    rules = terms.rules
    yield from checks.floors(found.measured, rules)
    if evidence.champion:
        yield from _against_champions(evidence, evidence.champion, found, terms)
    else:
        yield from checks.beyond_trivial(evidence.problem, evidence.challenger, terms)
        yield from checks.never_found(evidence.challenger, rules)
    if evidence.challenger.classes:
        yield from checks.calibration(found.measured, rules)
    if found.slices:
        yield checks.slices(found.slices, rules)
    yield from checks.behaviour(found.behaviour)


def _against_champions(evidence: Evidence, champion: Scores, found: _Findings, terms: Terms) -> Iterator[Check]:
    yield checks.gain(found.measured, (evidence.challenger, champion), terms)
    if terms.contest.rule == "retraining":
        yield from checks.predecessors(evidence.rivals, terms)
    yield from checks.lost_classes(evidence.knows, terms.rules)
    yield from checks.churn(evidence.challenger, champion, terms.rules)


def _proven(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    try:
        proof = evidence.prove()
    except IntegrityError as error:
        yield Check(name=REPLAY, outcome="fail", detail=str(error))
        return
    yield from checks.infrastructure(proof, rules)


def _verdict(
    comparison: Comparison, evidence: Evidence, terms: Terms, done: tuple[Check, ...], found: _Findings | None
) -> Verdict:
    decision = decision_of(done, terms.rules.worthwhile_gain)
    contest = terms.contest
    return Verdict(
        **comparison.model_dump(),
        **_measurements(evidence, terms, found),
        decision=decision,
        mode=terms.rules.mode,
        reasons=tuple(_reasons(done, decision, comparison, evidence, terms, found)),
        trained_on=dict(evidence.trained_on),
        rule=contest.rule,
        rule_reason=contest.why,
        judged_before=contest.judged_before,
        risk=terms.risk,
        checks=done,
    )


def measured(comparison: Comparison, evidence: Evidence, rules: GateRules) -> Measurements:
    """The same two models without rules, checks and decision, for whoever only wants to know how they differ."""
    if evidence.groups is not None and not evidence.groups.any():
        evidence = evidence._replace(groups=None)  # of one group alone nothing can be drawn
    terms = evidence.terms(rules)
    found = _measurements(evidence, terms, _findings(evidence, terms, ()))
    deciding = {name: value for name, value in found["metrics"].items() if name == terms.metric.name}
    return Measurements(**comparison.model_dump(), **found | {"metrics": deciding | found["metrics"]})


def _measurements(evidence: Evidence, terms: Terms, found: _Findings | None) -> dict[str, Any]:
    new, old = evidence.challenger, evidence.champion
    lines: dict[str, Any] = {}
    if found is not None:
        lines = {"slices": found.slices, "behaviour": found.behaviour}
        lines |= {"metrics": found.measured.challenger, "champion_metrics": found.measured.champion}
        lines |= {"gains": found.measured.gain}
        lines["measured_by"] = {name: own_digest(path) for name, path in terms.rules.own_metrics.items()}
    return {
        "problem": evidence.problem.name,
        "rows": len(evidence.rows),
        "left_out": evidence.left_out,
        "classes": new.classes,
        "confusion": new.confusion(),
        "champion_confusion": old.confusion() if old else (),
        **_changes(evidence),
        **lines,
    }


def decision_of(done: tuple[Check, ...], worthwhile: float) -> Decision:
    """`promote` only if there are checks and every one of them passed; else what speaks most against the challenger.

    Args:
        done: The checks.
        worthwhile: The least gain that is worth having.
    """
    failed = [check for check in done if check.outcome == "fail"]
    gains = [check for check in failed if check.name.startswith(checks.GAIN) and check.high is not None]
    if any(check.high < 0 for check in gains if check.high is not None):
        return "worse"
    if any(check.outcome == "not_enough_data" for check in done):
        return "not_enough_data"
    if failed and failed == gains:
        return "no_better" if all(_is_excluded(check, worthwhile) for check in gains) else "cannot_tell"
    return "promote" if done and not failed else "keep"


def _is_excluded(check: Check, worthwhile: float) -> bool:
    """Whether the interval holds no gain worth having; where a loss is tolerated, that is not the question."""
    high, limit = check.high, check.limit
    return high is not None and limit is not None and limit >= 0 and (high <= 0 or high < max(worthwhile, limit))


def _other_classes(evidence: Evidence, done: tuple[Check, ...]) -> Iterator[str]:
    """A champion cannot be right on classes that it does not know: to beat it there shows little."""
    new, old = evidence.knows.get("challenger"), evidence.knows.get("champion")
    refused = any(check.name == checks.CLASSES and check.outcome != "pass" for check in done)  # which tells them
    if new and old and not refused and (told := difference(old, new)):
        yield f"the classes differ from the champion's: {told}"


def _reasons(
    done: tuple[Check, ...],
    decision: Decision,
    comparison: Comparison,
    evidence: Evidence,
    terms: Terms,
    found: _Findings | None,
) -> Iterator[str]:
    rules = terms.rules
    if rules.mode == "dry_run" and decision != "promote":
        yield "DRY RUN, nothing is protected"
    variance = found.variance if found else _variance(evidence, terms)
    new, old = (models.get(rules.metric) for models in (found.measured[:2] if found else ({}, {})))
    rows = len(evidence.rows)
    facts = Facts(
        rules=rules,
        contest=terms.contest,
        champion=comparison.champion,
        rows=rows,
        scores=(new, old) if new and old else None,
        visible=statistics.visible(variance, rows, risk=terms.risk, power=rules.power) if variance else 0,
        needed=_needed(terms, variance),
        has_classes=bool(evidence.challenger.classes),
    )
    sentence, *numbers = reasons.told(decision, done, facts)
    yield from (sentence, *_other_classes(evidence, done), *numbers)


def _needed(terms: Terms, variance: float) -> int:
    """How many rows that nobody has asked can tell a difference that matters; 0 where no number of them can."""
    rules, limit = terms.rules, terms.limit
    margin = -limit if limit < 0 else max(limit, rules.worthwhile_gain)
    return (
        statistics.rows_needed(variance, margin=margin, risk=rules.risk, power=rules.power)
        if variance and margin
        else 0
    )


def _variance(evidence: Evidence, terms: Terms) -> float:
    """How much the gain of the two varies; 0 where that is not known: there are not two, or not two rows."""
    if evidence.champion is None or len(evidence.rows) < 2:
        return 0.0
    rules, models = terms.rules, (evidence.challenger, evidence.champion)
    spread = statistics.spread(
        terms.metric, *models, confidence=rules.confidence, resamples=rules.resamples, groups=evidence.groups
    )
    return spread if math.isfinite(spread) else 0.0


def _changes(evidence: Evidence) -> dict[str, Any]:
    """What the verdict says of rows on which one model does better: how many there are, and the worst of them."""
    new, old = evidence.challenger, evidence.champion
    if old is None:
        return {}
    flips = new.flips(old)
    return {
        "broken_rows": int(flips.broken.sum()),
        "repaired_rows": int(flips.repaired.sum()),
        "broken": _worst(evidence, flips.broken, new, old),
        "repaired": _worst(evidence, flips.repaired, old, new),
        "change_words": flips.words,
    }


def _worst(evidence: Evidence, mask: Mask, wrong: Scores, right: Scores) -> tuple[Flip, ...]:
    """Rows on which one model does worse than the other, the worst first."""
    severity, new, old = wrong.severity(right), evidence.challenger, evidence.champion or evidence.challenger
    worst = sorted(np.flatnonzero(mask).tolist(), key=lambda row: (-severity[row], row))[:SHOWN_FLIPS]
    return tuple(
        Flip(
            row=int(evidence.rows["row"].iloc[row]),
            text=described(evidence.rows.iloc[row], evidence.inputs),
            truth=new.said(row)[0],
            champion=old.said(row)[1],
            challenger=new.said(row)[1],
            score=wrong.certainty(row),
        )
        for row in worst
    )
