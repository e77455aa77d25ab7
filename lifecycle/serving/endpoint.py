"""Databricks Model Serving: the endpoint of a model serves its champion, and proves that it does.

An endpoint takes a version's number and no alias, so it does not follow a promotion or rollback by itself. It is told
the version, waited for, and asked for rows whose predictions the champion's evaluation has stored. If it answers
anything else, it goes back to what it served before.
"""

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, MlopsError, NotFoundError, TransientError
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.databricks import credentials
from lifecycle.databricks.client import answers, client
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate.proof import replay
from lifecycle.gate.proof.infrastructure import as_query, differing
from lifecycle.problems.contract import OverHttp
from lifecycle.problems.known import named
from lifecycle.registry import promotion
from lifecycle.registry.store import Target, target_of
from lifecycle.serving import canary
from lifecycle.serving.canary import Plan
from lifecycle.serving.served import (
    ALL,
    Served,
    as_input,
    configuration,
    entities_of,
    entity_of,
    in_words,
    served_name,
    shares,
)
from lifecycle.settings import Settings

if TYPE_CHECKING:
    from databricks.sdk.service.serving import (
        ServedEntityInput,
        ServingEndpointDetailed,
    )

logger = logging.getLogger(__name__)

LOG_CHARACTERS = 500
SERVED = "served-model-name"
"""The header in which an endpoint says who of those that it serves has answered."""
IN_PROGRESS, FAILED = "IN_PROGRESS", ("UPDATE_FAILED", "UPDATE_CANCELED")
OURS = ("entity_name", "entity_version", "workload_size", "workload_type", "scale_to_zero_enabled", "environment_vars")
"""What the settings say about a served version; what an operator has set beside it goes on to the next version."""
SIZED = ("min_provisioned_concurrency", "max_provisioned_concurrency")
"""What an operator may set in place of a size."""


class Sample(NamedTuple):
    """Some inputs, the predictions that are stored of them, and how one is asked for the other, if not by tables."""

    inputs: pd.DataFrame
    recorded: pd.DataFrame
    over_http: OverHttp | None = None

    @property
    def query(self) -> pd.DataFrame:
        """The rows that an endpoint is asked about."""
        return self.over_http.query(self.inputs) if self.over_http else self.inputs

    def differing(self, answers: list[Any]) -> int:
        """How many answers are not what is stored, as far as they tell it."""
        if self.over_http is None:
            return differing(answers, self.recorded)
        return differing([self.over_http.told(answer) for answer in answers], self.recorded[[*self.over_http.tells]])


def follow(config: Settings, model_name: str, *, complete: bool = False) -> Served:
    """Let the endpoint of a model serve its champion; one that does so already must only prove it.

    A new champion gets a share of the requests first, if the settings say so; `complete` gives it all of them now.

    Raises:
        ConfigError: The settings name no endpoint, or the registry is not Unity Catalog's.
        NotFoundError: The model has no champion, or no stored predictions on a dataset that is here.
        ConflictError: The endpoint serves another model.
        IntegrityError: It predicts something else than was stored; it serves what it served before.
        TransientError: It failed to load the version, or did not serve it or answer in time.
    """
    target, endpoint = target_of(config, model_name), Endpoint(config, model_name)
    champion = _champion(target)
    sample = _sample(champion, config)
    before = now = endpoint.settled()
    while not endpoint.serves(now, plan := endpoint.plan(target, champion, now, complete=complete), champion):
        now = endpoint.update(plan, champion, now)
        if (later := _champion(target)) != champion:  # somebody has promoted meanwhile
            champion, sample = later, _sample(later, config)
    try:
        endpoint.compare(champion, sample, now)
    except MlopsError as error:
        if now is not before:
            endpoint.restore(before)
        elif plan.former and isinstance(error, IntegrityError):
            endpoint.give_back(plan.former, now)
        raise
    if plan.former:
        canary.begin(target, plan.entry)
    served = Served(
        endpoint=endpoint.name,
        name=target.name,
        version=champion.version or 0,
        share=plan.share,
        changed=now is not before,
        compared=len(sample.recorded),
        link=endpoint.link,
        message=f"Endpoint {endpoint.name} serves {_told(plan, champion)}; "
        f"{len(sample.recorded)} of its predictions are as stored.",
    )
    logger.info("%s", served.message)
    return served


