"""The whole way: raw table → dataset → dev → staging → prod → first batch in production."""

from functools import partial

from prefect import flow

from flows import batch_inference, create_data, promote, train
from flows.flow_requests import PromotionRequest, ReleaseRequest, TrainingRequest
from flows.parameters import PERSISTED, Outcome, flat, for_its_day, named
from flows.request import required
from lifecycle.core.names import Environment
from lifecycle.data import delta
from tasks import approvals, compute
from tasks.outcomes import Admission, Release
from tasks.policies import stage


def run(request: ReleaseRequest) -> Outcome[Release]:
    """Call the flows one after the other, as plain functions: one run shows it all, and a rerun reuses what is done."""
    request = for_its_day(request.completed())
    for env in request.environments:
        approvals.require_reach(compute.settings_of(env, request.model))
    if request.is_in_catalog:
        delta.require_version(required(request.source, "--source"))  # before anything is promoted, not for the batch
    dataset = stage("data", partial(create_data.run, request.for_data())).value
    so_far = Release(dataset=dataset, admissions=())
    training = request.for_training(dataset.data_name, dataset.data_version)
    reason = f"release of {dataset.data_name} {dataset.data_version}"
    for before, env in zip((None, *request.environments), request.environments, strict=False):
        ended = _admitted(training, before, env, reason)
        so_far = so_far.model_copy(update={"admissions": (*so_far.admissions, ended.value)})
        if ended.value.refused:
            return Outcome(so_far, f"{env}: {ended.message}", ended.name)
    if request.target_env is Environment.PROD:
        batch = stage("predictions", partial(batch_inference.run, request.for_inference(dataset.data_version))).value
        so_far = so_far.model_copy(update={"batch": batch})
    return Outcome(so_far, "; ".join(admission.message.removesuffix(".") for admission in so_far.admissions))


def _admitted(
    training: TrainingRequest, before: Environment | None, env: Environment, reason: str
) -> Outcome[Admission]:
    """The way into an environment: by training in the first one, by promotion from the one before in the others."""
    if before is None:
        return train.run(training)
    model_name = training.model
    return promote.run(PromotionRequest(model_name=model_name, source_env=before, target_env=env, reason=reason))


@flow(
    name="release",
    flow_run_name=named("release {model_name} on {data_name} {data_version}", ReleaseRequest),
    **PERSISTED,
)
@flat
def release(request: ReleaseRequest) -> Outcome[Release]:
    """Take a table all the way: dataset version, training, the gate of each environment, predictions in production.

    A refusal ends the release where it happened. Repeating a finished release changes nothing.
    """
    return run(request)
