"""Read the bundle for one target: every `${…}` resolved, every job checked.

It reads what Databricks' own command reads, as far as this project uses it; what it does not know it refuses, because a
job that lacks something silently is worse than none.
"""

import os
import re
from collections.abc import Iterator, Mapping, Set
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen

BUNDLE = "databricks.yml"
ENV_PREFIX = "BUNDLE_VAR_"
REFERENCE = re.compile(r"(?<!\$)\$\{([^{}]+)\}")
DEPLOYER = "<who deploys>"
"""In a path: whoever deploys, whom only the workspace knows."""
CLUSTERS = "var.clusters"
"""The variable that leaves out the jobs on classic clusters."""
SECTIONS = {"bundle", "include", "artifacts", "sync", "variables", "workspace", "targets"}
OF_A_TARGET = {"default", "mode", "variables", "workspace", "run_as", "permissions", "resources"}
PLACES: dict[str, Literal["schema", "volume"]] = {"schemas": "schema", "volumes": "volume"}
"""What a bundle says of Unity Catalog, in the order in which it is made."""


class Permission(Frozen):
    """Who may do what with the jobs, in the words of a bundle."""

    level: Literal["CAN_VIEW", "CAN_RUN", "CAN_MANAGE"]
    user_name: str | None = None
    group_name: str | None = None
    service_principal_name: str | None = None


class Grant(Frozen):
    """What somebody may do, in the words of a bundle."""

    principal: str
    privileges: tuple[str, ...]


class Place(Frozen):
    """A schema or a volume by its full name, and what is granted on it once it is made."""

    kind: Literal["schema", "volume"]
    name: str
    grants: tuple[Grant, ...] = ()


class Bundle(Frozen):
    """One target of the bundle. The wheel is still named by its place on this machine: `../dist/*.whl`."""

    target: str
    jobs: dict[str, dict[str, Any]]
    permissions: tuple[Permission, ...]
    file_path: str
    """It may hold `DEPLOYER`."""
    places: tuple[Place, ...]

    @property
    def wheels(self) -> Path:
        """The folder of the wheels, on the volume."""
        (volume,) = (place for place in self.places if place.kind == "volume")
        return Path("/Volumes", *volume.name.split("."), "wheels")


def read(root: Path, target: str | None = None, variables: Mapping[str, str] | None = None) -> Bundle:
    """Read the bundle in a folder for a target, by default the one that says so.

    Variables: those given > `BUNDLE_VAR_<name>` > the target's > the default.

    Raises:
        ConfigError: A file, a target or a variable is missing, or says what this does not understand.
    """
    if not find_spec("databricks") or not find_spec("databricks.bundles"):
        what = "Databricks' bundle schema is not installed."
        raise ConfigError(what, "Install it: pip install 'mlops-lifecycle[databricks]'")
    content = _yaml(root / BUNDLE)
    _refuse_unknown(BUNDLE, content, SECTIONS)
    name, chosen = _target(content.get("targets") or {}, target)
    known = _known(content, name, chosen, variables or {})
    declared = _resources(root, content.get("include") or [], chosen.get("resources") or {})
    clusters = _has_clusters(known)
    wanted = {key: job for key, job in declared["jobs"].items() if clusters or "job_clusters" not in job}
    jobs = {key: _with_identity(job, chosen) for key, job in wanted.items()}
    found = Bundle(
        target=name,
        jobs={key: _without_empty(job) for key, job in _resolved(jobs, known).items()},
        permissions=_resolved(chosen.get("permissions") or [], known),
        file_path=_resolved("${workspace.file_path}", known),
        places=tuple(_places(_resolved({kind: declared[kind] for kind in PLACES}, known))),
    )
    if [place.kind for place in found.places] != ["schema", "volume"]:
        raise ConfigError("The bundle needs one schema and one volume.", "Correct resources/places.yml.")
    for key, job in found.jobs.items():
        _check(key, job)
    return found


def _target(targets: Mapping[str, Any], wanted: str | None) -> tuple[str, dict[str, Any]]:
    name = wanted or next((key for key, value in targets.items() if (value or {}).get("default")), "")
    if name not in targets:
        raise ConfigError(f"{BUNDLE} has no target {name!r}; it has: {', '.join(targets)}.", "Name one: --target dev")
    chosen = dict(targets[name] or {})
    _refuse_unknown(f"target {name}", chosen, OF_A_TARGET)
    if chosen.get("mode") == "development":
        what = f"Target {name} is in development mode, in which the jobs have other names than Prefect looks for."
        raise ConfigError(what, "Leave `mode` out, or deploy it with Databricks' own command.")
    return name, chosen


