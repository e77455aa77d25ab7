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
from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef
from lifecycle.databricks import credentials
from lifecycle.databricks.client import answers, client
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate.proof import replay
from lifecycle.gate.proof.infrastructure import as_query, differing
from lifecycle.registry import promotion
from lifecycle.registry.store import Target, target_of
from lifecycle.settings import Settings

if TYPE_CHECKING:
    from databricks.sdk.service.serving import (
        DataframeSplitInput,
        EndpointCoreConfigOutput,
        QueryEndpointResponse,
        ServedEntityInput,
        ServedEntityOutput,
        ServingEndpointDetailed,
    )

logger = logging.getLogger(__name__)

LOG_CHARACTERS = 500
IN_PROGRESS, FAILED = "IN_PROGRESS", ("UPDATE_FAILED", "UPDATE_CANCELED")
OURS = ("entity_name", "entity_version", "workload_size", "workload_type", "scale_to_zero_enabled")
"""What the settings say about a served version; what an operator has set beside it goes on to the next version."""
SIZED = ("min_provisioned_concurrency", "max_provisioned_concurrency")
"""What an operator may set in place of a size."""


class Served(Frozen):
    """What an endpoint serves now, and how many of its answers were compared with stored predictions."""

    endpoint: str
    name: str
    version: int
    changed: bool
    compared: int
    link: str
    message: str


class Sample(NamedTuple):
    """Some inputs, and the predictions that are stored of them."""

    inputs: pd.DataFrame
    recorded: pd.DataFrame


