"""Examine the serving endpoints that the settings name: each must serve the champion of its model."""

from collections.abc import Iterator
from functools import partial

from lifecycle.core.errors import MlopsError
from lifecycle.doctor.finding import Finding, ok, problem, repairable
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.serving import endpoint
from lifecycle.settings import Settings


def examine_endpoints(config: Settings, *, repair: bool) -> Iterator[Finding]:
    """Look at what each endpoint of an environment serves; with `repair` it is told to serve the champion."""
    for model_name, name in sorted(config.serving.endpoints.items()):
        try:
            yield _endpoint(config, model_name, f"endpoint {name}", repair)
        except MlopsError as error:
            yield problem(f"endpoint {name}", str(error))


def _endpoint(config: Settings, model_name: str, what: str, repair: bool) -> Finding:
    target = target_of(config, model_name)
    champion = promotion.read_log(target).champion
    if champion is None:
        return ok(what, f"{target.name} has no champion to serve yet.")
    found = endpoint.Endpoint(config, model_name)
    now = found.describe()
    if found.serves(now, promotion.reference(target, champion)):
        return ok(what, f"serves {target.name} v{champion}, the champion.")
    message = f"serves {endpoint.in_words(now)}, not {target.name} v{champion}, the champion."
    return repairable(what, message, repair, partial(endpoint.follow, config, model_name))
