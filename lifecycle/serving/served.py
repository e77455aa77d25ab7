"""What an endpoint serves, as the workspace describes it: read, told to people, and asked for again as it is."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from lifecycle.core.frozen import Frozen
from lifecycle.core.references import ModelRef

if TYPE_CHECKING:
    from databricks.sdk.service.serving import (
        EndpointCoreConfigOutput,
        ServedEntityInput,
        ServedEntityOutput,
        ServingEndpointDetailed,
    )

ALL = 100
"""Of a hundred requests."""


class Served(Frozen):
    """What an endpoint serves now, and how many of its answers were compared with stored predictions."""

    endpoint: str
    name: str
    version: int
    share: int = ALL
    changed: bool
    compared: int
    link: str
    message: str


def in_words(found: "ServingEndpointDetailed | None") -> str:
    """What an endpoint serves, for a person."""
    entities = entities_of(found)
    parts = shares(found) if len(entities) > 1 else {}
    told = (f"{each.entity_name} v{each.entity_version}{_percent(parts, each)}" for each in entities)
    return ", ".join(told) or "nothing"


def shares(found: "ServingEndpointDetailed | None") -> dict[int, int]:
    """How many in a hundred requests an endpoint gives to each version; one that is named twice gets both."""
    traffic = found.config.traffic_config if found and found.config else None
    routes = {
        route.served_entity_name or route.served_model_name: route.traffic_percentage
        for route in (traffic.routes if traffic else None) or []
    }
    whole = {} if routes else {entity.name: ALL for entity in entities_of(found)[:1]}
    parts: Counter[int] = Counter()
    for entity in entities_of(found):
        parts[int(entity.entity_version or 0)] += (routes | whole).get(entity.name, 0)
    return dict(parts)


def _percent(parts: dict[int, int], entity: "ServedEntityOutput") -> str:
    return f" ({parts[int(entity.entity_version or 0)]} %)" if parts else ""


def configuration(config: "EndpointCoreConfigOutput") -> "dict[str, Any]":
    """A configuration that an endpoint had, in the form in which it is asked for."""
    from databricks.sdk.service.serving import AutoCaptureConfigInput, TrafficConfig

    entities = [as_input(entity) for entity in config.served_entities or []]
    traffic = TrafficConfig.from_dict(config.traffic_config.as_dict()) if config.traffic_config else None
    captured = config.auto_capture_config
    capture = AutoCaptureConfigInput.from_dict(captured.as_dict()) if captured else None
    return {"served_entities": entities, "traffic_config": traffic, "auto_capture_config": capture}


def as_input(entity: "ServedEntityOutput") -> "ServedEntityInput":
    """What is served, in the form in which it is asked for."""
    from databricks.sdk.service.serving import ServedEntityInput

    return ServedEntityInput.from_dict(entity.as_dict())


def entity_of(found: "ServingEndpointDetailed | None", version: int | None) -> "ServedEntityOutput":
    """What serves a version, or, where nothing does, what is served first."""
    entities = entities_of(found)
    return next((each for each in entities if each.entity_version == str(version)), entities[0])


def served_name(model: ModelRef) -> str:
    """What a version is called at its endpoint."""
    return f"{(model.name or '').rpartition('.')[2]}-{model.version}"


def entities_of(found: "ServingEndpointDetailed | None") -> "list[ServedEntityOutput]":
    """What an endpoint serves; nothing if there is none, or it was never ready."""
    return (found.config.served_entities if found and found.config else None) or []
