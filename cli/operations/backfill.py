"""Fill the days for which nothing was published: each once, whatever made the gap and however often it is asked for."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from cli.operations import connection, runs
from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.inference import manifest as batches
from lifecycle.settings import Settings, definitions

logger = logging.getLogger("lifecycle.backfill")

MOST_DAYS = 366


class Day(Frozen):
    """What was done about one day."""

    day: date
    outcome: Literal["in place", "missing", "filled", "failed"]
    detail: str = ""
    exit_code: int = 0


def days(first: date, last: date) -> list[date]:
    """The days from the first to the last, both included.

    Raises:
        ConfigError: There are none, too many, or some that are not over yet.
    """
    if last < first:
        raise ConfigError(f"--to {last} is before --from {first}.", "Exchange them.")
    if last > date.today():
        raise ConfigError(f"--to {last} is in the future.", "A schedule will see to it.")
    found = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    if len(found) > MOST_DAYS:
        raise ConfigError(f"{len(found)} days are more than {MOST_DAYS}.", "Fill a year at a time.")
    return found


def fill(
    config: Settings,
    name: str,
    wanted: list[date],
    pairs: list[str],
    *,
    dry_run: bool = False,
    deadline_seconds: float = 86_400,
) -> list[Day]:
    """Start a run of a deployment for each day without a published batch, and follow them in order.

    A run has the key of its day and parameters: a backfill that is repeated finds it, and retries it if it failed.

    Raises:
        ConfigError: The flow has no logical date, or a parameter is refused.
    """
    with connection.client() as client:
        deployment = runs.deployment_of(client, name)
        if not {"logical_date", "input"} <= runs.form(deployment)["properties"].keys():
            raise ConfigError(f"{name} does not score the table of a day.", "Try: --flow batch-inference")
        parameters = deployment.parameters | runs.parsed(deployment, pairs)
        found = {day: _published(config, parameters, day) for day in wanted}
        started = (
            {}
            if dry_run
            else {day: _start(client, deployment, parameters, day) for day, where in found.items() if not where}
        )
        return list(_follow(client, name, found, started, deadline_seconds))


def _published(config: Settings, parameters: Mapping[str, Any], day: date) -> str:
    """Which version has scored the day already, as far as its predictions can be seen from here."""
    root = Path(parameters.get("output") or config.predictions)
    model_name, _ = definitions.chosen(parameters.get("model_name"))
    manifests = batches.of_day(root, config.registered_name(model_name), day)
    return ", ".join(f"v{each.model_version}: {each.scored:,} rows" for each in manifests)


def _start(client: Any, deployment: Any, parameters: Mapping[str, Any], day: date) -> Any:
    asked = {**parameters, "logical_date": str(day)}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    run = runs.start(client, deployment, asked, key=f"backfill/{deployment.id}/{digest}")
    if run.state and run.state.is_final() and not run.state.is_completed():
        logger.info("%s: retrying %s, which was %s", day, run.name, run.state.name)
        runs.retry(client, run)
    else:
        logger.info("%s: %s", day, run.name)
    return run


def _follow(
    client: Any, name: str, found: Mapping[date, str], started: Mapping[date, Any], deadline_seconds: float
) -> Iterator[Day]:
    for day, where in found.items():
        if where:
            yield Day(day=day, outcome="in place", detail=where)
        elif day not in started:
            yield Day(day=day, outcome="missing")
        else:
            ended = runs.follow(client, name, started[day].id, deadline_seconds)
            outcome: Literal["failed", "filled"] = "failed" if ended.exit_code else "filled"
            yield Day(day=day, outcome=outcome, detail=ended.message or ended.name, exit_code=ended.exit_code)
