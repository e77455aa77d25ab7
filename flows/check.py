"""A challenger against the champion of an environment, on that environment's data: the verdict, and nothing moves."""

from prefect import flow

from flows.flow_requests import CheckRequest
from flows.parameters import PERSISTED, Outcome, flat, named
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.gate.verdict import Verdict
from lifecycle.registry.aliases import Alias
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings
from tasks import compute, gate, registry, reports


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


def judged(
    challenger: ModelRef,
    champion: ModelRef | None,
    target: Target,
    config: Settings,
    data_name: str | None,
    data_version: str | None,
) -> Verdict:
    """Judge on the environment's data, and show the verdict among those of the model that it is about."""
    request = gate.planned(challenger, champion, config, data_name, data_version)
    for each in gate.evaluations(request):
        compute.run_step("evaluate", each, config)
    verdict = gate.judge(request)
    reports.show_verdict(verdict, target.name)
    return verdict
