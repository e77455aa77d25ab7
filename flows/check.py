"""A challenger against the champion of an environment, on that environment's data: the verdict, and nothing moves."""

from prefect import flow

from flows.flow_requests import CheckRequest
from flows.parameters import PERSISTED, Outcome, flat, named
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.judge import JudgeRequest
from lifecycle.gate.verdict import Verdict
from lifecycle.registry.aliases import Alias
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from tasks import compute, data, gate, registry, reports, training


def run(request: CheckRequest) -> Outcome[Verdict]:
    """The verdict of the environment that judges."""
    request = request.completed()
    env, named_model = request.env, request.version is not None or request.run_id is not None
    config = compute.settings_of(env, request.model)
    target = target_of(config, request.model)
    usual = None if named_model else Alias.CHALLENGER if request.source_env in {None, env} else CHAMPION
    source = target_of(compute.settings_of(request.source_env or env, request.model), request.model)
    model = registry.resolve(source, version=request.version, run_id=request.run_id, alias=usual)
    challenger = registry.bring(model, target)
    against = request.against
    champion = registry.champion(target) if against is None else registry.resolve(target, version=against)
    verdict = judged(challenger, champion, target, config, request.data_name, request.data_version)
    if not verdict.promote:
        return Outcome(verdict, "; ".join(verdict.reasons), verdict.title)
    after = ", once a person has approved it" if config.approval.required else ""
    return Outcome(verdict, f"{challenger.label} would become champion of {env}{after}.")


@flow(name="check", flow_run_name=named("check {model_name} in {env}", CheckRequest), **PERSISTED)
@flat
def check(request: CheckRequest) -> Outcome[Verdict]:
    """Judge a model against the champion of an environment as a promotion would, and promote nothing."""
    return run(request)


def data_of(challenger: ModelRef, config: Settings, data_name: str | None, data_version: str | None) -> tuple[str, str]:
    """The dataset to judge on: as asked, else the environment's, else the one the challenger was trained with."""
    name, version = data_name or config.gate_data.data_name, data_version or config.gate_data.data_version
    if not (name and version):
        trained_on = training.trained_on(challenger.tracking_uri, challenger.run_id)
        name, version = name or trained_on[0], version or trained_on[1]
    return name, data.resolve(config.datasets, name, version)


def evaluated(model: ModelRef, config: Settings, data_name: str, data_version: str) -> EvaluateRequest:
    """Have a model predict the rows to judge on, unless it has."""
    request = gate.request_for(model, config.datasets, data_name, data_version)
    compute.run_step("evaluate", request, config)
    return request


def judged(
    challenger: ModelRef,
    champion: ModelRef | None,
    target: Target,
    config: Settings,
    data_name: str | None,
    data_version: str | None,
) -> Verdict:
    """Judge on the environment's data, and show the verdict among those of the model that it is about."""
    name, version = data_of(challenger, config, data_name, data_version)
    gate.require_before_judging(config, challenger, name, version)
    choice = gate.rule_for(challenger, champion, config.datasets, config.gate)
    rivals: tuple[ModelRef, ...] = ()
    if champion and choice.rule == "retraining":
        rivals = registry.earlier_champions(champion, config.gate.retraining.champions)
    for model in (challenger, champion, *rivals):
        if model:
            evaluated(model, config, name, version)
    for further in gate.further_requests(challenger, config.datasets, name, version):
        compute.run_step("evaluate", further, config)
    request = JudgeRequest(
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
    verdict = gate.judge(request)
    reports.show_verdict(verdict, target.name)
    return verdict
