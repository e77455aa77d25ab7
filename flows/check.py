"""A challenger against the champion of an environment, on that environment's data: the verdict, and nothing moves."""

from lifecycle.evaluation import EvaluateRequest
from lifecycle.gate.judge import JudgeRequest
from lifecycle.gate.verdict import Verdict
from lifecycle.models.loading import ModelRef
from lifecycle.settings import Settings
from tasks import compute, data, gate, reports, training


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
    for model in (challenger, champion):
        if model:
            evaluated(model, config, name, version)
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