def follow(config: Settings, model_name: str) -> Served:
    """Let the endpoint of a model serve its champion; one that does so already must only prove it.

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
    while not endpoint.serves(now, champion):
        now = endpoint.update(champion, now)
        if (later := _champion(target)) != champion:  # somebody has promoted meanwhile
            champion, sample = later, _sample(later, config)
    try:
        endpoint.compare(champion, sample, now)
    except MlopsError:
        if now is not before:
            endpoint.restore(before)
        raise
    served = Served(
        endpoint=endpoint.name,
        name=target.name,
        version=champion.version or 0,
        changed=now is not before,
        compared=len(sample.recorded),
        link=endpoint.link,
        message=f"Endpoint {endpoint.name} serves {champion.label}; "
        f"{len(sample.recorded)} of its predictions are as stored.",
    )
    logger.info("%s", served.message)
    return served


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
        self._rules = config.serving
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

    def serves(self, found: "ServingEndpointDetailed | None", model: ModelRef) -> bool:
        """Whether an endpoint serves this version alone, as the settings say."""
        entities = _entities(found)
        if len(entities) != 1:
            return False
        now, wanted = entities[0], self._entity(model, found)
        return all(getattr(now, name) == getattr(wanted, name) for name in OURS)

    def update(self, model: ModelRef, now: "ServingEndpointDetailed | None") -> "ServingEndpointDetailed | None":
        """Ask for one version alone to be served, and wait for the end of that, or of what somebody else has begun.

        Raises:
            ConflictError: The endpoint serves another model.
            TransientError: The update has failed, or has not ended in time.
        """
        if others := {str(entity.entity_name) for entity in _entities(now)} - {model.name}:
            what = f"Endpoint {self.name} serves {', '.join(sorted(others))}, not {model.name}."
            raise ConflictError(what, "Name another endpoint for this model in the settings.")
        accepted = self._ask_for(model, now)
        after = self.settled()
        if self.serves(after, model):
            return after
        state = after.state.config_update if after and after.state else None
        if accepted and state and state.value in FAILED:
            what = f"Endpoint {self.name} does not serve {model.label}: {state.value}. {self._log(model)}"
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

    def _ask_for(self, model: ModelRef, now: "ServingEndpointDetailed | None") -> bool:
        """Create or update the endpoint; False if somebody else was quicker."""
        from databricks.sdk.errors import ResourceConflict
        from databricks.sdk.service.serving import EndpointCoreConfigInput

        logger.info("Endpoint %s is to serve %s", self.name, model.label)
        endpoints, entities = self._client.serving_endpoints, [self._entity(model, now)]
        with answers(self):
            try:
                if now is None:
                    endpoints.create(self.name, config=EndpointCoreConfigInput(self.name, served_entities=entities))
                else:
                    kept = _input(now.config)["auto_capture_config"] if now.config else None
                    endpoints.update_config(self.name, served_entities=entities, auto_capture_config=kept)
            except ResourceConflict:
                return False
        return True

    def _wait(self) -> None:
        if time.monotonic() > self._deadline:
            what = f"Endpoint {self.name} was not ready after {self._rules.timeout_seconds:g} s."
            raise TransientError(what, "Look again later: mlops doctor --repair")
        time.sleep(self._rules.poll_seconds)

    def compare(self, model: ModelRef, sample: Sample, now: "ServingEndpointDetailed | None") -> None:
        """Ask for a sample and compare every answer; it must come from what the endpoint serves, as it was seen."""
        from databricks.sdk.service.serving import DataframeSplitInput

        answer = self._query(DataframeSplitInput(**as_query(sample.inputs)))
        names = {entity.name for entity in _entities(now)}
        if answer.served_model_name not in {None, *names}:
            what = f"Endpoint {self.name} answered with {answer.served_model_name}: it was changed meanwhile."
            raise IntegrityError(what, "Look again: mlops doctor")
        if wrong := differing(answer.predictions or [], sample.recorded):
            answers = f"{wrong} of {len(sample.recorded)} predictions"
            what = f"Endpoint {self.name}: {answers} are not what {model.label} predicted."
            raise IntegrityError(what, "Look at its page in Databricks, or roll back: mlops rollback")

    def _query(self, rows: "DataframeSplitInput") -> "QueryEndpointResponse":
        """Ask until there is an answer: an endpoint that scales to zero has to come up first."""
        while True:
            try:
                with answers(self):
                    return self._client.serving_endpoints.query(self.name, dataframe_split=rows)
            except TransientError as error:
                logger.warning("%s", error)
            self._wait()

    def restore(self, before: "ServingEndpointDetailed | None") -> None:
        """Go back to what was served before, if anything was; a failure to do so is told, and does not hide why."""
        self._deadline = time.monotonic() + self._rules.timeout_seconds
        try:
            with answers(self):
                if before is None:
                    self._client.serving_endpoints.delete(self.name)
                elif before.config:
                    self._client.serving_endpoints.update_config(self.name, **_input(before.config))
            self.settled()
        except MlopsError as error:
            logger.error("Endpoint %s could not be put back: %s", self.name, error)
        else:
            logger.warning("Endpoint %s serves again what it served before: %s", self.name, in_words(before))

    def _entity(self, model: ModelRef, now: "ServingEndpointDetailed | None") -> "ServedEntityInput":
        """A version as it is to be served: with what an operator has set for the one before it."""
        from databricks.sdk.service.serving import ServedEntityInput, ServingModelWorkloadType

        former = next(iter(_entities(now)), None)
        entity = ServedEntityInput.from_dict(former.as_dict()) if former else ServedEntityInput()
        entity.name = _served_name(model)
        entity.entity_name, entity.entity_version = model.name, str(model.version)
        entity.scale_to_zero_enabled = self._rules.scale_to_zero
        if not any(getattr(entity, name) for name in SIZED):
            entity.workload_size = self._rules.workload_size
        if self._rules.workload_type:
            entity.workload_type = ServingModelWorkloadType(self._rules.workload_type)
        return entity

    def _log(self, model: ModelRef) -> str:
        """The end of what the build of the served model has written, as far as it can be had."""
        try:
            with answers(self):
                logs = self._client.serving_endpoints.build_logs(self.name, _served_name(model)).logs
        except MlopsError:
            return ""
        return " ".join(logs.split())[-LOG_CHARACTERS:]


def _sample(model: ModelRef, config: Settings) -> Sample:
    """Inputs of the model's last evaluation, spread over all of them, and the predictions stored of them then."""
    request = replay.last_evaluation(model, config.datasets)
    inputs, recorded = replay.inputs_with(request, evaluation.stored(request))
    most = config.serving.warm_up_rows
    every = max(1, len(recorded) // most)
    return Sample(inputs.iloc[::every].head(most), recorded.iloc[::every].head(most))


def _champion(target: Target) -> ModelRef:
    champion = promotion.champion(target)
    if champion is None:
        raise NotFoundError(f"{target.name} has no champion to serve.", "Promote one first: mlops promote")
    return champion


def in_words(found: "ServingEndpointDetailed | None") -> str:
    """What an endpoint serves, for a person."""
    return ", ".join(f"{entity.entity_name} v{entity.entity_version}" for entity in _entities(found)) or "nothing"


def _input(config: "EndpointCoreConfigOutput") -> "dict[str, Any]":
    """A configuration that an endpoint had, in the form in which it is asked for."""
    from databricks.sdk.service.serving import AutoCaptureConfigInput, ServedEntityInput, TrafficConfig

    entities = [ServedEntityInput.from_dict(entity.as_dict()) for entity in config.served_entities or []]
    traffic = TrafficConfig.from_dict(config.traffic_config.as_dict()) if config.traffic_config else None
    captured = config.auto_capture_config
    capture = AutoCaptureConfigInput.from_dict(captured.as_dict()) if captured else None
    return {"served_entities": entities, "traffic_config": traffic, "auto_capture_config": capture}


def _served_name(model: ModelRef) -> str:
    return f"{(model.name or '').rpartition('.')[2]}-{model.version}"


def _entities(found: "ServingEndpointDetailed | None") -> "list[ServedEntityOutput]":
    """What an endpoint serves; nothing if there is none, or it was never ready."""
    return (found.config.served_entities if found and found.config else None) or []
