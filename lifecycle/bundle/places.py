"""Where models and files lie in Unity Catalog: a schema and a volume that are not there are made, with their grants.

What is there already is left as it is, and nothing is ever taken away: they hold data.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from lifecycle.bundle.definition import Bundle, Place

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


class Made(NamedTuple):
    """A schema or a volume, and whether it was made."""

    kind: Literal["schema", "volume"]
    name: str
    outcome: Literal["created", "unchanged"]
    detail: str = ""


def make(workspace: "WorkspaceClient", bundle: Bundle, *, dry_run: bool) -> list[Made]:
    """Make the schema and the volume of a bundle where they are missing; in a dry run only say so."""
    missing = [place for place in bundle.places if not _is_there(workspace, place)]
    if not dry_run:
        for place in missing:
            _create(workspace, place)
    return [_made(place, place in missing) for place in bundle.places]


def _made(place: Place, missing: bool) -> Made:
    detail = f"with grants for {', '.join(grant.principal for grant in place.grants)}" if place.grants else ""
    return Made(place.kind, place.name, "created", detail) if missing else Made(place.kind, place.name, "unchanged")


def _is_there(workspace: "WorkspaceClient", place: Place) -> bool:
    from databricks.sdk.errors import NotFound

    look: Callable[[str], object] = workspace.schemas.get if place.kind == "schema" else workspace.volumes.read
    try:
        look(place.name)
    except NotFound:
        return False
    return True


def _create(workspace: "WorkspaceClient", place: Place) -> None:
    from databricks.sdk.service.catalog import PermissionsChange, Privilege, VolumeType

    catalog, schema, *volume = place.name.split(".")
    if volume:
        workspace.volumes.create(catalog, schema, volume[0], VolumeType.MANAGED)
    else:
        workspace.schemas.create(schema, catalog)
    changes = [
        PermissionsChange(add=[*map(Privilege, each.privileges)], principal=each.principal) for each in place.grants
    ]
    if changes:
        workspace.grants.update(place.kind, place.name, changes=changes)
