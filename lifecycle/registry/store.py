"""MLflow's registry as this project sees it: the same answers from sqlite, from a server and from Unity Catalog.

What an embedded database holds is read from its tables (`tracking.tables`); MLflow's client writes, and reads the rest.

Asks only what all three can do: search by name alone, one page after the other; everything else is filtered, sorted and
folded here. Unity Catalog's search returns neither tags nor aliases, so each of its versions is read on its own. Its
names of our tags are translated here (`tag_names`).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lifecycle.core.errors import ConflictError, IntegrityError, NotFoundError, TransientError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import options_of
from lifecycle.databricks import credentials
from lifecycle.registry import tag_names
from lifecycle.settings import Settings
from lifecycle.tracking import tables
from lifecycle.tracking.client import client, is_missing, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PAGE = 100
READERS = 8
"""Connections that read versions at once where a search does not return their tags."""
READY_SECONDS = 300.0
READY, PENDING, FAILED = "READY", "PENDING_REGISTRATION", "FAILED_REGISTRATION"


class Target(Frozen):
    """One registered model of one environment.

    `registry_uri` is empty where the registry is the tracking server's own; `allow_pickle` says whether this
    environment loads models that were stored as a pickle, `trusted_modules` and `trusted_models` whose code it runs.
    """

    tracking_uri: str
    name: str
    registry_uri: str = ""
    allow_pickle: bool = False
    trusted_modules: tuple[str, ...] = ()
    trusted_models: tuple[str, ...] = ()
    deployment_job: str = ""
    """Name of the job that Unity Catalog starts for each new version; empty: the models are not linked to one."""

    @property
    def trust(self) -> dict[str, Any]:
        """What this environment says of any model, as its reference holds it."""
        return self.model_dump(include={"allow_pickle", "trusted_modules", "trusted_models"})

    @property
    def in_unity_catalog(self) -> bool:
        """Whether its registry is Unity Catalog, which has rules of its own."""
        return credentials.is_databricks(self.registry_uri or self.tracking_uri)

    @property
    def options(self) -> str:
        """The options by which a command names it."""
        return options_of(self.name)

    def named(self, name: str) -> "Target":
        """Another registered model of the same registry."""
        return self.model_copy(update={"name": name})


class Version(Frozen):
    """One version as the registry holds it; `version` is a number everywhere, `created_at` in milliseconds."""

    version: int
    status: str = READY
    created_at: int = 0
    run_id: str = ""
    source: str = ""
    stage: str = ""
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    deleted: bool = False
    """Whether it is not there any more and this is what is known of it."""
    copy_of: str = ""
    """What MLflow copied it of, tags included; empty if its tags are its own (`binding` tells)."""

    @property
    def ready(self) -> bool:
        """Whether its files are there."""
        return self.status == READY


class RegisteredModel(Frozen):
    """A registered model without its versions; aliases map to version numbers."""

    name: str
    created_at: int
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]


def target_of(config: Settings, model_name: str) -> Target:
    """The registered model of a name in an environment."""
    return Target(
        tracking_uri=config.mlflow_uri,
        registry_uri=config.registry_uri or "",
        name=config.registered_name(model_name),
        allow_pickle=config.allow_pickle,
        trusted_modules=config.trusted_modules,
        trusted_models=config.trusted_models,
        deployment_job=config.databricks.deployment_job or "",
    )


def mlflow_of(target: Target) -> "MlflowClient":
    """The client of a target's tracking and registry server."""
    return client(target.tracking_uri, target.registry_uri)


def versions(target: Target) -> list[Version]:
    """All versions of a model in order of their numbers, paginated to the end; empty if the model does not exist."""
    if embedded := _tables(target):
        return [Version(**row) for row in embedded.versions(target.name)]
    mlflow, wanted = mlflow_of(target), f"name={_quoted(target.name)}"
    with translated():
        found = _pages(lambda token: mlflow.search_model_versions(wanted, max_results=PAGE, page_token=token))
    if any(_without_tags(each) for each in found):
        with ThreadPoolExecutor(READERS) as pool:
            read = [each for each in pool.map(lambda each: find(target, int(each.version)), found) if each]
    else:
        read = [_version(target, each) for each in found]
    return sorted(read, key=lambda each: each.version)


