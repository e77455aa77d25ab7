"""Dataset version → challenger → gate → champion of its environment."""

from contextlib import ExitStack
from functools import partial

from prefect import flow

from flows.flow_requests import TrainingRequest
from flows.parameters import PERSISTED, Outcome, flat, named
from flows.promote import Challenge, admit
from lifecycle.core.references import ModelRef
from lifecycle.gate.proof import replay
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.training.train import Training, TrainRequest
from tasks import approvals, compute, data, events, gate, registry, reports, training
from tasks.outcomes import Admission
from tasks.policies import stage


def run(request: TrainingRequest) -> Outcome[Admission]:
    """Train, and admit what was trained as a promotion would; a challenger that is trained already is judged again."""
    request = request.completed()
    config = compute.settings_of(request.env, request.model)
    approvals.require_reach(config)
    with ExitStack() as replaying:
        challenger, planned = stage("training", partial(_trained, request, config, replaying))
        data_name = config.gate_data.data_name or planned.data_name
        data_version = config.gate_data.data_version or planned.data_version
        reason = f"trained as {planned.algorithm}"
        judged_on = data_name, data_version
        return admit(config, partial(Challenge, challenger, config, request.model, *judged_on, reason))


def _trained(request: TrainingRequest, config: Settings, replaying: ExitStack) -> tuple[ModelRef, TrainRequest]:
    """Fit the challenger, show where its run is, and register it where a candidate is wanted; with what was planned.

    What replays it begins here, beside the fit, and ends once it has been judged.
    """
    data_name, wanted = request.dataset
    data_version = data.resolve(config.datasets, data_name, wanted)
    gate.require_before_training(config, data_name, data_version)
    registry.champion(target_of(config, request.model))  # one that nobody can name ends it before anything is trained
    what = Training(
        data_name=data_name,
        data_version=data_version,
        model_name=request.model,
        algorithm=request.algorithm,
        params=request.params or {},
        seed=request.seed or 0,
    )
    planned = training.plan(config, what, reports.links())
    replaying.enter_context(replay.ahead(planned))
    compute.run_step("train", planned, config)
    challenger = training.trained(target_of(config, request.model), run_id=planned.run_id)
    reports.show_run(config, request.model, challenger)
    if request.as_candidate:
        challenger = registry.enter_challenger(target_of(config, request.model), challenger)
        events.emit("registered", str(challenger.name), config.env, version=challenger.version)
    return challenger, planned


@flow(
    name="train",
    flow_run_name=named("train {model_name} as {algorithm} in {env}", TrainingRequest),
    **PERSISTED,
)
@flat
def train(request: TrainingRequest) -> Outcome[Admission]:
    """Train a challenger and, if it beats the champion of its environment, register and promote it."""
    return run(request)
