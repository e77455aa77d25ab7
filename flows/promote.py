"""A model of one environment → champion of the next environment, through that environment's gate."""

from prefect import State, flow
from prefect.states import Completed

from flows import check
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.names import Environment
from lifecycle.core.parameters import Name, VersionNumber
from lifecycle.core.references import ModelRef
from lifecycle.gate.verdict import Verdict
from lifecycle.registry.promotion import Intent, Promotion
from lifecycle.registry.store import target_of
from lifecycle.settings.load import Settings
from tasks import approvals, compute, events, limits, registry, reports, serving
from tasks.outcomes import Admission, Approval


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
    version: VersionNumber | None = None,
    data_name: Name | None = None,
    data_version: Name | None = None,
    reason: str = "",
    skip_gate: bool = False,
) -> State[Admission]:
    """Judge a model of one environment on the data of the next, against its champion, and promote it.

    Args:
        model_name: Name of the model, without environment.
        source_env: Where the challenger is registered.
        target_env: Where it is to become champion; the same environment, if a version is named.
        version: Its version there; default the champion.
        data_name: Dataset to judge on; default the target's settings, else the one it was trained with.
        data_version: Likewise.
        reason: Recorded in the log.
        skip_gate: Promote by hand, without comparison; only where the target's settings allow it, and with a reason.
    """
    if source_env == target_env and version is None:
        raise ConfigError(f"--from and --to are both {source_env}.", "Name two environments, or a --version.")
    source, target = compute.settings_of(source_env), compute.settings_of(target_env)
    approvals.require_reach(target)
    challenger = _challenger(source, model_name, version)
    why = reason or (f"champion of {source_env}" if version is None else f"v{version} of {source_env}")
    if not skip_gate:
        return admit(challenger, target, model_name, data_name, data_version, why)
    with limits.one_promotion(target_of(target, model_name)):
        return _by_hand(challenger, target, model_name, data_name, data_version, reason)


def admit(
    challenger: ModelRef,
    config: Settings,
    model_name: str,
    data_name: str | None,
    data_version: str | None,
    reason: str,
) -> State[Admission]:
    """Gate → approval, where the settings ask for it → register → promote: the way of every model into an environment.

    The slot of the model is free while a person thinks, so that a rollback can come first. After the answer everything
    is looked at again: if the champion has changed, there is another verdict, for which the answer does not count.
    """
    approval: Approval | None = None
    while True:
        with limits.one_promotion(target_of(config, model_name)):
            challenger, champion, outcome = _judged(challenger, config, model_name, data_name, data_version)
            verdict = outcome.verdict
            if verdict is None or not verdict.promote:
                return _unmoved(outcome, challenger)
            if not config.approval.required or (approval and approval.verdict_digest == verdict.digest):
                outcome = outcome.model_copy(update={"approval": approval})
                return _promoted(outcome, verdict, challenger, champion, config, model_name, reason)
        approval = approvals.ask(verdict, config, outcome.model)
        if not approval.approved:
            return _not_approved(outcome.model_copy(update={"approval": approval}), approval)


def _judged(
    challenger: ModelRef, config: Settings, model_name: str, data_name: str | None, data_version: str | None
) -> tuple[ModelRef, ModelRef | None, Admission]:
    """The challenger where the target reaches it, the champion, and the verdict; none if they are the same model."""
    target = target_of(config, model_name)
    champion = registry.champion(target)
    outcome = Admission(env=config.env, model=target.name, challenger=challenger.label, message="")
    if champion and champion.artifact_sha256 == challenger.artifact_sha256:
        serving.champion(config, model_name)
        reports.show_card(config, model_name, champion.version or 0, None)
        message = f"{champion.label} is champion already: nothing to do."
        return challenger, champion, outcome.model_copy(update={"message": message})
    challenger = registry.bring(challenger, target)
    verdict = check.judged(challenger, champion, config, data_name, data_version)
    return challenger, champion, outcome.model_copy(update={"verdict": verdict})


def _unmoved(outcome: Admission, challenger: ModelRef) -> State[Admission]:
    """Nothing to do, or the gate refused."""
    if outcome.verdict is None:
        return _ended(outcome, outcome.message)
    title, message = outcome.verdict.title, "; ".join(outcome.verdict.reasons)
    events.emit("refused", outcome.model, outcome.env, version=challenger.version, reason=message)
    return _ended(outcome, message, name=title)


