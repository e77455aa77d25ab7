"""Where models and files lie in Unity Catalog: a schema and a volume that are not there are made, with their grants.

What is there already is left as it is, and nothing is ever taken away: they hold data. So they are no resources of the
bundle: Databricks' own command would delete them with it, and cannot make the volume that its wheel goes to.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from lifecycle.bundle.definition import Bundle

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

Kind = Literal["schema", "volume"]
GRANTS: dict[Kind, tuple[str, ...]] = {
    "schema": ("USE_SCHEMA", "CREATE_MODEL", "EXECUTE"),
    "volume": ("READ_VOLUME", "WRITE_VOLUME"),
}
"""What the principal that the jobs run as gets on what is made for it."""


class Place(NamedTuple):
    """A schema or a volume, and whether it was made."""

    kind: Kind
    name: str
    outcome: Literal["created", "unchanged"]
    detail: str = ""


def make(workspace: "WorkspaceClient", bundle: Bundle, *, dry_run: bool) -> list[Place]:
    """Make the schema and the volume of a bundle where they are missing; in a dry run only say so."""
    from databricks.sdk.service.catalog import VolumeType

    catalog, schema, volume = Path(bundle.artifact_path).parts[2:5]
    within = f"{catalog}.{schema}"
    found = [
        _place("schema", within, lambda: workspace.schemas.get(within)),
        _place("volume", f"{within}.{volume}", lambda: workspace.volumes.read(f"{within}.{volume}")),
    ]
    if dry_run:
        return found
    for kind, name, outcome, _ in found:
        if outcome == "unchanged":
            continue
        if kind == "schema":
            workspace.schemas.create(schema, catalog)
        else:
            workspace.volumes.create(catalog, schema, volume, VolumeType.MANAGED)
        if bundle.principal:
            _grant(workspace, kind, name, bundle.principal)
    return found


def _place(kind: Kind, name: str, look: Callable[[], object]) -> Place:
    from databricks.sdk.errors import NotFound

    try:
        look()
    except NotFound:
        return Place(kind, name, "created", "with the grants of the principal that the jobs run as")
    return Place(kind, name, "unchanged")


def _grant(workspace: "WorkspaceClient", kind: Kind, name: str, principal: str) -> None:
    from databricks.sdk.service.catalog import PermissionsChange, Privilege

    privileges: Sequence[Privilege] = [Privilege(each) for each in GRANTS[kind]]
    workspace.grants.update(kind, name, changes=[PermissionsChange(add=[*privileges], principal=principal)])
