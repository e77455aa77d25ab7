"""Jobs of the workspace by their exact names, which are all that the settings say of them."""

from typing import TYPE_CHECKING

from lifecycle.core.errors import ConflictError, NotFoundError
from lifecycle.databricks.client import answers, client

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


def ids(workspace: "WorkspaceClient", name: str) -> list[int]:
    """The ids of the jobs of exactly this name; the service itself ignores the case."""
    found = workspace.jobs.list(name=name)
    return sorted(job.job_id for job in found if job.job_id and job.settings and job.settings.name == name)


def only(name: str, uri: str = "databricks") -> int:
    """The id of the one job of a name.

    Raises:
        ConflictError: There are several.
        NotFoundError: There is none.
    """
    with answers(f"The job {name}"):
        found = ids(client(uri), name)
    if not found:
        raise NotFoundError(f"The workspace has no job named {name}.", "Deploy it: mlops databricks deploy --target …")
    if len(found) > 1:
        what = f"There are {len(found)} jobs named {name}: {', '.join(map(str, found))}."
        raise ConflictError(what, "Nobody could tell which one is meant: delete all but one.")
    return found[0]
