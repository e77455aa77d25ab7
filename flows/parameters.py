"""How a plain function that takes a request becomes the function of a Prefect flow, which takes its fields one by one.

A form, a deployment and Prefect's API know flat parameters; whoever composes flows in Python passes requests.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from functools import wraps
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import State, runtime
from prefect.states import Completed

from flows.request import Dated, Request
from lifecycle.core.errors import ConfigError
from lifecycle.settings import checked

R = TypeVar("R", bound=Request)
T = TypeVar("T")
D = TypeVar("D", bound=Dated)


class Outcome(NamedTuple, Generic[T]):
    """What a flow ends with: a value, and the message and name of its state."""

    value: T
    message: str
    name: str | None = None


class Persisted(TypedDict):
    """How a flow keeps its result."""

    persist_result: bool
    result_serializer: str


PERSISTED = Persisted(persist_result=True, result_serializer="json")


def flat(function: Callable[[R], Outcome[T]]) -> Callable[..., State[T]]:
    """The same function, of the fields of its request, ending in a state of Prefect.

    Prefect takes the types of parameters from the signature and their descriptions from the docstring.
    """
    request = get_type_hints(function)["request"]
    signature = inspect.Signature(
        [
            inspect.Parameter(
                field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=field.default, annotation=field.annotation
            )
            for field in request.listed()
        ]
    )

    @wraps(function)
    def of_fields(*args: Any, **kwargs: Any) -> State[T]:
        outcome = function(checked(request, **signature.bind(*args, **kwargs).arguments))
        return Completed(name=outcome.name, message=outcome.message, data=outcome.value)

    arguments = "\n".join(f"    {field.name}: {field.description}" for field in request.listed())
    of_fields.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{arguments}"
    of_fields.__signature__ = signature  # type: ignore[attr-defined]
    return of_fields


def named(template: str, request: type[Request]) -> Callable[[], str]:
    """The name of a flow run, from what its parameters are once the definition of the model has been asked."""

    def name() -> str:
        parameters = {name: value for name, value in runtime.flow_run.parameters.items() if value is not None}
        with suppress(ConfigError):  # the flow itself says it
            parameters |= checked(request, **parameters).completed().parameters
        return template.format_map(defaultdict(lambda: "default", parameters))

    return name


def for_its_day(request: D) -> D:
    """The same request with its day: given, or in its zone that of the scheduled start."""
    day = request.logical_date or _scheduled_day(request.time_zone)
    return request.model_copy(update={"logical_date": day})


def _scheduled_day(time_zone: str | None) -> date | None:
    """The day for which this run was scheduled, however late it starts."""
    if time_zone is None:
        return None
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{time_zone!r} is not a time zone.", "For example: Europe/Helsinki") from None
    scheduled: datetime = runtime.flow_run.scheduled_start_time
    return scheduled.astimezone(zone).date()
