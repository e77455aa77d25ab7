"""What the service takes as the settings of a job or of a one-time run, and what it refuses."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from databricks.sdk.service import jobs as sdk

from databricks_emulator.errors import refusal
from databricks_emulator.jobs_runs import TASK_TYPES

MOST_TASKS = 1000
MOST_TAGS = 25
MOST_NAME_BYTES = 4096
MOST_PARAMETER_BYTES = 10_000
MOST_TOKEN = 64
KEY = re.compile(r"[\w-]{1,100}")
COMPUTE = ("existing_cluster_id", "new_cluster", "job_cluster_key")
ALL_TASK_TYPES = {name for name in sdk.Task.__dataclass_fields__ if name.endswith("_task")}
OF_SINGLE_TASK = {*ALL_TASK_TYPES, "existing_cluster_id", "new_cluster", "libraries", "max_retries"}
OF_SINGLE_TASK |= {"min_retry_interval_millis", "retry_on_timeout"}
LEGACY_PARAMETERS = ("notebook_params", "python_params", "python_named_params", "jar_params", "spark_submit_params")


def without_nulls(value: Any) -> Any:
    """A request without what is null, which says nothing: one client writes out all that it leaves open."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def of_job(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a job as the service keeps them: checked, without unknown fields, with its own defaults."""
    settings = _known(sdk.JobSettings, given)
    settings = {"name": "Untitled", "max_concurrent_runs": 1, **_common(settings), "format": "MULTI_TASK"}
    _check_job(settings)
    return settings


