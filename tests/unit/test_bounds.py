"""No number of a setting or of a request goes without limits: what nothing can mean is refused where it is written."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from flows import flow_requests
from flows.request import Form
from lifecycle.settings import Settings
from lifecycle.settings.definitions import ModelDefinition, SplitDefinition, TrainingDefinition
from lifecycle.settings.gate_rules import GateRules
from lifecycle.settings.rules import MonitoringRules, ServingRules

NOT_A_NUMBER = (True, "nan", "inf", "-inf", "1e300", "-1e300")


def _numbers(annotation: Any, limits: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The limits of each number that an annotation holds."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits += tuple(
            part for each in parts[1:] for part in (each.metadata if isinstance(each, FieldInfo) else [each])
        )
        yield from _numbers(parts[0], limits)
    elif annotation in {int, float}:
        yield limits
    elif origin is not Literal:
        for part in parts:
            yield from _numbers(part, limits if origin in {Union, types.UnionType} else ())


def _models(model: Any) -> Iterator[type[BaseModel]]:
    """A model and all that it holds."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield model
        for field in model.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(model):
        yield from _models(part)


REQUESTS = [kind for kind in vars(flow_requests).values() if isinstance(kind, type) and issubclass(kind, Form)]
MODELS = sorted({each for kind in (Settings, ModelDefinition, *REQUESTS) for each in _models(kind)}, key=str)


def test_every_number_has_a_least_and_a_largest_value() -> None:
    open_ended = [
        f"{model.__name__}.{name}"
        for model in MODELS
        for name, field in model.model_fields.items()
        for limits in _numbers(field.annotation, tuple(field.metadata))
        if not all(
            any(getattr(each, end, None) is not None for each in limits for end in ends)
            for ends in (("ge", "gt"), ("le", "lt"))
        )
    ]
    assert open_ended == []


@pytest.mark.parametrize("value", NOT_A_NUMBER)
@pytest.mark.parametrize(
    ("model", "where"),
    [
        (GateRules, ("slices", "max_loss")),
        (GateRules, ("calibration", "max_ece")),
        (GateRules, ("floors", "f1_macro")),
        (GateRules, ("costs", "matrix", "a", "b")),
        (GateRules, ("min_gain",)),
        (MonitoringRules, ("max_drift",)),
        (MonitoringRules, ("max_latency", "p95")),
        (ServingRules, ("timeout_seconds",)),
        (SplitDefinition, ("test_size",)),
        (TrainingDefinition, ("seed",)),
    ],
)
def test_what_is_no_number_to_anybody_is_refused(model: type[BaseModel], where: tuple[str, ...], value: object) -> None:
    """Above all in the gate: `max_loss: true` would be a loss of everything, `1e300` one of no limit."""
    content: Any = value
    for key in reversed(where):
        content = {key: content}
    with pytest.raises(ValidationError) as caught:
        model(**content)
    assert caught.value.errors()[0]["loc"][0] == where[0]


@pytest.mark.parametrize(("name", "value"), [("min_gain", -1), ("worthwhile_gain", 1), ("retraining", {"margin": 2})])
def test_a_gain_that_tolerates_any_loss_is_refused(name: str, value: object) -> None:
    """These metrics lie between -1 and 1, or are measured in shares; one's own metric and costs may have any size."""
    with pytest.raises(ValidationError, match="between -1 and 1"):
        GateRules(**{name: value})
    assert GateRules(**{name: value}, metric="euros", own_metrics={"euros": "ours.money:euros"})


def test_a_metric_of_ones_own_does_not_take_the_place_of_another() -> None:
    with pytest.raises(ValidationError, match=r"own_metrics\.f1_macro: there is a metric of this name"):
        GateRules(own_metrics={"f1_macro": "ours.money:always_one"}, floors={"f1_macro": 0.9})


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_a_seed_that_numpy_does_not_take_is_refused_in_a_definition_and_in_a_request(seed: int) -> None:
    for model in (TrainingDefinition, flow_requests.TrainingRequest):
        with pytest.raises(ValidationError, match=r"equal to 0|less than 4294967296"):
            model(seed=seed)
