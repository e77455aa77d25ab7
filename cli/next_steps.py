"""What to do about a refusal: what would have been enough, and the most promising commands."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lifecycle import settings
from lifecycle.core.names import Environment, ProblemName

if TYPE_CHECKING:
    from lifecycle.gate.verdict import Verdict
    from tasks.outcomes import Admission

MORE_ROWS = frozenset({"cannot_tell", "not_enough_data"})
"""Decisions that other rows may change."""
COMPARED = frozenset({"worse", "no_better", "cannot_tell"})


def after(refused: "Admission") -> Iterator[str]:
    """The sentences and commands that end the answer to a refused challenger."""
    if refused.verdict is None or refused.verdict.promote:
        return
    from lifecycle.gate.present import advice  # needs scipy, which no help does

    verdict, model_name = refused.verdict, refused.model.split(".", 2)[2]
    if told := advice.enough(verdict, settings.load(verdict.env, model_name=model_name).gate.confidence):
        yield told
    named = f"--model-name {model_name}"
    yield "Next:"
    if verdict.decision in MORE_ROWS:
        what = "rows of more groups" if _lacks_groups(verdict) else "more rows"
        yield f"  {what}, as a new version: mlops release {named} --source TABLE"
    other = _untried(verdict.problem, model_name) if verdict.decision in COMPARED else ""
    if other:
        yield f"  what has not been tried: mlops train {named} --algorithm {other}"
    else:
        yield f"  what was tried, the best first: mlops runs {named}"
    if verdict.decision not in MORE_ROWS and verdict.rows:
        yield f"  what speaks against it, with plots: {explain(refused)} --html FILE"


def _lacks_groups(verdict: "Verdict") -> bool:
    from lifecycle.gate.checks import GROUPS  # needs numpy, which no help does

    return any(check.name == GROUPS and check.outcome != "pass" for check in verdict.checks)


def explain(outcome: "Admission") -> str:
    """The command that shows all of a verdict."""
    kind, _, number = outcome.challenger.rpartition(" ")
    if outcome.promotion:
        which = f"--version {outcome.promotion.champion}"
    elif kind == "run":
        which = f"--run-id {number}"
    else:
        which = f"--from {kind.partition('.')[0]} --version {number.removeprefix('v')}"
    return f"mlops gate explain --model-name {outcome.model.split('.', 2)[2]} --env {outcome.env} {which}"


def _untried(problem: ProblemName, model_name: str) -> str:
    """The first algorithm of a problem that no training of the model has used; empty if there is none."""
    from lifecycle.problems.known import named  # needs pandas, which no help does
    from lifecycle.registry import leaderboard  # reads stored evaluations, which only a refusal asks for

    tried = leaderboard.algorithms(settings.load(Environment.DEV, model_name=model_name), model_name)
    return next((name for name in named(problem).learning.estimators if name not in tried), "")
