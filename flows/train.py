"""Dataset version → challenger → gate → champion of its environment."""

from prefect import State, flow

from flows.promote import admit
from lifecycle.core.names import Environment, ModelType
from lifecycle.core.parameters import Name, Params
from lifecycle.gate.proof import replay
from lifecycle.registry.store import target_of
from tasks import approvals, compute, data, events, gate, registry, reports, training
from tasks.outcomes import Admission


@flow(
    name="train",
    flow_run_name="train {model_name} as {model_type} in {env}",
    persist_result=True,
    result_serializer="json",
)
def train(
    data_name: Name,
    data_version: Name,
    model_name: Name,
    model_type: ModelType = ModelType.LOGISTIC_REGRESSION,
    model_params: Params | None = None,
    seed: int = 0,
    env: Environment = Environment.DEV,
    as_candidate: bool = False,
) -> State[Admission]:
    """Train a challenger and, if it beats the champion of its environment, register and promote it.

    Args:
        data_name: Name of the dataset.
        data_version: Version to train on, or `latest`.
        model_name: Name of the model, without environment.
        model_type: What to train.
        model_params: Parameters of the estimator.
        seed: Same data, parameters and seed give the same predictions.
        env: Environment to train and promote in.
        as_candidate: Register it as a candidate first, with the alias `challenger`, whatever the gate then says.
    """
    config = compute.settings_of(env)
    approvals.require_reach(config)
    data_version = data.resolve(config.datasets, data_name, data_version)
    gate.require_before_training(config, data_name, data_version)
    registry.champion(target_of(config, model_name))  # one that nobody can name ends it before anything is trained
    request = training.plan(
        config,
        data_name=data_name,
        data_version=data_version,
        model_name=model_name,
        algorithm=model_type,
        params=model_params or {},
        seed=seed,
        links=reports.links(),
    )
    with replay.ahead(request):
        compute.run_step("train", request, config)
        challenger = training.trained(config.mlflow_uri, request.run_id)
        reports.show_run(config, challenger)
        if as_candidate:
            challenger = registry.enter_challenger(target_of(config, model_name), challenger)
            events.emit("registered", str(challenger.name), config.env, version=challenger.version)
        gate_data = config.gate_data
        return admit(
            challenger,
            config,
            model_name,
            gate_data.data_name or data_name,
            gate_data.data_version or data_version,
            f"trained as {model_type}",
        )
