"""`judge`: two models, the same rows, one verdict. Whatever cannot be established is a refusal with its reason."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import evaluation
from lifecycle.data import dataset
from lifecycle.errors import TransientError
from lifecycle.evaluation import EvaluateRequest
from lifecycle.files import write_json
from lifecycle.frozen import Frozen
from lifecycle.gate import checks, replay, statistics
from lifecycle.gate.rules import GateRules
from lifecycle.gate.verdict import Check, Decision, Flip, Interval, Verdict
from lifecycle.models.loading import ModelRef
from lifecycle.names import Environment
from lifecycle.tracking import client, translated

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SHOWN_FLIPS = 20


class JudgeRequest(Frozen):
    """Who challenges whom, on which data, by which rules. `champion=None` says that the model never had one."""

    env: Environment
    challenger: ModelRef
    champion: ModelRef | None
    data_root: Path
    data_name: str
    data_version: str
    rules: GateRules
    evidence_root: Path


def judge(request: JudgeRequest) -> Verdict:
    """Decide, and keep the verdict as an artifact of the challenger's run.

    `promote` only if every check passed. Too few rows give `not_enough_data`; everything else, a tie, a failed check,
    an unreadable champion or any exception, gives `keep` with its reason. Only what waiting may cure is raised.
    """
    try:
        verdict = _judge(request)
    except TransientError:
        raise
    except Exception as error:  # closed by default: what could not be judged is refused, whatever went wrong
        logger.debug("The challenger could not be judged", exc_info=error)
        verdict = _refusal(request, f"could not be judged: {type(error).__name__}: {error}")
    _keep(verdict, request.challenger)
    outcome = "Accepted" if verdict.promote else "Refused"
    logger.info("%s %s in %s: %s", outcome, verdict.challenger, verdict.env, "; ".join(verdict.reasons))
    return verdict


def _judge(request: JudgeRequest) -> Verdict:
    challenger = _evaluation(request, request.challenger)
    champion = _evaluation(request, request.champion) if request.champion else None
    truth = dataset.load_rows(request.data_root, request.data_name, request.data_version, challenger.side)
    rows = checks.comparable(
        truth,
        evaluation.stored(challenger),
        evaluation.stored(champion) if champion else None,
        _seen(request),
    )
    done = tuple(_checks(rows, len(truth) - len(rows), challenger, request))
    decision = _decide(done)
    return Verdict(
        decision=decision,
        reasons=tuple(_reasons(done, decision, request.champion)),
        env=request.env,
        challenger=request.challenger.label,
        champion=request.champion.label if request.champion else None,
        data_name=request.data_name,
        data_version=request.data_version,
        dataset_digest=challenger.dataset_digest,
        side=challenger.side,
        rows=len(rows),
        checks=done,
        metrics=_metrics(rows, "challenger", request.rules),
        champion_metrics=_metrics(rows, "champion", request.rules),
        broken=_flips(rows, "champion", "challenger"),
        repaired=_flips(rows, "challenger", "champion"),
    )


def _checks(rows: "pd.DataFrame", left_out: int, challenger: EvaluateRequest, request: JudgeRequest) -> Iterator[Check]:
    """Run the checks in order; with too few rows no later number would mean anything.

    The fresh process is started only for a challenger that nothing else speaks against.
    """
    size = checks.enough_rows(rows, left_out, request.rules)
    yield size
    if size.outcome != "pass":
        return
    measured = [*checks.floors(rows, request.rules)]
    if request.champion:
        measured.append(checks.beats_champion(rows, request.rules))
    yield from measured
    if all(check.outcome == "pass" for check in measured):
        proof = replay.check(challenger, request.evidence_root)
        yield Check(name="loads and reproduces its predictions", outcome="pass", detail=proof)


def _decide(done: tuple[Check, ...]) -> Decision:
    if any(check.outcome == "not_enough_data" for check in done):
        return "not_enough_data"
    return "promote" if done and all(check.outcome == "pass" for check in done) else "keep"


def _reasons(done: tuple[Check, ...], decision: Decision, champion: ModelRef | None) -> Iterator[str]:
    if decision == "promote":
        yield f"better than the champion {champion.label}" if champion else "first champion: every floor is reached"
    for check in done:
        if check.outcome == "not_enough_data":
            yield f"{check.value:g} comparable rows, {check.detail}; needed are {check.limit:g}"
        elif check.outcome == "fail" and check.name.startswith("gain"):
            yield (
                f"{check.name} is {check.value:+.3f} [{check.low:+.3f}, {check.high:+.3f}]: "
                f"its interval must lie above {check.limit:g} ({check.detail})"
            )
        elif check.outcome == "fail":
            yield f"{check.name}: {check.value:.3f} is below {check.limit:g}"


def _evaluation(request: JudgeRequest, model: ModelRef) -> EvaluateRequest:
    return evaluation.request_for(model, request.data_root, request.data_name, request.data_version)


def _seen(request: JudgeRequest) -> set[int]:
    models = [request.challenger] + ([request.champion] if request.champion else [])
    return {int(key) for model in models for key in evaluation.trained_keys(model)}


def _metrics(rows: "pd.DataFrame", model: str, rules: GateRules) -> dict[str, Interval]:
    if model not in rows or rows.empty:
        return {}
    return {
        metric: statistics.metric_interval(
            metric, rows["truth"], rows[model], confidence=rules.confidence, resamples=rules.resamples
        )
        for metric in statistics.METRICS
    }


def _flips(rows: "pd.DataFrame", right: str, wrong: str) -> tuple[Flip, ...]:
    """Rows that one model gets right and the other wrong."""
    if "champion" not in rows:
        return ()
    flipped = rows[(rows[right] == rows["truth"]) & (rows[wrong] != rows["truth"])].head(SHOWN_FLIPS)
    return tuple(
        Flip(
            row=int(str(r.row)),
            text=str(r.text)[:200],
            truth=str(r.truth),
            champion=str(r.champion),
            challenger=str(r.challenger),
            score=0.0,
        )
        for r in flipped.itertuples()
    )


def _refusal(request: JudgeRequest, reason: str) -> Verdict:
    return Verdict(
        decision="keep",
        reasons=(reason,),
        env=request.env,
        challenger=request.challenger.label,
        champion=request.champion.label if request.champion else None,
        data_name=request.data_name,
        data_version=request.data_version,
        dataset_digest="",
        side="",
        rows=0,
        checks=(),
        metrics={},
        champion_metrics={},
        broken=(),
        repaired=(),
    )


def _keep(verdict: Verdict, challenger: ModelRef) -> None:
    """Store the verdict under its digest, beside the challenger's run."""
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary, translated():
        path = Path(temporary) / f"{verdict.env}-{verdict.digest[:16]}.json"
        write_json(path, verdict.model_dump(mode="json"))
        mlflow = client(challenger.tracking_uri)
        mlflow.log_artifact(challenger.run_id, str(path), "verdicts")
        mlflow.set_tag(
            challenger.run_id, f"gate.{verdict.env}", f"{verdict.decision}: {'; '.join(verdict.reasons)}"[:4000]
        )
