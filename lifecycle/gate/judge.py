"""`judge`: gather what is stored of two models, decide, keep the verdict. What cannot be established is a refusal."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lifecycle.core.errors import DataError, IntegrityError, MlopsError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment, ProblemName, Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset, division, lock
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.comparable import Comparable, comparable
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate import doubt, retrained, reuse
from lifecycle.gate.checks import Rival
from lifecycle.gate.contest import Contest
from lifecycle.gate.decide import Comparison, Evidence, decide, measured
from lifecycle.gate.present.report import render
from lifecycle.gate.proof import replay
from lifecycle.gate.selftest import selftest
from lifecycle.gate.verdict import Check, Measurements, Verdict
from lifecycle.models import loading
from lifecycle.problems.behaviour import suites
from lifecycle.problems.known import named
from lifecycle.settings.gate_rules import GateRules
from lifecycle.storage.files import cache_folder, write_json
from lifecycle.tracking.client import client, translated

logger = logging.getLogger(__name__)

FEWEST = 2
"""With fewer rows nothing can be measured."""


class JudgeRequest(Frozen):
    """Who challenges whom, on which data, by which rules. `champion=None` says that the model never had one."""

    env: Environment
    challenger: ModelRef
    champion: ModelRef | None
    rivals: tuple[ModelRef, ...] = ()
    """Earlier champions, which a retraining must not be worse than either."""
    data_root: Path
    data_name: str
    data_version: str
    rules: GateRules
    evidence_root: Path


def evaluations(request: JudgeRequest) -> tuple[EvaluateRequest, ...]:
    """What must be predicted before `judge` can compare: the rows to judge on by each model, and what it asks besides.

    Raises:
        NotFoundError: The dataset version has no rows to judge on.
    """
    judged_on = (request.data_root, request.data_name, request.data_version)
    models = [model for model in (request.challenger, request.champion, *request.rivals) if model]
    return (
        *(evaluation.request_for(model, *judged_on) for model in models),
        *evaluation.further_requests(request.challenger, *judged_on),
    )


@lock.while_reading("data_root")
def judge(request: JudgeRequest) -> Verdict:
    """Decide, and keep the verdict and its report as artifacts of the challenger's run.

    `promote` only if every check passed. An unreadable champion or any exception gives `keep` with its reason. Only
    what waiting may cure is raised. The model's run remembers that it was judged on these rows.
    """
    try:
        verdict, report = _judge(request)
    except TransientError:
        raise
    except Exception as error:  # closed by default: what could not be judged is refused, whatever went wrong
        logger.debug("The challenger could not be judged", exc_info=error)
        verdict = _refusal(request, f"could not be judged: {_told(error)}")
        report = render(verdict, None, None)
    _keep(verdict, report, request.challenger)
    logger.info("%s %s in %s", verdict.title, verdict.challenger, verdict.env)
    if verdict.mode == "dry_run":
        logger.warning("The gate of %s is in mode dry_run: NOTHING IS PROTECTED, refused models go in.", verdict.env)
    return verdict


def _told(error: Exception) -> str:
    """What went wrong; an error of ours says it in full, any other one is known by its name too."""
    return str(error) if isinstance(error, MlopsError) else f"{type(error).__name__}: {error}"


@lock.while_reading("data_root")
def compare(request: JudgeRequest) -> tuple[Measurements, str]:
    """Two models side by side by their stored predictions, and a page of it; nothing is decided, kept or counted.

    Raises:
        DataError: There are no rows that neither was trained on.
    """
    challenger = _evaluation(request, request.challenger)
    same = _comparable(request, _truth(challenger), request.champion)
    if len(same.rows) < FEWEST:
        where = f"{request.data_name} {request.data_version} {challenger.side}"
        what = f"{len(same.rows)} rows of {where} are new to both models: there is nothing to compare them on."
        raise DataError(what, "Name rows that neither was trained on: --data-name … --data-version …")
    evidence = _evidence(request, challenger, same, Contest(rule="gain"))
    comparison = Comparison(**_compared(request), dataset_digest=challenger.dataset_digest, side=challenger.side)
    with threadpool_limits(1, user_api="blas"):
        found = measured(comparison, evidence, request.rules)
    return found, render(found, same.challenger, same.champion)


def _truth(evaluated: EvaluateRequest) -> pd.DataFrame:
    return dataset.load_rows(evaluated.data_root, evaluated.data_name, evaluated.data_version, evaluated.side)


def _evidence(request: JudgeRequest, challenger: EvaluateRequest, same: Comparable, contest: Contest) -> Evidence:
    """What is known of both without rivals and doubts, which only a decision asks for."""
    manifest = dataset.load(request.data_root, request.data_name, request.data_version)
    infrastructure = request.rules.infrastructure
    return Evidence(
        problem=named(manifest.problem),
        inputs=manifest.inputs,
        **same._asdict(),
        predict=lambda rows: evaluation.predicted(loading.load(request.challenger), rows),
        prove=lambda: replay.check(challenger, request.evidence_root, scoring_server=infrastructure.scoring_server),
        contest=contest,
        trained_on={role: evaluation.claim(model).words for role, model in _models(request).items()},
    )


def _judge(request: JudgeRequest) -> tuple[Verdict, str]:
    manifest = dataset.load(request.data_root, request.data_name, request.data_version)
    _selftested(request, manifest.problem)
    challenger = _evaluation(request, request.challenger)
    truth = _truth(challenger)
    same = _comparable(request, truth, request.champion)
    contest = _contest(request, challenger)
    evidence = _evidence(request, challenger, same, contest)._replace(
        rivals=tuple(_rivals(request, truth)) if contest.rule == "retraining" else (),
        doubts=_doubts(request, same),
    )
    comparison = Comparison(**_compared(request), dataset_digest=challenger.dataset_digest, side=challenger.side)
    asked = suites.load(request.rules.behaviour, named(manifest.problem).table.texts)
    with threadpool_limits(1, user_api="blas"):  # on sums of this size several threads mostly wait for each other
        verdict = decide(comparison, evidence, request.rules, asked)
    if contest.rule != "retraining" and verdict.metrics:  # what was not measured has told nobody anything
        reuse.note(challenger, contest.rule)
    return verdict, render(verdict, same.challenger, same.champion)


def _contest(request: JudgeRequest, challenger: EvaluateRequest) -> Contest:
    """The rule of the comparison; of a retraining nobody could choose among many, so it spends nothing.

    But its rows may be those on which its definition was chosen, which is told.
    """
    choice = retrained.rule_for(request.challenger, request.champion, request.data_root, request.rules)
    asked = reuse.before(challenger, "first" if choice.rule == "first" else "gain")
    return Contest(rule=choice.rule, why=choice.why, judged_before=asked.challengers, spent=asked.share)


def _comparable(request: JudgeRequest, truth: pd.DataFrame, other: ModelRef | None) -> Comparable:
    """The challenger and another model on the rows that neither was trained on."""
    models = _models(request.model_copy(update={"champion": other}))
    answers = {role: evaluation.stored(_evaluation(request, model)) for role, model in models.items()}
    seen = {role: {int(key) for key in evaluation.trained_keys(model)} for role, model in models.items()}
    manifest = dataset.load(request.data_root, request.data_name, request.data_version)
    return comparable(named(manifest.problem), truth, answers, seen, division.groups_of(manifest, truth))


def _rivals(request: JudgeRequest, truth: pd.DataFrame) -> Iterator[Rival]:
    """The earlier champions that there are rows enough to compare with: others have seen these rows."""
    for model in request.rivals:
        same = _comparable(request, truth, model)
        if same.champion and len(same.rows) >= request.rules.min_rows:
            yield Rival(model.label, same.challenger, same.champion, same.groups)


def _doubts(request: JudgeRequest, same: Comparable) -> tuple[Check, ...]:
    """Whether the challenger's answers fit what is said of the rows that it has seen."""
    claim, test = evaluation.claim(request.challenger), None
    counts = dataset.load(request.data_root, request.data_name, request.data_version).counts
    if {Side.TEST, Side.HOLDOUT} <= counts.keys():
        data = request.data_root, request.data_name, request.data_version
        test = evaluation.hits(evaluation.request_for(request.challenger, *data, Side.TEST))
    enforce = request.rules.doubts == "refuse"
    return doubt.doubts(claim, same.challenger, same.champion, test, enforce=enforce)


