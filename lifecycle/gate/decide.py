"""`weigh`: a case and the rules of an environment become a verdict. Pure: nothing is read, nothing is kept."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from lifecycle.core.class_names import difference
from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.evaluation import behaviour, metrics, statistics
from lifecycle.evaluation.behaviour import Suite
from lifecycle.evaluation.findings import BehaviourLine, SliceLine
from lifecycle.evaluation.metrics import Predictions
from lifecycle.evaluation.slices import slices
from lifecycle.evaluation.statistics import Measured
from lifecycle.gate import checks, reasons
from lifecycle.gate.checks import Rival
from lifecycle.gate.contest import Contest
from lifecycle.gate.proof.infrastructure import Proof
from lifecycle.gate.reasons import Facts
from lifecycle.gate.verdict import REPLAY, Check, Decision, Flip, Verdict
from lifecycle.settings.gate_rules import GateRules

SHOWN_FLIPS = 20
SHOWN_TEXT = 200


class Parties(Frozen):
    """Who challenges whom, where, on which rows."""

    env: Environment
    challenger: str
    champion: str | None
    data_name: str
    data_version: str
    dataset_digest: str
    side: str


class Case(NamedTuple):
    """What is known of both: their predictions on the comparable rows, and how to ask the challenger for more."""

    rows: pd.DataFrame
    challenger: Predictions
    champion: Predictions | None
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


class _Findings(NamedTuple):
    """What the checks rest on."""

    measured: Measured
    variance: float
    """Of the gain, times the rows."""
    slices: tuple[SliceLine, ...]
    behaviour: tuple[BehaviourLine, ...]


def weigh(parties: Parties, case: Case, rules: GateRules, suites: tuple[Suite, ...] = ()) -> Verdict:
    """Run every check on a case; with too few rows no later number would mean anything, so none is computed.

    The fresh process is started only for a challenger that nothing else speaks against, and always in a dry run.

    Raises:
        IntegrityError: There is a champion without predictions, or the other way round.
    """
    if (parties.champion is None) != (case.champion is None):
        raise IntegrityError(f"The champion is {parties.champion}, but its predictions are not those that were given.")
    size = checks.enough_rows(case.rows, case.left_out, rules)
    if size.outcome != "pass":
        return _verdict(parties, case, rules, (size,), None)
    found = _findings(case, rules, suites)
    done = [size, *case.doubts, *_compared(case, found, rules)]
    if rules.mode == "dry_run" or all(check.outcome == "pass" for check in done):
        done += _proven(case, rules)
    return _verdict(parties, case, rules, tuple(done), found)


def _findings(case: Case, rules: GateRules, suites: tuple[Suite, ...]) -> _Findings:
    wanted = {each.name: each for each in metrics.standard(case.challenger)}
    wanted |= {name: metrics.named(name, rules) for name in _asked(rules) if name not in wanted}
    measured = statistics.measure(
        list(wanted.values()), case.challenger, case.champion, confidence=rules.confidence, resamples=rules.resamples
    )
    return _Findings(
        measured=measured,
        variance=_variance(case, rules),
        slices=slices(case.rows, case.challenger, case.champion, rules),
        behaviour=behaviour.run(suites, case.rows, case.predict, confidence=rules.confidence),
    )


def _asked(rules: GateRules) -> list[str]:
    """Every metric that a rule names; what a team has defined is shown too."""
    own = [*rules.own_metrics, *(["cost"] if rules.costs else [])]
    return [rules.metric, *rules.floors, *rules.ceilings, *own]


def _compared(case: Case, found: _Findings, rules: GateRules) -> Iterator[Check]:
    yield from checks.floors(found.measured, rules)
    if case.champion:
        yield from _against_champions(case, case.champion, found, rules)
    else:
        yield from checks.beyond_trivial(case.challenger, rules, case.contest)
        yield from checks.never_found(case.challenger, rules)
    yield from checks.calibration(found.measured, rules)
    if found.slices:
        yield checks.parts(found.slices, rules)
    yield from checks.behaviour(found.behaviour)


def _against_champions(case: Case, champion: Predictions, found: _Findings, rules: GateRules) -> Iterator[Check]:
    yield checks.gain(found.measured, case.challenger, champion, rules, case.contest)
    if case.contest.rule == "retraining":
        yield from checks.predecessors(case.rivals, rules, case.contest)
    yield from checks.lost_classes(case.knows, rules)
    yield from checks.churn(case.challenger, champion, rules)


def _proven(case: Case, rules: GateRules) -> Iterator[Check]:
    try:
        proof = case.prove()
    except IntegrityError as error:
        yield Check(name=REPLAY, outcome="fail", detail=str(error))
        return
    yield from checks.infrastructure(proof, rules)


def _verdict(
    parties: Parties, case: Case, rules: GateRules, done: tuple[Check, ...], found: _Findings | None
) -> Verdict:
    decision = decide(done, rules.worthwhile_gain)
    new, old = case.challenger, case.champion
    broken, repaired = _flips(case, old, new), _flips(case, new, old)
    lines = {} if found is None else {"slices": found.slices, "behaviour": found.behaviour}
    measured = found.measured if found else None
    return Verdict(
        **parties.model_dump(),
        decision=decision,
        mode=rules.mode,
        reasons=tuple(_reasons(done, decision, parties, case, rules, found)),
        rows=len(case.rows),
        left_out=case.left_out,
        trained_on=dict(case.trained_on),
        rule=case.contest.rule,
        rule_reason=case.contest.why,
        judged_before=case.contest.judged_before,
        risk=case.contest.risk(rules),
        checks=done,
        metrics=measured.challenger if measured else {},
        champion_metrics=measured.champion if measured else {},
        gains=measured.gain if measured else {},
        classes=new.classes,
        confusion=_confusion(new),
        champion_confusion=_confusion(old) if old else (),
        broken_rows=len(broken),
        repaired_rows=len(repaired),
        broken=tuple(broken[:SHOWN_FLIPS]),
        repaired=tuple(repaired[:SHOWN_FLIPS]),
        **lines,
    )


def decide(done: tuple[Check, ...], worthwhile: float) -> Decision:
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
    return high is not None and limit is not None and limit >= 0 and high < max(worthwhile, limit)


def _other_classes(case: Case, done: tuple[Check, ...]) -> Iterator[str]:
    """A champion cannot be right on classes that it does not know: to beat it there shows little."""
    new, old = case.knows.get("challenger"), case.knows.get("champion")
    refused = any(check.name == checks.CLASSES and check.outcome != "pass" for check in done)  # which tells them
    if new and old and not refused and (told := difference(old, new)):
        yield f"the classes differ from the champion's: {told}"


def _reasons(
    done: tuple[Check, ...], decision: Decision, parties: Parties, case: Case, rules: GateRules, found: _Findings | None
) -> Iterator[str]:
    if rules.mode == "dry_run" and decision != "promote":
        yield "DRY RUN, nothing is protected"
    variance = found.variance if found else _variance(case, rules)
    new, old = (each.get(rules.metric) for each in (found.measured[:2] if found else ({}, {})))
    risk = case.contest.risk(rules)
    facts = Facts(
        rules=rules,
        contest=case.contest,
        champion=parties.champion,
        rows=len(case.rows),
        scores=(new, old) if new and old else None,
        visible=statistics.visible(variance, len(case.rows), risk=risk, power=rules.power) if variance else 0,
        needed=_needed(case, variance, rules),
    )
    sentence, *numbers = reasons.told(decision, done, facts)
    yield from (sentence, *_other_classes(case, done), *numbers)


def _needed(case: Case, variance: float, rules: GateRules) -> int:
    """How many rows that nobody has asked can tell a difference that matters; 0 where there are not two models."""
    limit = case.contest.limit(rules)
    margin = -limit if limit < 0 else max(limit, rules.worthwhile_gain)
    return statistics.rows_needed(variance, margin=margin, risk=rules.risk, power=rules.power) if variance else 0


def _variance(case: Case, rules: GateRules) -> float:
    """How much the gain of the two varies; 0 where there are not two, or not two rows."""
    if case.champion is None or len(case.rows) < 2:
        return 0.0
    metric, models = metrics.named(rules.metric, rules), (case.challenger, case.champion)
    return statistics.spread(metric, *models, confidence=rules.confidence, resamples=rules.resamples)


def _flips(case: Case, right: Predictions | None, wrong: Predictions | None) -> list[Flip]:
    """Rows that one model gets right and the other wrong, the surest mistake first."""
    if right is None or wrong is None or case.champion is None:
        return []
    flipped = np.flatnonzero((right.label == right.truth) & (wrong.label != wrong.truth))
    names, new, old = case.challenger.classes, case.challenger.label, case.champion.label
    return [
        Flip(
            row=int(case.rows["row"].iloc[i]),
            text=str(case.rows["text"].iloc[i])[:SHOWN_TEXT],
            truth=names[right.truth[i]],
            champion=names[old[i]],
            challenger=names[new[i]],
            score=float(wrong.score[i]),
        )
        for i in sorted(flipped, key=lambda i: (-wrong.score[i], i))
    ]


def _confusion(predictions: Predictions) -> tuple[tuple[int, ...], ...]:
    size = len(predictions.classes)
    cells = np.bincount(predictions.truth * size + predictions.label, minlength=size * size).reshape(size, size)
    return tuple(tuple(int(count) for count in row) for row in cells)