def find(target: Target, number: int) -> Version | None:
    """One version, or None if there is none of that number."""
    if embedded := _tables(target):
        return next((Version(**row) for row in embedded.versions(target.name, number)), None)
    with missing_is_none():
        return _version(target, mlflow_of(target).get_model_version(target.name, str(number)))
    return None


def version(target: Target, number: int) -> Version:
    """One version.

    Raises:
        NotFoundError: There is none of that number.
    """
    if found := find(target, number):
        return found
    raise NotFoundError(f"{target.name} has no version {number}.", f"See: mlops model show {target.options}")


def model(target: Target) -> RegisteredModel | None:
    """The registered model, or None."""
    if embedded := _tables(target):
        row = embedded.model(target.name)
        return RegisteredModel(**row) if row else None
    with missing_is_none():
        found = mlflow_of(target).get_registered_model(target.name)
        return RegisteredModel(
            name=found.name,
            created_at=found.creation_timestamp or 0,
            description=found.description or "",
            tags=_tags(target, found.tags),
            aliases={alias: int(number) for alias, number in sorted(found.aliases.items())},
        )
    return None


def names(tracking_uri: str, registry_uri: str = "") -> list[str]:
    """The names of all registered models, sorted."""
    if embedded := tables.of(registry_uri or tracking_uri):
        return embedded.names()
    mlflow = client(tracking_uri, registry_uri)
    with translated():
        found = _pages(lambda token: mlflow.search_registered_models(max_results=PAGE, page_token=token))
    return sorted(each.name for each in found)


def alias_version(target: Target, alias: str = CHAMPION) -> int | None:
    """The version number behind an alias as MLflow stores it, or None."""
    found = model(target)
    return found.aliases.get(alias) if found else None


def create_model(target: Target, tags: Mapping[str, str] | None = None, description: str = "") -> bool:
    """Make an empty registered model; tells whether it was not there before."""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            mlflow_of(target).create_registered_model(target.name, _stored(target, tags or {}), description or None)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            return False
        raise
    return True


def create_version(target: Target, source: str, run_id: str, tags: Mapping[str, str], description: str = "") -> int:
    """Enter a version with its tags in one transaction and return its number."""
    model_id = source.removeprefix("models:/")
    is_logged_model = source.startswith("models:/m-") and "/" not in model_id
    with translated():
        created = mlflow_of(target).create_model_version(
            name=target.name,
            source=source,
            run_id=run_id or None,
            model_id=model_id if is_logged_model else None,
            tags=_stored(target, tags),
            description=description or None,
            await_creation_for=None,
        )
    return int(created.version)


def await_ready(target: Target, number: int, deadline_seconds: float | None = None) -> None:
    """Wait until the files of a version are in the registry; the deadline is `READY_SECONDS` unless one is given.

    Raises:
        IntegrityError: The registration failed, or the version has vanished.
        TransientError: It is still going on after the deadline.
    """
    start, pause, deadline = time.monotonic(), 0.05, READY_SECONDS if deadline_seconds is None else deadline_seconds
    while True:
        found = find(target, number)
        if found and found.ready:
            return
        if found is None or found.status != PENDING:
            state = found.status if found else "gone"
            raise IntegrityError(
                f"The registration of {target.name} v{number} failed: it is {state}.", "Register again."
            )
        if time.monotonic() - start > deadline:
            what = f"{target.name} v{number} is still {found.status} after {deadline:g} s."
            raise TransientError(what, "Look again: mlops doctor")
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)


def set_alias(target: Target, alias: str, number: int) -> None:
    """Let an alias point to a version."""
    with _first_write():
        mlflow_of(target).set_registered_model_alias(target.name, alias, str(number))


