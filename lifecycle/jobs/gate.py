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
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import judge as gate
from lifecycle.registry import comparison, log, promotion, store
from lifecycle.registry.store import target_of

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
    challenger = promotion.reference(target, request.model_version)
    judging = comparison.planned(challenger, promotion.champion(target), config)
    for each in gate.evaluations(judging):
        evaluation.evaluate(each)
    verdict = gate.judge(judging)
    store.tag(target, request.model_version, STATUS, "passed" if verdict.promote else "failed")
    if not verdict.promote:
        raise RefusedError(f"{verdict.title}: {'; '.join(verdict.reasons)}.", "See the verdict at the version's run.")
    logger.info("%s v%d would become champion", target.name, request.model_version)