def _known(
    content: Mapping[str, Any], target: str, chosen: Mapping[str, Any], given: Mapping[str, str]
) -> dict[str, Any]:
    """What a reference may name, with its value as it stands in the files."""
    declared, own = content.get("variables") or {}, chosen.get("variables") or {}
    if undeclared := (given.keys() | own.keys()) - declared.keys():
        raise ConfigError(f"{BUNDLE} declares no variable {', '.join(sorted(undeclared))}.", "Correct its name.")
    layers = (
        {name: each["default"] for name, each in declared.items() if "default" in each},
        own,
        {name: os.environ[ENV_PREFIX + name] for name in declared if ENV_PREFIX + name in os.environ},
        given,
    )
    workspace = {**(content.get("workspace") or {}), **(chosen.get("workspace") or {})}
    return {
        "bundle.name": content["bundle"]["name"],
        "bundle.target": target,
        "workspace.file_path": "${workspace.root_path}/files",
        "workspace.current_user.userName": DEPLOYER,
        **{f"workspace.{name}": value for name, value in workspace.items()},
        **{f"var.{name}": value for layer in layers for name, value in layer.items()},
    }


def _resources(root: Path, includes: list[str], own: dict[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the included files declare, by kind and key, with what a target says of schemas and volumes besides."""
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in ("jobs", *PLACES)}
    for path in (path for pattern in includes for path in sorted(root.glob(pattern))):
        content = _yaml(path)
        _refuse_unknown(path.name, content, {"resources"})
        _refuse_unknown(f"resources of {path.name}", content["resources"], found.keys())
        for kind, declared in content["resources"].items():
            found[kind] |= declared
    _refuse_unknown("resources of a target", own, PLACES.keys())
    for kind, declared in own.items():
        _refuse_unknown(f"{kind} of a target", declared, found[kind].keys())
        found[kind] |= {key: {**found[kind][key], **more} for key, more in declared.items()}
    return found


def _places(declared: dict[str, dict[str, dict[str, Any]]]) -> Iterator[Place]:
    """Schemas and volumes, checked against Databricks' own schema."""
    from databricks.bundles.schemas import Schema
    from databricks.bundles.volumes import Volume

    for kind, noun in PLACES.items():
        for key, place in declared[kind].items():
            try:
                (Schema if noun == "schema" else Volume).from_dict(place)  # type: ignore[arg-type]
            except (ValueError, TypeError) as error:
                what = f"The {noun} {key} is none: {error}."
                raise ConfigError(what, "Correct its file in resources/.") from None
            levels = (place.get(level) for level in ("catalog_name", "schema_name", "name"))
            yield Place(kind=noun, name=".".join(filter(None, levels)), grants=place.get("grants", ()))


def _without_empty(job: dict[str, Any]) -> dict[str, Any]:
    """A job without the fields whose variables hold nothing."""
    return {name: value for name, value in job.items() if value not in ("", {}, None)}


def _has_clusters(known: Mapping[str, Any]) -> bool:
    """Whether the workspace has classic compute, by the variable of that name."""
    given = str(_resolved(known.get(CLUSTERS, "true"), known)).lower()
    if given not in {"true", "false"}:
        raise ConfigError(f"The variable clusters is {given!r}.", "Write --var clusters=true or false.")
    return given == "true"


def _with_identity(job: dict[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    return {"run_as": target["run_as"], **job} if "run_as" in target else job


def _resolved(value: Any, known: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(each, known, within) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, known, within) for each in value]
    if not isinstance(value, str):
        return value
    if whole := REFERENCE.fullmatch(value):
        return _looked_up(whole[1], known, within)
    return REFERENCE.sub(lambda found: str(_looked_up(found[1], known, within)), value)


def _looked_up(name: str, known: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    if name in within:
        raise ConfigError(f"${{{name}}} in {BUNDLE} refers to itself.", "Correct it.")
    if name not in known:
        variable = name.removeprefix("var.")
        fix = f"Give it: --var {variable}=…, or {ENV_PREFIX}{variable}." if name != variable else "Correct it."
        raise ConfigError(f"${{{name}}} has no value.", fix)
    return _resolved(known[name], known, (*within, name))


def _check(key: str, job: dict[str, Any]) -> None:
    """Check a job against Databricks' own schema, and what that leaves open: that its keys lead somewhere."""
    from databricks.bundles.jobs import Job

    try:
        Job.from_dict(job)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"Job {key} is no job: {error}.", "Correct its file in resources/.") from None
    tasks = job.get("tasks", [])
    known = {
        "environment_key": {each["environment_key"] for each in job.get("environments", [])},
        "job_cluster_key": {each["job_cluster_key"] for each in job.get("job_clusters", [])},
    }
    for task in tasks:
        for field, names in known.items():
            if field in task and task[field] not in names:
                raise ConfigError(f"Job {key}: {field} {task[field]!r} is not in the job.", "Correct its file.")
        before = {each["task_key"] for each in task.get("depends_on", [])}
        if missing := before - {each["task_key"] for each in tasks}:
            raise ConfigError(f"Job {key} has no task {', '.join(sorted(missing))} to wait for.", "Correct its file.")


def _refuse_unknown(where: str, content: Mapping[str, Any], known: Set[str]) -> None:
    if unknown := content.keys() - known:
        what = f"{where} has {', '.join(sorted(unknown))}, which this command does not understand."
        raise ConfigError(what, "Deploy it with Databricks' own command: databricks bundle deploy")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error!s:.300}.", "Run this in the project's folder.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping.", "Correct the file.")
    return content
