"""`mlops gate selftest`: the gate is shown challengers whose fate is known, and must refuse each bad one for its fault.

It judges by the rules of the environment. Limits that speak of somebody's data or machine are moved to where an honest
model keeps to them on the planted rows, and never made stricter: what they let through is told as `unguarded`. Only
for time and size another limit stands in, beside which a planted model is slow or heavy.
"""

import hashlib
import json
import logging
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, Environment, ProblemName
from lifecycle.gate.verdict import REPLAY, Decision, Verdict
from lifecycle.problems.judging import CATEGORIES
from lifecycle.problems.known import Problem, named
from lifecycle.settings.gate_rules import GateRules, SliceRules
from lifecycle.storage.files import sha256_of, write_json
from lifecycle.tracking.runs import PACKAGES

if TYPE_CHECKING:
    from lifecycle.gate.selftest.planted import PlantedModels

logger = logging.getLogger(__name__)

GAIN, LOSS, ANY = 0.05, 0.1, 0.99
"""The better model gains more than the one, the shuffled one loses more than the second; no model loses the last."""
ROWS, ROWS_OF_A_CLASS, ROWS_OF_A_SLICE = 400, 100, 100
MAX_LOSS, SLICE_FLOOR = 0.15, 0.3
"""Each broken slice loses more than the one; an honest model reaches the other in every slice."""
MAX_ECE, LAX_ECE = {"max_ece": 0.12, "max_ece_increase": 0.1}, 0.2
"""An honest model keeps to these, the overconfident one breaks even the other."""
LOAD_SECONDS = 60
SLOWER, HEAVIER = 8.0, 3.0
"""How many times the time and the size of an honest model are within the budget."""


Fate = Literal["promote", "refused"]
REFUSED: Fate = "refused"


class Line(Frozen):
    """What the gate made of one planted challenger."""

    name: str
    expected: Fate
    expected_reason: str = Field(description="The check that must fail; empty for an honest challenger.")
    decision: Decision | None = Field(description="None if nothing in the rules guards against it: it was not judged.")
    reasons: tuple[str, ...]
    outcome: Literal["caught", "MISSED", "unguarded"]
    seconds: float


