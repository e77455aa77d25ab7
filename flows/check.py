"""A challenger against the champion of an environment, on that environment's data: the verdict, and nothing moves."""

from prefect import State, flow
from prefect.states import Completed

from lifecycle.core.names import CHAMPION, Environment
from lifecycle.core.parameters import Name, VersionNumber
from lifecycle.core.references import ModelRef
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate.judge import JudgeRequest
from lifecycle.gate.verdict import Verdict
from lifecycle.registry.aliases import Alias
from lifecycle.registry.store import target_of
from lifecycle.settings.load import Settings
from tasks import compute, data, gate, registry, reports, training


@flow(name="check", flow_run_name="check {model_name} in {env}", persist_result=True, result_serializer="json")
def check(
    model_name: Name,
    env: Environment = Environment.PROD,
    source_env: Environment | None = None,
    version: VersionNumber | None = None,
    run_id: str | None = None,
    against: VersionNumber | None = None,
    data_name: Name | None = None,
    data_version: Name | None = None,
) -> State[Verdict]:
    """Judge a model against the champion of an environment as a promotion would, and promote nothing.

    Args:
        model_name: Name of the model, without environment.
        env: Environment that judges: its champion, its data, its rules.
        source_env: Environment where the model to judge is registered; default the one that judges.
        version: Its version there; default the champion of another environment, the alias challenger of the same one.
        run_id: Training run, instead of a version; what the gate refused has only that.
        against: Version of the judging environment to compare with, instead of its champion.
        data_name: Dataset to judge on; default the environment's settings, else the one the model was trained with.
        data_version: Likewise.
    """
    config = compute.settings_of(env)
    target = target_of(config, model_name)
    named = version is not None or run_id is not None
    usual = None if named else Alias.CHALLENGER if source_env in {None, env} else CHAMPION
    source = target_of(compute.settings_of(source_env or env), model_name)
    challenger = registry.bring(registry.resolve(source, version=version, run_id=run_id, alias=usual), target)
    champion = registry.champion(target) if against is None else registry.resolve(target, version=against)
    verdict = judged(challenger, champion, config, data_name, data_version)
    if verdict.promote:
        after = ", once a person has approved it" if config.approval.required else ""
        return Completed(message=f"{challenger.label} would become champion of {env}{after}.", data=verdict)
    return Completed(name=verdict.title, message="; ".join(verdict.reasons), data=verdict)


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
    challenger: ModelRef, champion: ModelRef | None, config: Settings, data_name: str | None, data_version: str | None
) -> Verdict:
    """Judge on the environment's data and show the verdict."""
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
    reports.show_verdict(verdict)
    return verdict
