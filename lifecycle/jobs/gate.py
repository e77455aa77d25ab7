"""What a deployment job of a registered model does: judge a version that was just made, as `mlops gate check` does.

Unity Catalog starts such a job with name and number of each new version. Nothing is promoted here. The verdict lies
with the run of the version, its outcome stands on the version, and a refusal fails the job.
"""

import logging
import os

from pydantic import Field

from lifecycle import settings
from lifecycle.core.errors import ConfigError, MlopsError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import judge as judging
from lifecycle.gate import limits, retrained
from lifecycle.gate.judge import JudgeRequest
from lifecycle.gate.verdict import Verdict
from lifecycle.registry import log, promotion, store
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from lifecycle.training import train as training

logger = logging.getLogger(__name__)

STATUS = "validation_status"
"""The tag in which Databricks' users look for whether a version may be deployed."""


class GateRequest(Frozen):
    """A version, by what Unity Catalog tells a deployment job of it."""

    env: Environment
    model_name: str
    model_version: int = Field(ge=1)


class RefusedError(MlopsError):
    """The gate does not let a version through."""

    exit_code = 4


def judge(request: GateRequest) -> None:
    """Judge a version by the gate of its environment; one that is an entry of the promotion log was judged before it.

    Raises:
        ConfigError: The model is not one of this environment.
        RefusedError: The gate refuses the version.
    """
    os.environ.setdefault("MLOPS_PLATFORM", "databricks")
    name = request.model_name.rpartition(".")[2]
    config = settings.load(request.env, model_name=name)
    target = target_of(config, name)
    if target.name != request.model_name:
        what = f"{request.model_name} is no model of {request.env}, whose models are called {target.name}."
        raise ConfigError(what, "Link the deployment job of its own environment to it.")
    if log.EXPECTED in store.version(target, request.model_version).tags:
        logger.info("%s v%d was judged before it was entered", target.name, request.model_version)
        return
    verdict = judged(promotion.reference(target, request.model_version), target, config)
    store.tag(target, request.model_version, STATUS, "passed" if verdict.promote else "failed")
    if not verdict.promote:
        raise RefusedError(f"{verdict.title}: {'; '.join(verdict.reasons)}.", "See the verdict at the version's run.")
    logger.info("%s v%d would become champion", target.name, request.model_version)


def judged(challenger: ModelRef, target: Target, config: Settings) -> Verdict:
    """The verdict on a challenger, with everything that it needs computed here."""
    champion = promotion.champion(target)
    name, version = _data(challenger, config)
    limits.require_before_judging(config, challenger, name, version)
    rule = retrained.rule_for(challenger, champion, config.datasets, config.gate).rule
    most = config.gate.retraining.champions
    rivals = promotion.earlier_champions(champion, most) if champion and rule == "retraining" else ()
    models = [model for model in (challenger, champion, *rivals) if model]
    for each in [
        *(evaluation.request_for(model, config.datasets, name, version) for model in models),
        *evaluation.further_requests(challenger, config.datasets, name, version),
    ]:
        evaluation.evaluate(each)
    return judging.judge(
        JudgeRequest(
            env=config.env,
            challenger=challenger,
            champion=champion,
            rivals=rivals,
            data_root=config.datasets,
            data_name=name,
            data_version=version,
            rules=config.gate,
            evidence_root=config.state / "evidence",
        )
    )


def _data(challenger: ModelRef, config: Settings) -> tuple[str, str]:
    """The dataset to judge on: the environment's, else the one that the challenger was trained with."""
    name, version = config.gate_data.data_name, config.gate_data.data_version
    if not (name and version):
        trained_on = training.trained_on(challenger.tracking_uri, challenger.run_id)
        name, version = name or trained_on[0], version or trained_on[1]
    return name, dataset.resolve(config.datasets, name, version)