def delete_alias(target: Target, alias: str) -> None:
    """Remove an alias; one that is not there is no error."""
    with missing_is_none():
        mlflow_of(target).delete_registered_model_alias(target.name, alias)


def tag(target: Target, number: int | None, key: str, value: str) -> None:
    """Set a tag of a version, or of the model where the number is None."""
    mlflow, key = mlflow_of(target), tag_names.stored(key) if target.in_unity_catalog else key
    with _first_write():
        if number is None:
            mlflow.set_registered_model_tag(target.name, key, value)
        else:
            mlflow.set_model_version_tag(target.name, str(number), key, value)


def untag(target: Target, number: int | None, key: str) -> None:
    """Remove a tag of a version, or of the model where the number is None."""
    mlflow = mlflow_of(target)
    for name in {key, tag_names.stored(key)} if target.in_unity_catalog else {key}:
        with missing_is_none():
            if number is None:
                mlflow.delete_registered_model_tag(target.name, name)
            else:
                mlflow.delete_model_version_tag(target.name, str(number), name)


def describe(target: Target, number: int | None, text: str) -> None:
    """Set the description of a version, or of the model where the number is None."""
    mlflow = mlflow_of(target)
    with translated():
        if number is None:
            mlflow.update_registered_model(target.name, text)
        else:
            mlflow.update_model_version(target.name, str(number), text)


def storage(target: Target, number: int) -> str:
    """Where the files of a version lie, as the registry says; empty if it does not say."""
    with missing_is_none():
        return str(mlflow_of(target).get_model_version_download_uri(target.name, str(number)) or "")
    return ""


def delete_version(target: Target, number: int) -> None:
    """Delete a version; one that is not there is no error. Only `removal` knows which may go."""
    with missing_is_none():
        mlflow_of(target).delete_model_version(target.name, str(number))


def delete_model(target: Target) -> None:
    """Delete a model with all its versions; one that is not there is no error. Only `removal` knows which may go."""
    with missing_is_none():
        mlflow_of(target).delete_registered_model(target.name)


def rename_model(target: Target, name: str) -> None:
    """Rename a model.

    Raises:
        ConflictError: Another model has the name.
    """
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            mlflow_of(target).rename_registered_model(target.name, name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise
        raise ConflictError(f"There is a model {name} already.", "Choose another name.") from None


@contextmanager
def missing_is_none() -> Iterator[None]:
    """Pass over MLflow's word that something does not exist; the caller then goes on to say `None`."""
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            yield
    except MlflowException as error:
        if not is_missing(error):
            raise


@contextmanager
def _first_write() -> Iterator[None]:
    """Two processes that write an alias or a tag for the first time collide on a UNIQUE constraint: one has written it.

    Of an alias the caller reads again which; of an entry's outcome both write the same.
    """
    from mlflow.exceptions import MlflowException

    try:
        with translated():
            yield
    except MlflowException as error:
        if "unique" not in str(error).lower():
            raise


def _pages(search: Callable[[Any], Any]) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(token)
        found += page
        token = page.token
        if not token:
            return found


def _tables(target: Target) -> tables.Tables | None:
    return tables.of(target.registry_uri or target.tracking_uri)


def _quoted(name: str) -> str:
    """A name in a filter: other people's models may be called `it's`."""
    return f'"{name}"' if "'" in name else f"'{name}'"


def _without_tags(found: Any) -> bool:
    return type(found).__name__ == "ModelVersionSearch"


def _stored(target: Target, tags: Mapping[str, str]) -> dict[str, str]:
    return tag_names.write(tags) if target.in_unity_catalog else dict(tags)


def _tags(target: Target, found: Mapping[str, str]) -> dict[str, str]:
    return tag_names.read(found) if target.in_unity_catalog else dict(found)


def _version(target: Target, found: Any) -> Version:
    return Version(
        version=int(found.version),
        status=found.status,
        created_at=found.creation_timestamp or 0,
        run_id=found.run_id or "",
        source=found.source or "",
        stage=found.current_stage or "",
        description=found.description or "",
        tags=_tags(target, found.tags),
    )