def advance(config: Settings, model_name: str, *, complete: bool = False) -> Served | None:
    """Give a new champion all requests once its canary is over, or is to be; None where there is nothing to do."""
    target, endpoint = target_of(config, model_name), Endpoint(config, model_name)
    champion, now = _champion(target), endpoint.describe()
    if len(shares(now)) < 2 and not complete:
        return None
    plan = endpoint.plan(target, champion, now, complete=complete)
    if complete or not endpoint.serves(now, plan, champion):
        return follow(config, model_name, complete=complete)
    logger.info("Endpoint %s serves %s", endpoint.name, _told(plan, champion))
    return None


class Endpoint:
    """The serving endpoint of one model; what is asked of it has one deadline in all."""

    def __init__(self, config: Settings, model_name: str) -> None:
        """Raises ConfigError where the settings name no endpoint or its models would not be in Unity Catalog."""
        registry = config.registry_uri or config.mlflow_uri
        if model_name not in config.serving.endpoints:
            what = f"The settings of {config.env} name no endpoint for {model_name}."
            raise ConfigError(
                what, f"Name one in config/{config.env}.yaml: serving: {{endpoints: {{{model_name}: …}}}}"
            )
        if not credentials.is_databricks(registry):
            what = f"Databricks serves models of Unity Catalog, and {config.env} registers at {registry}."
            raise ConfigError(what, "Set registry_uri to databricks-uc, or serve on this machine: mlops serve")
        self.name = config.serving.endpoints[model_name]
        self._config, self._rules = config, config.serving
        self._deadline = time.monotonic() + config.serving.timeout_seconds
        self._client = client(registry)

    def __str__(self) -> str:
        return f"Endpoint {self.name}"

    @property
    def link(self) -> str:
        """The page of the endpoint in Databricks' UI."""
        return f"{self._client.config.host}/ml/endpoints/{self.name}"

    def describe(self) -> "ServingEndpointDetailed | None":
        """The endpoint as it is; None if there is none."""
        from databricks.sdk.errors import NotFound

        with answers(self):
            try:
                return self._client.serving_endpoints.get(self.name)
            except NotFound:
                return None

    def plan(
        self, target: Target, champion: ModelRef, found: "ServingEndpointDetailed | None", *, complete: bool = False
    ) -> Plan:
        """Who is to be served next by an endpoint that serves what it does."""
        facts = canary.look(self._config, target, champion, shares(found))
        return canary.decide(facts, self._rules, complete=complete)

    def serves(self, found: "ServingEndpointDetailed | None", plan: Plan, champion: ModelRef) -> bool:
        """Whether an endpoint serves whom it is to serve and nobody else, the champion as the settings say.

        How the requests are divided among them is an operator's to change.
        """
        entities = entities_of(found)
        if len(entities) != len(plan.versions) or shares(found).keys() != plan.versions:
            return False
        wanted = self._entity(champion, found)
        now = next(entity for entity in entities if entity.entity_version == wanted.entity_version)
        return all(getattr(now, name) == getattr(wanted, name) for name in OURS)

    def update(
        self, plan: Plan, champion: ModelRef, now: "ServingEndpointDetailed | None"
    ) -> "ServingEndpointDetailed | None":
        """Ask for what is planned to be served, and wait for the end of that, or of what somebody else has begun.

        Raises:
            ConflictError: The endpoint serves another model.
            TransientError: The update has failed, or has not ended in time.
        """
        if others := {str(entity.entity_name) for entity in entities_of(now)} - {champion.name}:
            what = f"Endpoint {self.name} serves {', '.join(sorted(others))}, not {champion.name}."
            raise ConflictError(what, "Name another endpoint for this model in the settings.")
        logger.info("Endpoint %s is to serve %s", self.name, _told(plan, champion))
        wanted = [self._entity(champion, now)]
        if plan.former:
            wanted.insert(0, as_input(entity_of(now, plan.former)))
        accepted = self._ask_for(wanted, plan, now)
        after = self.settled()
        if self.serves(after, plan, champion):
            return after
        state = after.state.config_update if after and after.state else None
        if accepted and state and state.value in FAILED:
            what = f"Endpoint {self.name} does not serve {champion.label}: {state.value}. {self._log(champion)}"
            raise TransientError(what.strip(), "Look at its page in Databricks, then: mlops doctor --repair")
        self._wait()
        return after

    def settled(self) -> "ServingEndpointDetailed | None":
        """The endpoint once no update is in progress; None if there is none."""
        while True:
            try:
                found = self.describe()
            except TransientError as error:
                logger.warning("%s", error)
            else:
                state = found.state.config_update if found and found.state else None
                if state is None or state.value != IN_PROGRESS:
                    return found
            self._wait()

    def _ask_for(self, entities: "list[ServedEntityInput]", plan: Plan, now: "ServingEndpointDetailed | None") -> bool:
        """Create or update the endpoint; False if somebody else was quicker."""
        from databricks.sdk.errors import ResourceConflict
        from databricks.sdk.service.serving import EndpointCoreConfigInput, Route, TrafficConfig

        parts = [ALL - plan.share, plan.share][-len(entities) :]
        routes = [Route(part, served_entity_name=each.name) for part, each in zip(parts, entities, strict=True)]
        asked: dict[str, Any] = {"served_entities": entities, "traffic_config": TrafficConfig(routes)}
        endpoints = self._client.serving_endpoints
        with answers(self):
            try:
                if now is None:
                    endpoints.create(self.name, config=EndpointCoreConfigInput(self.name, **asked))
                else:
                    kept = configuration(now.config)["auto_capture_config"] if now.config else None
                    endpoints.update_config(self.name, **asked, auto_capture_config=kept)
            except ResourceConflict:
                return False
        return True

    def _wait(self) -> None:
        if time.monotonic() > self._deadline:
            what = f"Endpoint {self.name} was not ready after {self._rules.timeout_seconds:g} s."
            raise TransientError(what, "Look again later: mlops doctor --repair")
        time.sleep(self._rules.poll_seconds)

    def compare(self, model: ModelRef, sample: Sample, now: "ServingEndpointDetailed | None") -> None:
        """Ask for a sample and compare every answer; it must come from what the endpoint serves, as it was seen.

        Where several versions are served, this one is asked by its name, whatever its share of the requests.
        """
        names = [str(entity.name) for entity in entities_of(now)]
        alone = len(names) < 2
        asked = self.name if alone else f"{self.name}/served-models/{entity_of(now, model.version).name}"
        answered, predictions = self._query(asked, as_query(sample.query))
        if alone and answered not in {None, *names}:
            what = f"Endpoint {self.name} answered with {answered}: it was changed meanwhile."
            raise IntegrityError(what, "Look again: mlops doctor")
        if wrong := sample.differing(predictions):
            answers = f"{wrong} of {len(sample.recorded)} predictions"
            what = f"Endpoint {self.name}: {answers} are not what {model.label} predicted."
            raise IntegrityError(what, "Look at its page in Databricks, or roll back: mlops rollback")

    def _query(self, asked: str, rows: dict[str, Any]) -> tuple[str | None, list[Any]]:
        """Ask until there is an answer: an endpoint that scales to zero has to come up first. Who answered, and what.

        The client's own `query` knows no served model by its name.
        """
        path, body = f"/serving-endpoints/{asked}/invocations", {"dataframe_split": rows}
        while True:
            try:
                with answers(self):
                    found = self._client.api_client.do("POST", path, body=body, response_headers=[SERVED])
            except TransientError as error:
                logger.warning("%s", error)
            else:
                answer = found if isinstance(found, dict) else {}
                return answer.get(SERVED), answer.get("predictions") or []
            self._wait()

    def give_back(self, former: int, now: "ServingEndpointDetailed | None") -> None:
        """Give all requests to the champion before, since the new one does not answer as it did when it was judged."""
        kept, plan = as_input(entity_of(now, former)), Plan(former)
        self._deadline = time.monotonic() + self._rules.timeout_seconds
        try:
            self._ask_for([kept], plan, now)
            self.settled()
        except MlopsError as error:
            logger.error("Endpoint %s could not be given back to v%d: %s", self.name, former, error)
        else:
            logger.warning("Endpoint %s serves v%d alone again", self.name, former)

    def restore(self, before: "ServingEndpointDetailed | None") -> None:
        """Go back to what was served before, if anything was; a failure to do so is told, and does not hide why."""
        self._deadline = time.monotonic() + self._rules.timeout_seconds
        try:
            with answers(self):
                if before is None:
                    self._client.serving_endpoints.delete(self.name)
                elif before.config:
                    self._client.serving_endpoints.update_config(self.name, **configuration(before.config))
            self.settled()
        except MlopsError as error:
            logger.error("Endpoint %s could not be put back: %s", self.name, error)
        else:
            logger.warning("Endpoint %s serves again what it served before: %s", self.name, in_words(before))

    def _entity(self, model: ModelRef, now: "ServingEndpointDetailed | None") -> "ServedEntityInput":
        """A version as it is to be served: with what an operator has set for the one before it."""
        from databricks.sdk.service.serving import ServedEntityInput, ServingModelWorkloadType

        former = entity_of(now, model.version) if entities_of(now) else None
        entity = as_input(former) if former else ServedEntityInput()
        entity.name = served_name(model)
        entity.entity_name, entity.entity_version = model.name, str(model.version)
        entity.scale_to_zero_enabled = self._rules.scale_to_zero
        if self._rules.environment:
            entity.environment_vars = {**(entity.environment_vars or {}), **self._rules.environment}
        if not any(getattr(entity, name) for name in SIZED):
            entity.workload_size = self._rules.workload_size
        if self._rules.workload_type:
            entity.workload_type = ServingModelWorkloadType(self._rules.workload_type)
        return entity

    def _log(self, model: ModelRef) -> str:
        """The end of what the build of the served model has written, as far as it can be had."""
        try:
            with answers(self):
                logs = self._client.serving_endpoints.build_logs(self.name, served_name(model)).logs
        except MlopsError:
            return ""
        return " ".join(logs.split())[-LOG_CHARACTERS:]


def _sample(model: ModelRef, config: Settings) -> Sample:
    """Inputs of the model's last evaluation, spread over all of them, and the predictions stored of them then."""
    request = replay.last_evaluation(model, config.datasets)
    inputs, recorded = replay.inputs_with(request, evaluation.stored(request))
    most = config.serving.warm_up_rows
    every = max(1, len(recorded) // most)
    problem = named(dataset.load(request.data_root, request.data_name, request.data_version).problem)
    return Sample(inputs.iloc[::every].head(most), recorded.iloc[::every].head(most), problem.over_http)


def _champion(target: Target) -> ModelRef:
    champion = promotion.champion(target)
    if champion is None:
        raise NotFoundError(f"{target.name} has no champion to serve.", "Promote one first: mlops promote")
    return champion


def _told(plan: Plan, champion: ModelRef) -> str:
    """Who is served, for a person."""
    if plan.former is None:
        return champion.label
    return f"{champion.label} with {plan.share} % of the requests and v{plan.former} with the rest, {plan.why}"