def _not_approved(outcome: Admission, approval: Approval) -> State[Admission]:
    message = f"{approvals.NAME}{f' by {approval.by}' if approval.by else ''}: {approval.reason}"
    events.emit("not-approved", outcome.model, outcome.env, reason=message)
    return _ended(outcome, message, name=approvals.NAME)


def _promoted(
    outcome: Admission,
    verdict: Verdict,
    challenger: ModelRef,
    champion: ModelRef | None,
    config: Settings,
    model_name: str,
    reason: str,
) -> State[Admission]:
    """Enter the decision in the log, with who approved it, and make the challenger champion."""
    intent = registry.intend(
        target_of(config, model_name),
        challenger,
        champion,
        reason=f"{reason}; {'; '.join(verdict.reasons)}",
        dataset_digest=verdict.dataset_digest,
        verdict_digest=verdict.digest,
        approved_by=outcome.approval.by if outcome.approval else "",
        approval=outcome.approval.reason if outcome.approval else "",
    )
    promotion = _carry_out(intent, config)
    serving.champion(config, model_name)
    reports.show_card(config, model_name, promotion.champion, verdict)
    return _ended(outcome.model_copy(update={"promotion": promotion}), promotion.message)


def _by_hand(
    challenger: ModelRef,
    config: Settings,
    model_name: str,
    data_name: str | None,
    data_version: str | None,
    reason: str,
) -> State[Admission]:
    """Promote without comparing; that the model loads and predicts what it predicted is proven all the same."""
    if not config.skip_gate:
        what = f"The settings of {config.env} do not let a promotion pass the gate by."
        raise ConfigError(what, f"Promote through the gate, or set `skip_gate: true` in config/{config.env}.yaml.")
    if config.approval.required:
        what = f"The settings of {config.env} ask for a person's approval of the verdict: past the gate there is none."
        raise ConfigError(what, "Promote through the gate.")
    if not reason.strip():
        raise ConfigError("A promotion past the gate needs a reason.", "Give one: --reason '…'")
    target = target_of(config, model_name)
    champion = registry.champion(target)
    outcome = Admission(env=config.env, model=target.name, challenger=challenger.label, message="")
    if champion and champion.artifact_sha256 == challenger.artifact_sha256:
        serving.champion(config, model_name)
        reports.show_card(config, model_name, champion.version or 0, None)
        return _ended(outcome, f"{champion.label} is champion already: nothing to do.")
    challenger = registry.bring(challenger, target)
    request = check.evaluated(challenger, config, *check.data_of(challenger, config, data_name, data_version))
    registry.prove(request, config.state / "evidence")
    intent = registry.intend(target, challenger, champion, reason=reason, gate="skipped")
    promotion = _carry_out(intent, config)
    serving.champion(config, model_name)
    reports.show_card(config, model_name, promotion.champion, None)
    return _ended(outcome.model_copy(update={"promotion": promotion}), promotion.message)


def _ended(outcome: Admission, message: str, name: str | None = None) -> State[Admission]:
    """The outcome as a state of the flow run, so that Prefect's UI says it too."""
    return Completed(name=name, message=message, data=outcome.model_copy(update={"message": message}))


def _carry_out(intent: Intent, config: Settings) -> Promotion:
    number = registry.register(intent)
    events.emit("registered", intent.target.name, config.env, version=number, reason=intent.reason)
    promotion = registry.promote(intent)
    if promotion.changed:
        events.emit("promoted", intent.target.name, config.env, version=promotion.champion, reason=intent.reason)
    reports.show_promotion(promotion)
    return promotion


def _challenger(source: Settings, model_name: str, version: int | None) -> ModelRef:
    target = target_of(source, model_name)
    if version is not None:
        return registry.resolve(target, version=version)
    if champion := registry.champion(target):
        return champion
    what = f"{target.name} has no champion to promote: it is absent in {source.env}."
    raise NotFoundError(what, f"Train in {source.env} first (mlops train --env {source.env}), or name a --version.")