class SelftestResult(Frozen):
    """Whether the gate refuses what it must and accepts what it should."""

    env: Environment
    problem: ProblemName = TEXT_CLASSIFICATION
    lines: tuple[Line, ...]
    replaced: tuple[str, ...] = Field(description="Rules that speak of other data or of a machine, and what stood in.")
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no planted challenger was missed; what is unguarded is the environment's choice."""
        return all(line.outcome != "MISSED" for line in self.lines)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What was missed, in words; empty if nothing was."""
        return tuple(
            f"the gate missed the planted challenger '{line.name}': {line.decision} instead of {line.expected}"
            f"{f' for its {line.expected_reason}' if line.expected_reason else ''} ({'; '.join(line.reasons)})"
            for line in self.lines
            if line.outcome == "MISSED"
        )


class Expected(NamedTuple):
    """What must become of a planted challenger, and what in the rules guards against it."""

    decision: Fate
    reason: str = ""
    """The check that must fail, by how its name begins; empty for an honest one."""
    unguarded: str = ""
    """Why the rules let it through; empty if they do not."""


def run(problem: ProblemName, rules: GateRules, env: Environment) -> SelftestResult:
    """Plant every challenger and judge it by the rules of an environment; takes a few seconds and keeps nothing.

    If only a measured time was not as expected, all is measured once more: a machine may be busy for a moment.
    """
    result = _run(problem, rules, env)
    if any(map(_by_its_time, result.lines)):
        logger.info("Measuring once more: a planted challenger was not as fast, or as slow, as expected")
        result = _run(problem, rules, env)
    for line in result.lines:
        if line.outcome == "unguarded":
            logger.warning("The gate of %s is UNGUARDED against '%s': %s", env, line.name, "; ".join(line.reasons))
    for reason in result.reasons:
        logger.error("In %s %s", env, reason)
    return result


def _run(problem: ProblemName, rules: GateRules, env: Environment) -> SelftestResult:
    from lifecycle.gate.selftest.planted import PlantedModels

    began, planted = time.perf_counter(), PlantedModels(named(problem))
    completed = planted.problem.judging.completed(rules)
    used = stand_in(completed, planted)
    expected = expectations(planted.problem, completed)
    lines = tuple(_line(name, fate, planted, used, env) for name, fate in expected.items())
    replaced = tuple(_differences(completed.model_dump(), used.model_dump(), "gate"))
    seconds = time.perf_counter() - began
    return SelftestResult(env=env, problem=problem, lines=lines, replaced=replaced, seconds=seconds)


def _by_its_time(line: Line) -> bool:
    timed = line.name == "slow" or any("milliseconds" in reason for reason in line.reasons)
    return line.outcome == "MISSED" and timed


def ensure(problem: ProblemName, rules: GateRules, env: Environment, evidence_root: Path) -> SelftestResult:
    """The same, but what has passed once with these rules, this code and these packages is not repeated.

    A promotion goes on only if the result has `passed`; a failure is not kept, so that the next promotion asks anew.
    """
    path = evidence_root / f"selftest-{_digest(problem, rules, env)}.json"
    try:
        known = SelftestResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        known = None
    if known and known.passed:
        return known
    logger.info("Testing the gate of %s with planted challengers", env)
    result = run(problem, rules, env)
    if result.passed:
        with suppress(OSError):  # where nothing can be kept it is only repeated
            evidence_root.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(path, result.model_dump(mode="json"))
    return result


def expectations(problem: Problem, rules: GateRules) -> dict[str, Expected]:
    """What must become of each planted challenger under these rules."""
    expected = {
        "shuffled target": Expected(REFUSED, "gain in"),
        "constant": Expected(REFUSED, "gain in"),
        "leaky": Expected(REFUSED, "comparable rows"),
        "slice broken": Expected(REFUSED, "slices of the rows"),
        "class broken": Expected(REFUSED, "slices of the rows"),
        "overconfident": Expected(REFUSED, "calibration"),
        "slow": Expected(REFUSED, "milliseconds"),
        "heavy": Expected(REFUSED, "megabytes"),
        "other model in the file": Expected(REFUSED, REPLAY),
        "unreadable": Expected(REFUSED, REPLAY),
        "better": Expected("promote"),
        "equal": Expected(REFUSED, "gain in"),
        "retrained": Expected("promote"),
        "retrained on wrong targets": Expected(REFUSED, "gain in"),
    }
    if rules.min_gain >= 0:  # where a loss is tolerated, another model that is as good may go in
        expected["as good"] = Expected(REFUSED, "gain in")
    if problem.model_type != "classifier":
        del expected["class broken"], expected["overconfident"]
    for name in {"constant", "overconfident", "slow", "heavy"} - {*problem.planted.changes}:
        expected.pop(name, None)
    lax = _unguarded("shuffled target", problem.target, rules)
    own = dict.fromkeys(problem.planted.own, Expected(REFUSED, "gain in", lax))
    told = {name: fate._replace(unguarded=_unguarded(name, problem.target, rules)) for name, fate in expected.items()}
    return told | own


def _unguarded(name: str, target: str, rules: GateRules) -> str:
    """Why the rules let a planted fault through; empty if they do not."""
    slices, calibration, budget = rules.slices, rules.calibration, rules.budget
    ece = [limit for limit in (calibration.max_ece, calibration.max_ece_increase) if limit is not None]
    large = slices.max_loss > MAX_LOSS
    reasons = {
        "shuffled target": (rules.min_gain < -LOSS, "min_gain tolerates so large a loss"),
        "retrained on wrong targets": (rules.margin > LOSS, "retraining tolerates so large a loss"),
        "slice broken": (
            large or not {*(slices.by or ())} - {target},
            "slices names no slice of the rows, or allows this loss",
        ),
        "class broken": (large or target not in (slices.by or ()), "slices names no label, or allows this loss"),
        "overconfident": (not ece or min(ece) > LAX_ECE, "calibration has no limit that is low enough"),
        "slow": (budget.max_milliseconds_per_1000 is None, "budget.max_milliseconds_per_1000 is off"),
        "heavy": (budget.max_megabytes is None, "budget.max_megabytes is off"),
    }
    applies, reason = reasons.get(name, (False, ""))
    return f"gate.{reason}" if applies else ""


def stand_in(rules: GateRules, planted: "PlantedModels") -> GateRules:
    """The rules, with those that speak of somebody's data or machine moved to where an honest model keeps to them."""
    calibration, infrastructure, material = rules.calibration, rules.infrastructure, planted.material
    floors, ceilings = material.floors, material.ceilings
    tolerance = min(rules.min_gain, GAIN) if rules.min_gain >= 0 else max(min(rules.min_gain, -LOSS), -ANY)
    values = {
        "mode": "enforce",
        "metric": rules.metric if rules.metric in material.comparable else planted.problem.judging.metric,
        "min_gain": tolerance,
        "floors": {name: min(limit, floors[name]) for name, limit in rules.floors.items() if name in floors},
        "ceilings": {name: max(limit, ceilings[name]) for name, limit in rules.ceilings.items() if name in ceilings},
        "min_rows": min(rules.min_rows, ROWS),
        "min_rows_per_class": min(rules.min_rows_per_class, ROWS_OF_A_CLASS),
        "max_churn": None,
        "worthwhile_gain": min(rules.worthwhile_gain, GAIN),
        "retraining": rules.retraining.model_dump() | {"margin": min(max(rules.margin, GAIN), ANY)},
        "slices": _slices(rules.slices, planted.problem),
        "calibration": {
            name: None if limit is None else max(limit, MAX_ECE[name])
            for name, limit in calibration.model_dump().items()
        },
        "budget": _budget(rules, planted),
        "costs": None,
        "own_metrics": {},
        "behaviour": (),
        "infrastructure": infrastructure.model_dump()
        | {"scoring_server": False, "max_load_seconds": max(infrastructure.max_load_seconds, LOAD_SECONDS)},
    }
    return GateRules.model_validate(rules.model_dump() | values)


