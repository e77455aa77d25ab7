"""Bring a bundle to a workspace: the wheel to its volume, the notebooks to the workspace tree, the jobs by exact name.

Everything is found by name or by content, so the same deployment again changes nothing. Jobs come last: none of them
ever names a wheel that is not there.
"""

import base64
import copy
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lifecycle.bundle import places, requirements
from lifecycle.bundle.definition import DEPLOYER, Bundle, Permission
from lifecycle.core.errors import ConfigError, ConflictError
from lifecycle.core.frozen import Frozen
from lifecycle.databricks import jobs
from lifecycle.databricks.client import answers, client
from lifecycle.storage import volumes
from lifecycle.storage.files import sha256_of
from mlops_lifecycle import start

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.jobs import JobSettings

LATEST = "latest"
"""The folder of the wheel of the last deployment, for one-time runs; jobs name theirs by its content."""

OF_A_JOB = {"CAN_VIEW": "CAN_VIEW", "CAN_RUN": "CAN_MANAGE_RUN", "CAN_MANAGE": "CAN_MANAGE"}
"""What a bundle's permission is called at a job."""

NOT_SETTINGS = ("permissions", "lifecycle")
"""What a bundle says of a job that the Jobs API does not take as its settings."""

WITHOUT_MODELS = {"create-data"}
"""The steps that load no model, and so need none of its packages."""

SETTINGS_TAG = "settings"
"""A tag with the digest of all settings: it tells one that was taken out of the bundle, which no comparison shows."""

Outcome = Literal["created", "updated", "unchanged"]


class Item(Frozen):
    """What a deployment did to one thing, or in a dry run would do."""

    kind: Literal["schema", "volume", "wheel", "notebook", "job"]
    name: str
    outcome: Outcome
    detail: str = ""


def build_wheel(root: Path, folder: Path) -> Path:
    """Build the wheel of a checkout; the same files give the same bytes.

    Raises:
        ConfigError: It cannot be built here.
    """
    command = start.command("hatchling", "build", "-t", "wheel", "-d", str(folder))
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode or not (wheels := list(folder.glob("*.whl"))):
        what = f"The wheel cannot be built: {done.stderr.strip()[-300:]}."
        raise ConfigError(what, "Install its builder (pip install hatchling), or name a wheel: --wheel FILE")
    return wheels[0]


def deploy(bundle: Bundle, wheel: Path, root: Path, *, dry_run: bool = False) -> list[Item]:
    """Make a workspace hold what the bundle in a folder says, and what its models need. It takes nothing away.

    Raises:
        ConfigError: The workspace refuses, or the volume is not there.
        ConflictError: There are several jobs of one name.
        TransientError: The workspace does not answer.
    """
    workspace = client()
    with answers("What the deployment needs"):
        made = [Item(**each._asdict()) for each in places.make(workspace, bundle, dry_run=dry_run)]
        place, item = _bring_wheel(bundle, wheel, dry_run)
        folder = _folder(workspace, bundle)
        sources = sorted((root / "notebooks").glob("*.py"))
        needed = requirements.of_models(wheel, root / "constraints.txt")
        wanted = [settings_of(job, place, needed) for job in bundle.jobs.values()]
        return [
            *made,
            item,
            *(_bring_notebook(workspace, source, f"{folder}/{source.stem}", dry_run) for source in sources),
            *(_bring_job(workspace, job, bundle.permissions, dry_run) for job in wanted),
        ]


def _folder(workspace: "WorkspaceClient", bundle: Bundle) -> str:
    """Where the notebooks go."""
    path = f"{bundle.file_path}/notebooks"
    return path.replace(DEPLOYER, str(workspace.current_user.me().user_name)) if DEPLOYER in path else path


def _bring_wheel(bundle: Bundle, wheel: Path, dry_run: bool) -> tuple[Path, Item]:
    folder = bundle.wheels
    place = folder / sha256_of(wheel)[:16] / wheel.name
    outcome: Outcome = "unchanged" if volumes.exists(place) else "created"
    if not dry_run:
        volumes.bring(wheel, folder)
        volumes.upload(wheel, folder / LATEST / wheel.name)
    return place, Item(kind="wheel", name=wheel.name, outcome=outcome, detail=str(place))