def _models(request: JudgeRequest) -> dict[str, ModelRef]:
    return {"challenger": request.challenger} | ({"champion": request.champion} if request.champion else {})


def _compared(request: JudgeRequest) -> dict[str, Any]:
    return {
        "env": request.env,
        "challenger": request.challenger.label,
        "champion": request.champion.label if request.champion else None,
        "data_name": request.data_name,
        "data_version": request.data_version,
    }


def _evaluation(request: JudgeRequest, model: ModelRef) -> EvaluateRequest:
    return evaluation.request_for(model, request.data_root, request.data_name, request.data_version)


def _selftested(request: JudgeRequest, problem: ProblemName) -> None:
    """Before a judgement counts, the gate shows on planted challengers that it can refuse.

    That is about the gate and says nothing about the model, so no verdict shows it as a point in its favour.

    Raises:
        IntegrityError: It accepted a bad one, or refused a good one.
    """
    if request.rules.selftest:
        done = selftest.ensure(problem, request.rules, request.env, cache_folder() / "selftests")
        if not done.passed:
            raise IntegrityError(f"{'; '.join(done.reasons)}.", "See: mlops gate selftest")


def _refusal(request: JudgeRequest, reason: str) -> Verdict:
    return Verdict(
        **_compared(request),
        decision="keep",
        mode=request.rules.mode,
        reasons=(reason,),
        dataset_digest="",
        side="",
        rows=0,
    )


def _keep(verdict: Verdict, report: str, challenger: ModelRef) -> None:
    """Store the verdict and its report under its digest, beside the challenger's run."""
    with tempfile.TemporaryDirectory(prefix="mlops-run-") as temporary, translated():
        path = Path(temporary) / f"{verdict.env}-{verdict.digest[:16]}.json"
        write_json(path, verdict.model_dump(mode="json"))
        path.with_suffix(".html").write_text(report, encoding="utf-8")
        mlflow = client(challenger.tracking_uri)
        mlflow.log_artifacts(challenger.run_id, temporary, "verdicts")
        mlflow.set_tag(
            challenger.run_id, f"gate.{verdict.env}", f"{verdict.decision}: {'; '.join(verdict.reasons)}"[:4000]
        )
        mlflow.set_tag(challenger.run_id, f"verdict.{verdict.env}", verdict.digest)