def _slices(asked: SliceRules, problem: Problem) -> dict[str, Any]:
    """A column of somebody's data becomes the planted rows' own."""
    from lifecycle.problems.planted import DESK

    own = problem.judging.slices
    return asked.model_dump() | {
        "by": None
        if asked.by is None
        else tuple(dict.fromkeys(by if by in {CATEGORIES, *own} else DESK for by in asked.by)),
        "min_rows": min(asked.min_rows, ROWS_OF_A_SLICE),
        "floor": None if asked.floor is None else min(asked.floor, SLICE_FLOOR),
    }


def _budget(rules: GateRules, planted: "PlantedModels") -> dict[str, float | None]:
    """What an honest model needs here, several times over."""
    asked, (milliseconds, megabytes) = rules.budget, planted.needs
    return {
        "max_milliseconds_per_1000": None if asked.max_milliseconds_per_1000 is None else milliseconds * SLOWER,
        "max_megabytes": None if asked.max_megabytes is None else megabytes * HEAVIER,
    }


def _line(name: str, expected: Expected, planted: "PlantedModels", rules: GateRules, env: Environment) -> Line:
    """Judge one planted challenger, unless nothing guards against it; what cannot be judged is not caught."""
    began = time.perf_counter()
    decision: Decision | None = None
    outcome: Literal["caught", "MISSED", "unguarded"] = "unguarded"
    reasons: tuple[str, ...] = (expected.unguarded,)
    if not expected.unguarded:
        try:
            verdict = _judged(name, planted, rules, env)
            decision, reasons = verdict.decision, verdict.reasons
            outcome = "caught" if _as_expected(verdict, expected) else "MISSED"
        except Exception as error:  # a gate that breaks on a planted challenger has not refused it for its fault
            logger.debug("The planted challenger %r could not be judged", name, exc_info=error)
            outcome, reasons = "MISSED", (f"could not be judged: {type(error).__name__}: {error}",)
    return Line(
        name=name,
        expected=expected.decision,
        expected_reason=expected.reason,
        decision=decision,
        reasons=reasons,
        outcome=outcome,
        seconds=time.perf_counter() - began,
    )


def _judged(name: str, planted: "PlantedModels", rules: GateRules, env: Environment) -> Verdict:
    from lifecycle.gate.decide import Comparison, decide

    evidence = planted.evidence(name)
    comparison = Comparison(
        env=env,
        challenger=f"planted {name}",
        champion="planted champion" if evidence.champion else None,
        data_name="planted",
        data_version="1",
        dataset_digest="",
        side="holdout",
    )
    return decide(comparison, evidence, rules)


def _as_expected(verdict: Verdict, expected: Expected) -> bool:
    """The decision, and for a bad one the check that is there for its fault."""
    failed = [check.name for check in verdict.checks if check.outcome != "pass"]
    right = not expected.reason or any(name.startswith(expected.reason) for name in failed)
    return right and {verdict.decision == "promote", verdict.promote} == {expected.decision == "promote"}


def _differences(asked: Mapping[str, Any], used: Mapping[str, Any], path: str) -> Iterator[str]:
    """Each rule that another stands in for, as `gate.min_rows: 5000 became 400`."""
    for key in dict.fromkeys([*asked, *used]):
        before, after = asked.get(key), used.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{path}.{key}")
        elif before != after:
            yield f"{path}.{key}: {before} became {after}"


def _digest(problem: ProblemName, rules: GateRules, env: Environment) -> str:
    """What the result of a selftest depends on: the rules, the code that judges and fits, and the packages."""
    here = Path(__file__).parents[2]
    rooms = ("gate", "evaluation", "models", "problems", "settings")
    code = [path for room in rooms for path in (here / room).rglob("*.py")]
    content = {
        "env": env,
        "problem": problem,
        "rules": rules.model_dump(mode="json"),
        "code": {path.relative_to(here).as_posix(): sha256_of(path) for path in sorted(code)},
        "runtime": [platform.python_version(), platform.machine(), *(f"{name}=={version(name)}" for name in PACKAGES)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
