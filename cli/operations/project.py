"""What runs on a Prefect server: `prefect.yaml` (deployments) and `automations.yaml`.

A project has files of its own, or those that come with the package. Without a `prefect.yaml` of its own, each model
that it defines gets the deployments of the shipped one.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.settings import definitions, files
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.rules import ScheduleRules

DEPLOYMENTS, AUTOMATIONS = "prefect.yaml", "automations.yaml"
SHIPPED = Path(__file__).parents[2]
"""Where the shipped files lie: beside our packages, in a checkout and in a wheel."""
OF_THE_SAMPLE = ("data_name", "data_version", "input", "text_column")
"""Parameters of the shipped deployments that the definition of a model takes the place of."""


def folder() -> Path:
    """Where the runs of deployments run: the folder of a `prefect.yaml`, else the project whose models are defined.

    Raises:
        ConfigError: There is neither.
    """
    here = Path.cwd()
    project = files.project() or here
    own = [place for place in (here, project) if (place / DEPLOYMENTS).is_file()]
    if own or definitions.names():
        return own[0] if own else project
    if (SHIPPED / "pyproject.toml").is_file():  # a checkout, whose file is its own
        return SHIPPED
    fix = "Define a model: mlops init TABLE, or go to the project's folder."
    raise ConfigError(f"There is no {DEPLOYMENTS} in {here}, and no model is defined.", fix)


def read(name: str) -> dict[str, Any]:
    """The content of one of the files, the project's own or the shipped one.

    Raises:
        ConfigError: It is missing or not YAML.
    """
    own = folder() / name
    path = own if own.is_file() else SHIPPED / name
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "Correct the file.") from None


def deployments() -> list[dict[str, Any]]:
    """The entries of `prefect.yaml`, as they stand there, or what they are for the models that are defined."""
    entries = list(read(DEPLOYMENTS).get("deployments") or [])
    return list(_of_models(entries, definitions.every())) if is_generated() else entries


def is_generated() -> bool:
    """Whether the project has no `prefect.yaml` of its own."""
    return not (folder() / DEPLOYMENTS).is_file()


@contextmanager
def file() -> Iterator[Path]:
    """The file that says all deployments, as Prefect's own command reads it."""
    if not is_generated():
        yield folder() / DEPLOYMENTS
        return
    with tempfile.NamedTemporaryFile("w", prefix="mlops-", suffix=f"-{DEPLOYMENTS}", encoding="utf-8") as written:
        content = read(DEPLOYMENTS) | {"deployments": deployments()}
        yaml.safe_dump({key: value for key, value in content.items() if key != "definitions"}, written, sort_keys=False)
        written.flush()
        yield Path(written.name)


def deployment_name(flow: str, env: Environment | str, model_name: str | None) -> str:
    """What the deployment of a flow in an environment is called on the server."""
    return f"{flow}/{definitions.chosen(model_name)[0]}-{env}" if is_generated() else f"{flow}/{env}"


def _of_models(entries: list[dict[str, Any]], models: Mapping[str, ModelDefinition]) -> Iterator[dict[str, Any]]:
    """Each entry that is about a model once for each model; the flows are found by their modules, wherever they lie."""
    for entry in entries:
        path, _, function = entry["entrypoint"].partition(":")
        found = entry | {"entrypoint": f"{path.removesuffix('.py').replace('/', '.')}.{function}"}
        if {"model_name", "data_name"} & entry["parameters"].keys():
            yield from (_of_model(found, name, definition) for name, definition in models.items())
        else:
            yield found


def _of_model(entry: dict[str, Any], name: str, definition: ModelDefinition) -> dict[str, Any]:
    """The deployment of one model. A batch of which nobody knows the table is not scheduled."""
    parameters = {key: value for key, value in entry["parameters"].items() if key not in OF_THE_SAMPLE}
    is_idle = "input" in entry["parameters"] and not definition.inference.source
    schedules = [] if is_idle else entry.get("schedules", [])
    if env := parameters.get("env"):
        rules = settings.load(env, model_name=name).schedule
        schedules = [_timed(each, rules, _flow(entry)) for each in schedules]
        if rules.time_zone and "time_zone" in parameters:
            parameters["time_zone"] = rules.time_zone
    return entry | {
        "name": f"{name}-{entry['name']}",
        "tags": [*entry["tags"], f"model:{name}"],
        "parameters": parameters | {"model_name": name},
        "schedules": schedules,
        "triggers": [_about(trigger, name, parameters["env"]) for trigger in entry.get("triggers", ())],
    }


def _flow(entry: dict[str, Any]) -> str:
    """What the flow of a deployment is called."""
    return re.split(r"[.:]", entry["entrypoint"])[-1].replace("_", "-")


def _timed(schedule: dict[str, Any], rules: ScheduleRules, flow: str) -> dict[str, Any]:
    """A shipped schedule at the time, and in the zone, that the settings want."""
    when = next((cron for name, cron in rules.times.items() if name == flow), None)
    kept = schedule if when is None else {key: schedule[key] for key in ("slug", "timezone", "active")}
    return kept | ({"cron": when} if when else {}) | ({"timezone": rules.time_zone} if rules.time_zone else {})


def _about(trigger: dict[str, Any], name: str, env: str) -> dict[str, Any]:
    """A trigger that acts on the events of one model alone."""
    resource = f"mlops.model.{settings.load(env).registered_name(name)}"
    return trigger | {"name": f"{trigger['name']}: {name}", "match": {"prefect.resource.id": resource}}
