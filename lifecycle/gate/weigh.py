"""`weigh`: a case and the rules of an environment become a verdict. Pure: nothing is read, nothing is kept."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from lifecycle.class_names import difference
from lifecycle.errors import IntegrityError
from lifecycle.frozen import Frozen
from lifecycle.gate import behaviour, checks, metrics, statistics
from lifecycle.gate.behaviour import Suite
from lifecycle.gate.infrastructure import Proof
from lifecycle.gate.metrics import Predictions
from lifecycle.gate.rules import GateRules
from lifecycle.gate.slices import slices
from lifecycle.gate.statistics import Measured
from lifecycle.gate.verdict import REPLAY, BehaviourLine, Check, Decision, Flip, SliceLine, Verdict
from lifecycle.names import Environment

FIRST = "first champion: better than any constant answer and than chance"
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
    knows: Mapping[str, Collection[str]] = {}


class _Findings(NamedTuple):
    """What the checks rest on."""

    measured: Measured
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
    done = [size, *_compared(case, found, rules)]
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
        yield checks.gain(found.measured, case.challenger, case.champion, rules)
        if rules.min_gain < 0:
            yield checks.rows_for_margin(len(case.rows), _rows_needed(case, rules), rules)
        yield from checks.churn(case.challenger, case.champion, rules)
    else:
        yield from checks.beyond_trivial(case.challenger, rules)
    yield from checks.calibration(found.measured, rules)
    if found.slices:
        yield checks.parts(found.slices, rules)
    yield from checks.behaviour(found.behaviour)


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
    decision = decide(done)
    new, old = case.challenger, case.champion
    broken, repaired = _flips(case, old, new), _flips(case, new, old)
    lines = {} if found is None else {"slices": found.slices, "behaviour": found.behaviour}
    measured = found.measured if found else None
    return Verdict(
        **parties.model_dump(),
        decision=decision,
        mode=rules.mode,
        reasons=tuple(_reasons(done, decision, parties, case, rules)),
        rows=len(case.rows),
        left_out=case.left_out,
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


def decide(done: tuple[Check, ...]) -> Decision:
    """`promote` only if there are checks and every one of them passed."""
    if any(check.outcome == "not_enough_data" for check in done):
        return "not_enough_data"
    return "promote" if done and all(check.outcome == "pass" for check in done) else "keep"


def _reasons(
    done: tuple[Check, ...], decision: Decision, parties: Parties, case: Case, rules: GateRules
) -> Iterator[str]:
    if rules.mode == "dry_run" and decision != "promote":
        yield "DRY RUN, nothing is protected"
    if decision == "promote":
        who = parties.champion
        yield f"better than the champion {who}" if who else FIRST
    yield from _other_classes(case)
    for check in done:
        if check.outcome == "not_enough_data":
            yield f"{check.value:g} {check.name}, {check.detail}; needed are {check.limit:g}{_worthwhile(case, rules)}"
        elif check.outcome == "fail" and check.name.startswith("gain") and check.value is not None:
            yield (
                f"{check.name} is {check.value:+.3f} [{check.low:+.3f}, {check.high:+.3f}]: "
                f"its interval must lie above {check.limit:g} ({check.detail})"
            )
        elif check.outcome == "fail":
            yield _failed(check)


def _other_classes(case: Case) -> Iterator[str]:
    """A champion cannot be right on classes that it does not know: to beat it there shows little."""
    new, old = case.knows.get("challenger"), case.knows.get("champion")
    if new and old and (told := difference(old, new)):
        yield f"the classes differ from the champion's: {told}"


def _failed(check: Check) -> str:
    if check.detail or check.value is None or check.limit is None:
        return f"{check.name}: {check.detail}"
    side = "below" if check.value < check.limit else "above"
    return f"{check.name}: {check.value:.3f} is {side} {check.limit:g}"


def _worthwhile(case: Case, rules: GateRules) -> str:
    """How many rows it would take, as far as two models on a few rows can tell."""
    if case.champion is None or len(case.rows) < 2:
        return ""
    margin = abs(rules.min_gain) if rules.min_gain < 0 else rules.worthwhile_gain
    needed = f"{_rows_needed(case, rules):,} rows"
    return (
        f"; to see a difference of {margin:g} in {rules.metric} with a power of {rules.power:.0%} takes about {needed}"
    )


def _rows_needed(case: Case, rules: GateRules) -> int:
    if case.champion is None:
        return 0
    return statistics.rows_needed(
        metrics.named(rules.metric, rules),
        case.challenger,
        case.champion,
        margin=abs(rules.min_gain) if rules.min_gain < 0 else rules.worthwhile_gain,
        confidence=rules.confidence,
        power=rules.power,
        resamples=rules.resamples,
    )


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
