"""One environment's champion → the next environment, through that environment's gate."""

from prefect import State, flow
from prefect.states import Completed

from lifecycle import settings
from lifecycle.errors import ConfigError, NotFoundError
from lifecycle.gate.verdict import JudgeRequest, Verdict
from lifecycle.models.loading import ModelRef
from lifecycle.names import Environment
from lifecycle.outcomes import Admission
from lifecycle.parameters import Name
from lifecycle.registry.promotion import Target
from lifecycle.settings import Settings
from tasks import compute, gate, registry, reports, training


@flow(
    name="promote",
    flow_run_name="promote {model_name} from {source_env} to {target_env}",
    persist_result=True,
    result_serializer="json",
)
def promote(
    model_name: Name,
    source_env: Environment = Environment.DEV,
    target_env: Environment = Environment.STAGING,
    data_name: Name | None = None,
    data_version: Name | None = None,
    reason: str = "",
) -> Admission | State[Admission]:
    """Judge the champion of one environment on the data of the next, against its champion, and promote it.

    Args:
        model_name: Name of the model, without environment.
        source_env: Where the challenger is champion.
        target_env: Where it is to become champion.
        data_name: Dataset to judge on; default the target's settings, else the one it was trained with.
        data_version: Likewise.
        reason: Recorded in the log.
    """
    if source_env == target_env:
        raise ConfigError(f"--from and --to are both {source_env}.", "Name two environments.")
    source, target = settings.load(source_env), settings.load(target_env)
    challenger = registry.champion(registered(source, model_name))
    if challenger is None:
        what = f"{source.registered_name(model_name)} has no champion to promote."
        raise NotFoundError(what, f"Train in {source_env} first: mlops train --env {source_env}")
    return admit(challenger, target, model_name, data_name, data_version, reason or f"champion of {source_env}")


def admit(
    challenger: ModelRef,
    config: Settings,
    model_name: str,
    data_name: str | None,
    data_version: str | None,
    reason: str,
) -> Admission | State[Admission]:
    """Gate → register → promote: the way of every model into an environment."""
    target = registered(config, model_name)
    champion = registry.champion(target)
    outcome = Admission(env=config.env, model=target.name, challenger=challenger.label, message="")
    if champion and champion.artifact_sha256 == challenger.artifact_sha256:
        message = f"{target.name} v{champion.version} is champion already: nothing to do."
        return outcome.model_copy(update={"message": message})
    verdict = _judge(challenger, champion, config, data_name, data_version)
    outcome = outcome.model_copy(update={"verdict": verdict})
    if not verdict.promote:
        message = f"Rejected: {'; '.join(verdict.reasons)}"
        return Completed(name="Rejected", message=message, data=outcome.model_copy(update={"message": message}))
    intent = registry.intend(
        target,
        challenger,
        champion,
        reason=f"{reason}; {'; '.join(verdict.reasons)}",
        dataset_digest=verdict.dataset_digest,
        verdict_digest=verdict.digest,
    )
    registry.register(intent)
    promotion = registry.promote(intent)
    reports.show_promotion(promotion)
    return outcome.model_copy(update={"promotion": promotion, "message": promotion.message})


def registered(config: Settings, model_name: str) -> Target:
    """The registered model of a name in an environment."""
    return Target(tracking_uri=config.mlflow_uri, name=config.registered_name(model_name))


def _judge(
    challenger: ModelRef, champion: ModelRef | None, config: Settings, data_name: str | None, data_version: str | None
) -> Verdict:
    trained_on = training.trained_on(challenger.tracking_uri, challenger.run_id)
    name = data_name or config.gate_data.data_name or trained_on[0]
    version = data_version or config.gate_data.data_version or trained_on[1]
    for model in (challenger, champion):
        if model:
            compute.run_step("evaluate", gate.request_for(model, config.datasets, name, version))
    request = JudgeRequest(
        env=config.env,
        challenger=challenger,
        champion=champion,
        data_root=config.datasets,
        data_name=name,
        data_version=version,
        rules=config.gate,
        evidence_root=config.state / "evidence",
    )
    verdict = gate.judge(request)
    reports.show_verdict(verdict)
    return verdict
