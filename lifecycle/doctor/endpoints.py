"""Examine the serving endpoints that the settings name: each must serve the champion of its model."""

from collections.abc import Iterator
from functools import partial

from lifecycle.core.errors import MlopsError
from lifecycle.doctor.finding import Finding, ok, problem, repairable
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.serving import endpoint
from lifecycle.serving.served import in_words
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
    found, model = endpoint.Endpoint(config, model_name), promotion.reference(target, champion)
    now = found.describe()
    plan = found.plan(target, model, now)
    wanted = "the champion" if plan.former is None else f"the champion, beside v{plan.former}"
    if found.serves(now, plan, model):
        served = f"{target.name} v{champion}" if plan.former is None else in_words(now)
        return ok(what, f"serves {served}, {wanted}{f' {plan.why}' if plan.why else ''}.")
    message = f"serves {in_words(now)}, not {target.name} v{champion}, {wanted}."
    return repairable(what, message, repair, partial(endpoint.follow, config, model_name))
