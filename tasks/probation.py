"""`lifecycle.monitoring`'s probation under orchestration: what is recorded, compared, decided and restored."""

import logging
from pathlib import Path

from lifecycle.core.errors import ConfigError, DataError, NotFoundError
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import restoration, shadow
from lifecycle.monitoring.restoration import Decision, Restored
from lifecycle.monitoring.subject import Subject
from lifecycle.registry import promotion as promotions
from lifecycle.registry.promotion import Promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.storage import volumes
from tasks import compute, events, limits, registry, reports, serving
from tasks.policies import on_registry

logger = logging.getLogger("lifecycle.monitoring")

stands = on_registry(shadow.stands).with_options(name="look at the probation")
record = on_registry(shadow.record).with_options(name="record the batch")
compare = on_registry(shadow.compare).with_options(name="measure the shadow")
decide = on_registry(restoration.decide).with_options(name="decide on the probation")
forget = on_registry(shadow.forget).with_options(name="clear the shadow")
roll_back = on_registry(restoration.roll_back).with_options(name="roll back by itself")


def subject_of(config: Settings, model_name: str) -> Subject:
    """A registered model as probation knows it."""
    return Subject.of(config, target_of(config, model_name))


def require_champion(subject: Subject) -> None:
    """Refuse to look at a model that is nobody's production.

    Raises:
        NotFoundError: It has no champion.
    """
    if not stands(subject).champion:
        raise NotFoundError(f"{subject.name} has no champion to look at.", "See: mlops model list")


def before(batch: BatchRequest, config: Settings, model_name: str) -> None:
    """Record a batch of a registered version before it is scored; a batch does not fail of it."""
    if batch.model.version is None or not config.monitoring.enabled:
        return
    try:
        record(subject_of(config, model_name), batch)
    except Exception as error:  # also of a library
        logger.warning("The batch is not recorded for a probation: %s", error)


def begins(config: Settings, model_name: str) -> None:
    """Say of a new champion whether it is on probation; what made it champion does not fail of it."""
    try:
        found = stands(subject_of(config, model_name))
    except Exception as error:  # also of a library
        logger.warning("Nothing is known of a probation: %s", error)
        return
    logger.info("%s: %s", found.model, found.told)


def in_the_shadow(batch: BatchRequest, config: Settings, model_name: str) -> None:
    """Let the former champion score the same batch, if the champion is on probation, and measure its answers too."""
    subject = subject_of(config, model_name)
    found = stands(subject)
    asked = shadow.asked(subject, found, batch)
    if asked:
        compute.run_step("infer", asked, config)
        compare(subject, asked)
        found = stands(subject)
    if asked or found.state in {"broken", "passed"}:
        logger.info("%s %s", subject.name, found.told)


def of_requests(config: Settings, model_name: str) -> None:
    """Let the former champion answer the windows of requests that were measured since, and measure its answers too.

    What it cannot answer, since inputs are not kept or are none of its, is told once and asked no more.
    """
    subject = subject_of(config, model_name)
    for asked in shadow.windows(subject, stands(subject), config.data, config.inference):
        try:
            compute.run_step("infer", asked, config)
            compare(subject, asked)
        except (ConfigError, DataError, NotFoundError) as error:
            logger.warning("%s was not answered by v%s in the shadow: %s", asked.window, asked.model.version, error)
        volumes.remove(Path(asked.input.uri))


def restore(decision: Decision, config: Settings, model_name: str) -> Restored:
    """Roll back, replace what was published since, and tell everybody; whatever a person did since wins."""
    subject = subject_of(config, model_name)
    with limits.one_promotion(subject.target):
        registry.reproduces(decision.model, config.datasets, config.state / "evidence", anew=False)
        done = roll_back(subject, decision)
    if done is None:
        restored = Restored(outcome="overtaken", decision=decision)
        logger.warning("%s: not rolled back, a person changed the champion meanwhile", decision.reason)
    else:
        restored = restoration.replace(subject, decision, lambda batch: compute.run_step("infer", batch, config))
        _tell(restored, done, config, model_name)
    restoration.finish(subject, restored)
    return restored


def _tell(restored: Restored, done: Promotion, config: Settings, model_name: str) -> None:
    """At least once, whatever is killed: as event, which notifies, in the log, as artifacts, and by the endpoint."""
    reason, former = restored.decision.reason, restored.decision.probation.former
    logger.warning("%d batches of %s are superseded by those of v%d", restored.replaced, done.name, former)
    events.emit("rolled-back", done.name, config.env, version=done.champion, reason=reason)
    reports.show_promotion(done)
    reports.show_restored(restored)
    serving.champion(config, model_name)
    promotions.report(target_of(config, model_name))
