"""Whom and what a challenger is compared with in an environment: the champion, earlier ones, the rows, the rules."""

from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.evaluate import EvaluateRequest
from lifecycle.gate import limits, retrained
from lifecycle.gate.judge import JudgeRequest
from lifecycle.registry import promotion
from lifecycle.settings import Settings
from lifecycle.training import train as training


def planned(
    challenger: ModelRef,
    champion: ModelRef | None,
    config: Settings,
    data_name: str | None = None,
    data_version: str | None = None,
) -> JudgeRequest:
    """What the gate is to judge; `lifecycle.gate.judge.evaluations` says what must be predicted before.

    Raises:
        ConfigError, DataError: A rule of the environment cannot be asked of this challenger on this dataset.
    """
    name, version = _dataset_for(challenger, config, data_name, data_version)
    limits.require_before_judging(config, challenger, name, version)
    rivals: tuple[ModelRef, ...] = ()
    rule = retrained.rule_for(challenger, champion, config.datasets, config.gate).rule
    if champion and rule == "retraining":
        rivals = promotion.earlier_champions(champion, config.gate.retraining.champions)
    return JudgeRequest(
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


def rows_for(
    challenger: ModelRef, config: Settings, data_name: str | None = None, data_version: str | None = None
) -> EvaluateRequest:
    """The rows on which a challenger would be judged, for one that is promoted past the gate."""
    return evaluation.request_for(
        challenger, config.datasets, *_dataset_for(challenger, config, data_name, data_version)
    )


def _dataset_for(
    challenger: ModelRef, config: Settings, data_name: str | None, data_version: str | None
) -> tuple[str, str]:
    """The dataset to judge on: as asked, else the environment's, else the one that the challenger was trained with."""
    name, version = data_name or config.gate_data.data_name, data_version or config.gate_data.data_version
    if not (name and version):
        trained_on = training.trained_on(challenger.tracking_uri, challenger.run_id)
        name, version = name or trained_on[0], version or trained_on[1]
    return name, dataset.resolve(config.datasets, name, version)