def of_one_time_run(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of a one-time run."""
    fields = {**given, "tasks": [_known(sdk.SubmitTask, task) for task in _list(given, "tasks")]}
    settings = _common(_known(sdk.JobSettings, fields)) | {"name": given.get("run_name", "Untitled")}
    if not settings.get("tasks"):
        raise refusal("INVALID_PARAMETER_VALUE", "One of job_cluster_key, new_cluster or tasks must be specified.")
    _check_job(settings)
    return settings


def as_tasks(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of the API's release 2.0, which knows one task without a key, in the form of later ones."""
    single = {name: given[name] for name in OF_SINGLE_TASK & given.keys()}
    if "tasks" in given or not ALL_TASK_TYPES & single.keys():
        return given
    rest = {name: value for name, value in given.items() if name not in single}
    return rest | {"tasks": [{"task_key": "main", **single}]}


def remove(settings: dict[str, Any], name: str) -> None:
    """Remove a setting, or with `tasks/KEY` one entry of a list."""
    field, _, key = name.partition("/")
    if not key:
        settings.pop(field, None)
        return
    settings[field] = [entry for entry in settings.get(field, []) if key not in entry.values()]


def parameters_of(settings: dict[str, Any], given: dict[str, str]) -> dict[str, dict[str, str]]:
    """The parameters of a run: the defaults of the job and the values that were given."""
    if not all(isinstance(value, str) for value in given.values()):
        raise refusal("MALFORMED_REQUEST", "The values of job_parameters must be strings.")
    _check_size("job_parameters", given)
    defaults = {entry["name"]: {"name": entry["name"], "default": entry["default"]} for entry in _parameters(settings)}
    overridden = {name: {**defaults.get(name, {"name": name}), "value": value} for name, value in given.items()}
    return defaults | overridden


def overrides_of(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters for tasks that a caller of before job parameters gives."""
    found = {name: given[name] for name in LEGACY_PARAMETERS if name in given}
    for name, value in found.items():
        _check_size(name, value)
    if "notebook_params" in found and "jar_params" in found:
        raise refusal("INVALID_PARAMETER_VALUE", "notebook_params and jar_params cannot be specified together.")
    if not json.dumps(found.get("python_params", []), ensure_ascii=False).isascii():
        raise refusal("INVALID_PARAMETER_VALUE", "python_params accepts ASCII characters only.")
    return found


def selected(tasks: list[dict[str, Any]], only: list[str] | None) -> list[dict[str, Any]]:
    """The tasks of a run: all, or those that `only` names; `+` before or after a key adds what is up or downstream."""
    if only is None:
        return tasks
    before = {task["task_key"]: set(_upstream(task)) for task in tasks}
    after = {key: {other for other, needed in before.items() if key in needed} for key in before}
    chosen: set[str] = set()
    for word in only:
        key = word.strip("+")
        if key not in before:
            raise refusal("INVALID_PARAMETER_VALUE", f"Task '{key}' does not exist.")
        chosen |= {key} | (_closure(key, before) if word.startswith("+") else set())
        chosen |= _closure(key, after) if word.endswith("+") else set()
    return [task for task in tasks if task["task_key"] in chosen]


def downstream(tasks: list[dict[str, Any]], keys: Iterable[str]) -> set[str]:
    """All tasks that depend on some tasks, however far."""
    after = {key: {task["task_key"] for task in tasks if key in _upstream(task)} for key in _keys(tasks, "task_key")}
    return set().union(*(_closure(key, after) for key in keys))


def _closure(key: str, next_to: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [key]
    while waiting:
        fresh = next_to[waiting.pop()] - found
        found |= fresh
        waiting += fresh
    return found


def _known(kind: type, given: dict[str, Any]) -> dict[str, Any]:
    """The fields that the service knows; a value that is no member of its enumeration is refused."""
    try:
        known: dict[str, Any] = kind.from_dict(given).as_dict()
    except (AttributeError, TypeError, ValueError) as error:
        raise refusal("MALFORMED_REQUEST", f"Could not parse request object: {error}") from error
    _check_enums(kind, given)
    return known


def _check_enums(kind: type, given: dict[str, Any]) -> None:
    """Refuse what the SDK's classes would let vanish: the value of an enumeration that is no member of it."""
    parsed = kind.from_dict(given)
    for name, value in given.items():
        found = getattr(parsed, name, None)
        if name in parsed.__dataclass_fields__ and found is None and isinstance(value, str):
            raise refusal("MALFORMED_REQUEST", f"Could not parse request object: '{value}' is no valid {name}.")
        for inner, mine in _pairs(found, value):
            _check_enums(type(inner), mine)


def _pairs(found: Any, given: Any) -> Iterable[tuple[Any, Any]]:
    """The parsed objects within a field, each with what it was parsed from."""
    if hasattr(found, "__dataclass_fields__"):
        return [(found, given)]
    if isinstance(found, list) and isinstance(given, list):
        return [pair for pair in zip(found, given, strict=True) if hasattr(pair[0], "__dataclass_fields__")]
    return []


def _common(settings: dict[str, Any]) -> dict[str, Any]:
    """What the service adds to the settings of jobs and one-time runs."""
    filled = {"email_notifications": {}, "timeout_seconds": 0, **settings}
    if tasks := settings.get("tasks"):
        defaults = {"run_if": "ALL_SUCCESS", "timeout_seconds": 0, "email_notifications": {}}
        filled["tasks"] = [{**defaults, **task} for task in tasks]
    return filled


def _check_job(settings: dict[str, Any]) -> None:
    tasks = settings.get("tasks", [])
    if len(settings["name"].encode()) > MOST_NAME_BYTES:
        raise refusal("INVALID_PARAMETER_VALUE", f"The name of a job has at most {MOST_NAME_BYTES} bytes.")
    if len(settings.get("tags", {})) > MOST_TAGS:
        raise refusal("INVALID_PARAMETER_VALUE", f"A job has at most {MOST_TAGS} tags.")
    if not 0 <= int(settings.get("max_concurrent_runs", 1)) <= 1000:
        raise refusal("INVALID_PARAMETER_VALUE", "max_concurrent_runs must be between 0 and 1000.")
    if len(tasks) > MOST_TASKS:
        raise refusal("INVALID_PARAMETER_VALUE", f"A job has at most {MOST_TASKS} tasks.")
    for field, key in (
        ("tasks", "task_key"),
        ("environments", "environment_key"),
        ("job_clusters", "job_cluster_key"),
        ("parameters", "name"),
    ):
        _check_unique(field, _keys(settings.get(field, []), key))
    for task in tasks:
        _check_task(task, settings)
    _check_order(tasks)


def _check_unique(field: str, keys: list[str]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise refusal("INVALID_PARAMETER_VALUE", f"Duplicate keys in {field}: {', '.join(twice)}.")
    if bad := [key for key in keys if not KEY.fullmatch(key or "")] if field == "tasks" else []:
        raise refusal("INVALID_PARAMETER_VALUE", f"The task key {bad[0]!r} is invalid.")


def _check_task(task: dict[str, Any], settings: dict[str, Any]) -> None:
    key, kinds = task["task_key"], ALL_TASK_TYPES & task.keys()
    if len(kinds) != 1:
        raise refusal("INVALID_PARAMETER_VALUE", f"Task {key} must have exactly one type, it has {len(kinds)}.")
    if not kinds & set(TASK_TYPES):
        raise refusal("NOT_IMPLEMENTED", f"Task {key}: a {kinds.pop()} is not emulated.")
    compute = [name for name in COMPUTE if name in task]
    if len(compute) > 1:
        raise refusal("INVALID_PARAMETER_VALUE", f"Task {key} has more than one of {', '.join(compute)}.")
    _check_reference(key, "job_cluster_key", task, settings.get("job_clusters", []))
    _check_reference(key, "environment_key", task, settings.get("environments", []))
    if not compute and "environment_key" not in task and "notebook_task" not in task:
        raise refusal("INVALID_PARAMETER_VALUE", f"An environment is required for serverless task {key}.")
    if not compute and task.get("libraries"):
        raise refusal("INVALID_PARAMETER_VALUE", f"Libraries field is not supported for serverless task {key}.")
    _check_type(task)


def _check_type(task: dict[str, Any]) -> None:
    """The rules of each type of task."""
    key = task["task_key"]
    wheel, notebook = task.get("python_wheel_task", {}), task.get("notebook_task", {})
    if "parameters" in wheel and "named_parameters" in wheel:
        raise refusal("INVALID_PARAMETER_VALUE", f"Task {key}: only one of parameters and named_parameters is allowed.")
    if wheel and not (wheel.get("package_name") and wheel.get("entry_point")):
        raise refusal("INVALID_PARAMETER_VALUE", f"Task {key}: package_name and entry_point are required.")
    path = notebook.get("notebook_path", task.get("spark_python_task", {}).get("python_file", "/"))
    source = task[next(kind for kind in TASK_TYPES if kind in task)].get("source", "WORKSPACE")
    if source == "WORKSPACE" and notebook and not path.startswith("/"):
        raise refusal("INVALID_PARAMETER_VALUE", f"Task {key}: only absolute paths are supported, not {path}.")
    for name in ("base_parameters", "named_parameters"):
        values = {**notebook.get(name, {}), **wheel.get(name, {})}.values()
        if not all(isinstance(value, str) for value in values):
            raise refusal("MALFORMED_REQUEST", f"Task {key}: the values of {name} must be strings.")


def _check_reference(key: str, name: str, task: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    if name in task and task[name] not in _keys(entries, name):
        raise refusal("INVALID_PARAMETER_VALUE", f"Task {key}: the {name} '{task[name]}' is not defined.")


def _check_order(tasks: list[dict[str, Any]]) -> None:
    """Refuse tasks that wait for what is not there, or for each other."""
    before = {task["task_key"]: set(_upstream(task)) for task in tasks}
    for key, needed in before.items():
        if unknown := needed - before.keys():
            raise refusal("INVALID_PARAMETER_VALUE", f"Task {key} depends on unknown task {sorted(unknown)[0]}.")
    for key in before:
        if key in _closure(key, before):
            raise refusal("INVALID_PARAMETER_VALUE", f"The tasks of a job must not form a cycle: {key}.")


def _check_size(name: str, value: Any) -> None:
    if len(json.dumps({name: value}).encode()) > MOST_PARAMETER_BYTES:
        raise refusal("INVALID_PARAMETER_VALUE", f"{name} exceeds the limit of {MOST_PARAMETER_BYTES} bytes.")


def _parameters(settings: dict[str, Any]) -> list[dict[str, str]]:
    return list(settings.get("parameters", []))


def _upstream(task: dict[str, Any]) -> list[str]:
    return _keys(task.get("depends_on", []), "task_key")


def _keys(entries: list[dict[str, Any]], key: str) -> list[str]:
    return [entry[key] for entry in entries]


def _list(given: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = given.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise refusal("MALFORMED_REQUEST", f"Could not parse request object: {name} is no list of objects.")
    return found
