"""Apply `prefect.yaml` with Prefect's own command, and read back what the server now holds."""

import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.operations import connection, project
from lifecycle.core import secrets
from lifecycle.core.errors import ConfigError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.core.parameters import require_sealed
from lifecycle.settings import Settings
from lifecycle.settings.rules import ScheduleRules
from mlops_lifecycle import start

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

logger = logging.getLogger("lifecycle.deployments")

DEADLINE_SECONDS = 300
PAGE = 200
"""As many deployments as a server tells at once."""


class Deployment(Frozen):
    """A deployment on the server and its schedule."""

    name: str
    work_pool: str
    schedule: str
    active: bool


def deploy(environments: Iterable[Settings], only: Iterable[Environment] = ()) -> list[Deployment]:
    """Apply the deployments of some environments, by default all; the same again changes nothing.

    An environment's schedules are active if its settings say so.

    Raises:
        ConfigError: A deployment holds a secret, and nothing is applied; or one is not valid, and those before it are.
        TransientError: The server did not answer in time.
    """
    folder = project.folder()
    for entry in project.deployments():
        _require_no_secrets(entry)
    switches = {}
    for config in environments:
        _require_heard(config)
        env, remote = config.env.upper(), config.platform == "databricks"
        switches[f"SCHEDULES_{env}"] = str(config.schedules).lower()
        switches[f"RECONCILES_{env}"] = str(config.schedules and remote).lower()
    names = [argument for env in only for pattern in _patterns(env) for argument in ("--name", pattern)]
    environment = {
        **os.environ,
        **switches,
        "PROJECT_DIR": os.environ.get("PROJECT_DIR") or str(folder),
    }
    with project.file() as file:
        done = _apply(file, names or ["--all"], folder, environment)
    if done.returncode:
        last = " ".join((done.stdout + done.stderr).split())[-600:]
        what = "What the models that are defined need" if project.is_generated() else folder / project.DEPLOYMENTS
        raise ConfigError(f"{what} was not applied: {last}", "Correct it and deploy again.")
    return list(deployed())


def _apply(
    file: Path, options: Iterable[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run Prefect's own command in the folder of the project."""
    command = start.command(
        "cli.operations.prefect_command", "--no-prompt", "deploy", "--prefect-file", str(file), *options
    )
    try:
        return subprocess.run(  # noqa: S603  our own interpreter
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS
        )
    except subprocess.TimeoutExpired:
        what = f"The deployments were not made within {DEADLINE_SECONDS} s."
        raise TransientError(what, "Look at the server: mlops status") from None


def _require_heard(config: Settings) -> None:
    """Times in the settings of a project that writes its schedules itself would never be read."""
    if config.schedule != ScheduleRules() and not project.is_generated():
        what = f"{config.env} has a schedule, and this project writes its own in {project.DEPLOYMENTS}."
        raise ConfigError(what, f"Write the times into {project.folder() / project.DEPLOYMENTS}.")


def _require_no_secrets(entry: dict[str, Any]) -> None:
    """Prefect stores and shows what stands in a deployment, the variables of its runs too."""
    for each in (entry, *(entry.get("schedules") or ())):
        require_sealed(each.get("parameters") or {})
    variables = ((entry.get("work_pool") or {}).get("job_variables") or {}).get("env") or {}
    if named := [name for name in variables if str(name).startswith(secrets.PREFIX)]:
        what = f"{project.DEPLOYMENTS} sets {', '.join(named)}, which would be stored with the deployment."
        raise ConfigError(what, "Set it in the environment of the worker.")


def _patterns(env: Environment) -> tuple[str, ...]:
    """The names of an environment's deployments; what goes all the way comes with the last one."""
    return (f"*/{env}", f"*/*-{env}", *(["*/all", "*/*-all"] if env == Environment.PROD else []))


def deployed() -> Iterator[Deployment]:
    """The deployments on the server that are tagged `mlops`, by name."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    chosen = DeploymentFilter(tags=DeploymentFilterTags(all_=["mlops"]))
    with connection.client() as client:
        found = list(
            _pages(lambda offset: client.read_deployments(deployment_filter=chosen, limit=PAGE, offset=offset))
        )
        flows = {flow.id: flow.name for flow in client.read_flows(limit=200)}
    for each in sorted(found, key=lambda deployment: (flows[deployment.flow_id], deployment.name)):
        yield Deployment(
            name=f"{flows[each.flow_id]}/{each.name}",
            work_pool=each.work_pool_name or "",
            schedule=", ".join(_words(entry.schedule) for entry in each.schedules),
            active=any(entry.active for entry in each.schedules) and not each.paused,
        )


def _pages(read: "Callable[[int], list[DeploymentResponse]]") -> "Iterator[DeploymentResponse]":
    """All of what a server tells in pages."""
    for offset in count(0, PAGE):
        page = read(offset)
        yield from page
        if len(page) < PAGE:
            return


def _words(schedule: Any) -> str:
    """A schedule as people write it."""
    when = getattr(schedule, "cron", None) or getattr(schedule, "rrule", None) or f"every {schedule.interval}"
    return f"{when.rpartition('RRULE:')[2]} {schedule.timezone}".removesuffix(" None")