def _bring_notebook(workspace: "WorkspaceClient", source: Path, path: str, dry_run: bool) -> Item:
    from databricks.sdk.service.workspace import ImportFormat, Language

    wanted, found = source.read_text(encoding="utf-8"), _exported(workspace, path)
    outcome: Outcome = "created" if found is None else "updated" if found.strip() != wanted.strip() else "unchanged"
    if outcome != "unchanged" and not dry_run:
        workspace.workspace.mkdirs(path.rpartition("/")[0])
        content = base64.b64encode(wanted.encode()).decode()
        workspace.workspace.import_(
            path, content=content, format=ImportFormat.SOURCE, language=Language.PYTHON, overwrite=True
        )
    return Item(kind="notebook", name=source.stem, outcome=outcome, detail=path)


def _exported(workspace: "WorkspaceClient", path: str) -> str | None:
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.workspace import ExportFormat

    try:
        found = workspace.workspace.export(path, format=ExportFormat.SOURCE)
    except NotFound:
        return None
    return base64.b64decode(found.content or "").decode()


def settings_of(job: dict[str, Any], wheel: Path, needed: Sequence[str] = ()) -> "JobSettings":
    """What the Jobs API is told: the wheel by its place on the volume, what models need, a digest of all of it."""
    from databricks.sdk.service.jobs import JobSettings

    settings = {key: copy.deepcopy(value) for key, value in job.items() if key not in NOT_SETTINGS}
    more = [] if _steps(settings) <= WITHOUT_MODELS else needed
    for environment in settings.get("environments", []):
        dependencies = environment["spec"].get("dependencies", [])
        environment["spec"]["dependencies"] = [
            *(str(wheel) if _is_wheel(each) else each for each in dependencies),
            *more,
        ]
    for libraries in (task["libraries"] for task in settings["tasks"] if "libraries" in task):
        for library in libraries:
            if _is_wheel(library.get("whl", "")):
                library["whl"] = str(wheel)
        libraries += [{"pypi": {"package": each}} for each in more]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    settings["tags"] = {**settings.get("tags", {}), SETTINGS_TAG: digest[:16]}
    return JobSettings.from_dict(settings)


def _steps(settings: dict[str, Any]) -> set[str]:
    """The steps that the tasks of a job run."""
    return {each["python_wheel_task"]["parameters"][0] for each in settings["tasks"] if "python_wheel_task" in each}


def _is_wheel(dependency: str) -> bool:
    return dependency.endswith(".whl") and not dependency.startswith("/")


def _bring_job(
    workspace: "WorkspaceClient", wanted: "JobSettings", permissions: tuple[Permission, ...], dry_run: bool
) -> Item:
    name = str(wanted.name)
    found = jobs.ids(workspace, name)
    if len(found) > 1:
        what = f"There are {len(found)} jobs named {name}: {', '.join(map(str, found))}."
        raise ConflictError(what, "Nobody could tell which one Prefect starts: delete all but one.")
    outcome: Outcome = "created"
    if found:
        present = workspace.jobs.get(found[0]).settings
        outcome = "unchanged" if present and _holds(present.as_dict(), wanted.as_dict()) else "updated"
    if dry_run:
        return Item(kind="job", name=name, outcome=outcome, detail=f"job {found[0]}" if found else "")
    job_id = found[0] if found else _create(workspace, wanted)
    if outcome == "updated":
        workspace.jobs.reset(job_id, wanted)
    _allow(workspace, job_id, permissions)
    return Item(kind="job", name=name, outcome=outcome, detail=f"job {job_id}")


def _create(workspace: "WorkspaceClient", wanted: "JobSettings") -> int:
    """Create a job once: the client repeats a call whose reply is lost, and what is then there twice goes again."""
    workspace.jobs.create(**vars(wanted))
    first, *others = jobs.ids(workspace, str(wanted.name))
    for job_id in others:
        workspace.jobs.delete(job_id)
    return first


def _holds(present: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; the service adds defaults of its own."""
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(_holds(present.get(key), each) for key, each in wanted.items())
    if isinstance(wanted, list):
        same_length = isinstance(present, list) and len(present) == len(wanted)
        return same_length and all(map(_holds, present, wanted))
    return bool(present == wanted)


def _allow(workspace: "WorkspaceClient", job_id: int, permissions: tuple[Permission, ...]) -> None:
    """Grant what the bundle says; what somebody else granted stays."""
    from databricks.sdk.service.jobs import JobAccessControlRequest

    granted = [
        JobAccessControlRequest.from_dict(
            each.model_dump(exclude={"level"}, exclude_none=True) | {"permission_level": OF_A_JOB[each.level]}
        )
        for each in permissions
    ]
    if granted:
        workspace.jobs.update_permissions(str(job_id), access_control_list=granted)
