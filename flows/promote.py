"""A model of one environment → champion of the next environment, through that environment's gate."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from prefect import flow

from flows import check
from flows.flow_requests import PromotionRequest
from flows.parameters import PERSISTED, Outcome, flat, named
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.references import ModelRef
from lifecycle.gate.verdict import Verdict
from lifecycle.registry.promotion import Intent, Promotion
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from tasks import approvals, compute, events, gate, limits, probation, registry, reports, serving
from tasks.outcomes import Admission, Approval
from tasks.policies import stage


class Challenge(NamedTuple):
    """A challenger, the environment and model that it wants to become champion of, and the data to judge it on."""

    challenger: ModelRef
    config: Settings
    model_name: str
    data_name: str | None
    data_version: str | None
    reason: str

    @property
    def target(self) -> Target:
        """Where it is to be champion."""
        return target_of(self.config, self.model_name)


def run(request: PromotionRequest) -> Outcome[Admission]:
    """Take the challenger through the gate, or past it where that is allowed."""
    request = request.completed()
    source_env, target_env, version = request.source_env, request.target_env, request.version
    if source_env == target_env and version is None:
        raise ConfigError(f"--from and --to are both {source_env}.", "Name two environments, or a --version.")
    source, target = (compute.settings_of(env, request.model) for env in (source_env, target_env))
    approvals.require_reach(target)
    begin = partial(_challenge, request, source, target)
    if not request.skip_gate:
        return admit(target, begin)
    challenge = begin()
    with limits.one_promotion(challenge.target):
        return _by_hand(challenge._replace(reason=request.reason))


@flow(
    name="promote",
    flow_run_name=named("promote {model_name} from {source_env} to {target_env}", PromotionRequest),
    **PERSISTED,
)
@flat
def promote(request: PromotionRequest) -> Outcome[Admission]:
    """Judge a model of one environment on the data of the next, against its champion, and promote it."""
    return run(request)


def admit(config: Settings, begin: Callable[[], Challenge]) -> Outcome[Admission]:
    """The way of every model into an environment: one stage, except where it waits for a person, suspended."""
    if config.approval.required:
        return _admitted(begin)
    return stage(str(config.env), lambda: _admitted(begin))


def _challenge(request: PromotionRequest, source: Settings, target: Settings) -> Challenge:
    """What a request wants to become champion, and why."""
    source_env, version = request.source_env, request.version
    why = request.reason or (f"champion of {source_env}" if version is None else f"v{version} of {source_env}")
    challenger = _challenger(source, request.model, version)
    return Challenge(challenger, target, request.model, request.data_name, request.data_version, why)


def _admitted(begin: Callable[[], Challenge]) -> Outcome[Admission]:
    """Gate → approval, where the settings ask for it → register → promote.

    The slot of the model is free while a person thinks, so that a rollback can come first. After the answer everything
    is looked at again: if either champion has changed, this one or that of the environment before, there is another
    verdict, for which the answer does not count.
    """
    approval: Approval | None = None
    while True:
        challenge = begin()
        config = challenge.config
        with limits.one_promotion(challenge.target):
            challenge, champion, outcome = _judged(challenge)
            verdict = outcome.verdict
            if verdict is None or not verdict.promote:
                return _unmoved(outcome, challenge.challenger)
            if not config.approval.required or (approval and approval.verdict_digest == verdict.digest):
                return _promoted(outcome.model_copy(update={"approval": approval}), verdict, challenge, champion)
        approval = approvals.ask(verdict, config, outcome.model)
        if not approval.approved:
            return _not_approved(outcome.model_copy(update={"approval": approval}), approval)


def _judged(challenge: Challenge) -> tuple[Challenge, ModelRef | None, Admission]:
    """The challenge where the target reaches it, the champion, and the verdict; none if they are the same model."""
    champion, outcome = _against(challenge)
    if outcome.message:
        return challenge, champion, outcome
    challenge = challenge._replace(challenger=registry.bring(challenge.challenger, challenge.target))
    data = challenge.data_name, challenge.data_version
    verdict = check.judged(challenge.challenger, champion, challenge.target, challenge.config, *data)
    return challenge, champion, outcome.model_copy(update={"verdict": verdict})


def _against(challenge: Challenge) -> tuple[ModelRef | None, Admission]:
    """The champion, and an outcome that has a message if it is the challenger itself, with all its files."""
    challenger, config = challenge.challenger, challenge.config
    champion = registry.champion(challenge.target)
    outcome = Admission(env=config.env, model=challenge.target.name, challenger=challenger.label, message="")
    if not champion or champion.artifact_sha256 != challenger.artifact_sha256:
        return champion, outcome
    registry.verify(champion)
    serving.champion(config, challenge.model_name)
    reports.show_card(config, challenge.model_name, champion.version or 0, None)
    return champion, outcome.model_copy(update={"message": f"{champion.label} is champion already: nothing to do."})


def _unmoved(outcome: Admission, challenger: ModelRef) -> Outcome[Admission]:
    """Nothing to do, or the gate refused."""
    if outcome.verdict is None:
        return _ended(outcome, outcome.message)
    title, message = outcome.verdict.title, "; ".join(outcome.verdict.reasons)
    events.emit("refused", outcome.model, outcome.env, version=challenger.version, reason=message)
    return _ended(outcome, message, name=title)


def _not_approved(outcome: Admission, approval: Approval) -> Outcome[Admission]:
    message = f"{approvals.NAME}{f' by {approval.by}' if approval.by else ''}: {approval.reason}"
    events.emit("not-approved", outcome.model, outcome.env, reason=message)
    return _ended(outcome, message, name=approvals.NAME)


def _promoted(
    outcome: Admission, verdict: Verdict, challenge: Challenge, champion: ModelRef | None
) -> Outcome[Admission]:
    """Enter the decision in the log, with who approved it, and make the challenger champion."""
    intent = registry.intend(
        challenge.target,
        challenge.challenger,
        champion,
        reason=f"{challenge.reason}; {'; '.join(verdict.reasons)}",
        dataset_digest=verdict.dataset_digest,
        verdict_digest=verdict.digest,
        approved_by=outcome.approval.by if outcome.approval else "",
        approval=outcome.approval.reason if outcome.approval else "",
    )
    return _carried_out(intent, outcome, challenge, verdict)


def _by_hand(challenge: Challenge) -> Outcome[Admission]:
    """Promote without comparing; that the model loads and predicts what it predicted is proven all the same."""
    config, reason = challenge.config, challenge.reason
    if not config.skip_gate:
        what = f"The settings of {config.env} do not let a promotion pass the gate by."
        raise ConfigError(what, f"Promote through the gate, or set `skip_gate: true` in config/{config.env}.yaml.")
    if config.approval.required:
        what = f"The settings of {config.env} ask for a person's approval of the verdict: past the gate there is none."
        raise ConfigError(what, "Promote through the gate.")
    if not reason.strip():
        raise ConfigError("A promotion past the gate needs a reason.", "Give one: --reason '…'")
    champion, outcome = _against(challenge)
    if outcome.message:
        return _ended(outcome, outcome.message)
    challenger = registry.bring(challenge.challenger, challenge.target)
    request = gate.rows_for(challenger, config, challenge.data_name, challenge.data_version)
    compute.run_step("evaluate", request, config)
    registry.prove(request, config.state / "evidence")
    intent = registry.intend(challenge.target, challenger, champion, reason=reason, gate="skipped")
    return _carried_out(intent, outcome, challenge, None)


def _carried_out(
    intent: Intent, outcome: Admission, challenge: Challenge, verdict: Verdict | None
) -> Outcome[Admission]:
    """Register and promote; the champion is served and has its card then."""
    config, model_name = challenge.config, challenge.model_name
    promotion = _carry_out(intent, config)
    serving.champion(config, model_name)
    probation.begins(config, model_name)
    reports.show_card(config, model_name, promotion.champion, verdict)
    return _ended(outcome.model_copy(update={"promotion": promotion}), promotion.message)


def _ended(outcome: Admission, message: str, name: str | None = None) -> Outcome[Admission]:
    """The outcome with its message, so that Prefect's UI says it too."""
    return Outcome(outcome.model_copy(update={"message": message}), message, name)


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
