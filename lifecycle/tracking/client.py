"""MLflow's clients, and the translation of its errors."""

import logging
import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core import secrets
from lifecycle.core.errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    MlopsError,
    TransientError,
    beneath,
    of_the_machine,
)
from lifecycle.core.writer_process import name_the_user
from lifecycle.databricks import credentials, refusals
from lifecycle.storage import embedded, moved_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # else it logs what it raises, as a traceback
SCHEMES = {"sqlite", "http", "https", "postgresql", "mysql", "mssql", *credentials.SCHEMES}
"""What MLflow keeps runs and models in that keeps a promotion log too."""
URIS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
TRAINING_MODE = {"mlflow.experimentKind": "custom_model_development"}
"""So MLflow's UI opens an experiment with runs and metrics, not with traces."""

REFUSED_CODES = {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}
REFUSED_RULES = {
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "CATALOG_DOES_NOT_EXIST",
    "SCHEMA_DOES_NOT_EXIST",
    "NOT_FOUND",
}
"""Codes of a workspace behind which a rule of it may stand; its words say which."""
TRANSIENT_CODES = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR", "RESOURCE_EXHAUSTED"}


def client(tracking_uri: str, registry_uri: str = "") -> "MlflowClient":
    """The client of a tracking server and a registry (default the same); makes an embedded database on first use.

    Sets MLflow's global URIs as well: several of its calls look up `models:/m-…` in the global store, whatever the
    client's own URI is.

    Raises:
        ConfigError: The credentials of a Databricks workspace are missing; it says which.
    """
    found = _client(tracking_uri, registry_uri or tracking_uri)
    import mlflow

    mlflow.set_tracking_uri(secrets.reachable(tracking_uri))
    mlflow.set_registry_uri(secrets.reachable(registry_uri or tracking_uri))
    credentials.use_profile(registry_uri or tracking_uri)
    return found


@contextmanager
def kept_apart() -> Iterator[None]:
    """Leave MLflow's global URIs as they were: the program that called us may log runs elsewhere."""
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service import utils as tracking

    theirs, variables = (tracking._tracking_uri, registry._registry_uri), {name: os.environ.get(name) for name in URIS}
    try:
        yield
    finally:
        tracking.set_tracking_uri(theirs[0])
        registry.set_registry_uri(theirs[1])
        for name, value in variables.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@cache
def _client(tracking_uri: str, registry_uri: str) -> "MlflowClient":
    name_the_user()
    for uri in (tracking_uri, registry_uri):
        _require_known(uri)
        credentials.require_credentials(uri)
    for uri in dict.fromkeys((tracking_uri, registry_uri)):
        credentials.require_answer(uri)
    from mlflow import MlflowClient

    for uri in (tracking_uri, registry_uri):
        prepared(uri)
    with translated():
        try:
            return MlflowClient(secrets.reachable(tracking_uri), secrets.reachable(registry_uri))
        except (ImportError, ValueError) as error:  # a driver that is not installed, an address that is none
            what = f"MLflow cannot use {tracking_uri} with {registry_uri}: {error!s:.200}."
            raise ConfigError(what, "Check MLOPS_TRACKING_URI and MLOPS_REGISTRY_URI, or install the driver.") from None


@cache
def prepared(uri: str) -> Path | None:
    """The embedded database of an address, made, upgraded and at home where it lies; None for a server."""
    _require_known(uri)
    path = database_path(uri)
    if path:
        name_the_user()
        with translated():
            embedded.prepare(path)
    return path


def _require_known(uri: str) -> None:
    """Refuse what is no place of a tracking server, before anything is made for it."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in SCHEMES or (scheme == "sqlite" and (":memory:" in uri or len(uri) <= len("sqlite:///"))):
        what = f"{uri!r:.200} is no address of a tracking server or a registry."
        fix = "Set MLOPS_TRACKING_URI (MLOPS_REGISTRY_URI) to sqlite:///<file>, http(s)://<server> or databricks."
        raise ConfigError(what, fix)


def database_path(tracking_uri: str) -> Path | None:
    """The file of an embedded sqlite database, or None for a server."""
    prefix = "sqlite:///"
    return Path(tracking_uri.removeprefix(prefix)).absolute() if tracking_uri.startswith(prefix) else None


def experiment(tracking_uri: str, name: str) -> str:
    """The id of an experiment, made if it is not there; its artifacts lie beside an embedded database.

    On Databricks an experiment is a place in the workspace: a name that is no path is one in its shared folder.

    Raises:
        ConflictError: Somebody has deleted it: its name stays taken, and no run can be made in it.
    """
    from mlflow.entities import LifecycleStage
    from mlflow.exceptions import MlflowException

    mlflow, path = client(tracking_uri), database_path(tracking_uri)
    if credentials.is_databricks(tracking_uri) and not name.startswith("/"):
        name = f"/Shared/{name}"
    location = (path.parent / moved_state.ARTIFACTS).as_uri() if path else None
    with translated():
        if found := mlflow.get_experiment_by_name(name):
            if found.lifecycle_stage == LifecycleStage.DELETED:
                restore = f"mlflow experiments restore --experiment-id {found.experiment_id}"
                fix = f"Restore it: MLFLOW_TRACKING_URI={shlex.quote(tracking_uri)} {restore}"
                raise ConflictError(f"The experiment {name!r} was deleted in MLflow, with the trainings in it.", fix)
            return str(found.experiment_id)
        try:
            return str(mlflow.create_experiment(name, artifact_location=location, tags=TRAINING_MODE))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return str(mlflow.get_experiment_by_name(name).experiment_id)


def delete_files(tracking_uri: str, uri: str) -> bool:
    """Delete a logged model (`models:/m-…`) with its files; one that is gone already is no error.

    Files that do not lie among the artifacts beside an embedded database may be another state's: they stay (False).
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    mlflow, model_id, database = client(tracking_uri), uri.removeprefix("models:/"), database_path(tracking_uri)
    try:
        with translated():
            location = mlflow.get_logged_model(model_id).artifact_location
            if database and not moved_state.lies_within(location, artifacts := database.parent / moved_state.ARTIFACTS):
                logger.warning("The files of %s stay: they lie in %s, not in %s", uri, location, artifacts)
                return False
            get_artifact_repository(location, tracking_uri=secrets.reachable(tracking_uri)).delete_artifacts()
            mlflow.delete_logged_model(model_id)
    except MlflowException as error:
        if not is_missing(error):
            raise
    return True


@contextmanager
def translated() -> Iterator[None]:
    """Turn MLflow's errors into ours, as far as they have a meaning whatever the call.

    What the machine or a server refuses is a `ConfigError`, what waiting may cure a `TransientError`, a damaged
    database an `IntegrityError`; the rest is left to the caller.
    """
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:
        if meaning := _meaning(error):
            raise meaning from error
        raise


def _meaning(error: Exception) -> MlopsError | None:
    """Our error for one of MLflow, its database or the network; imports MLflow no earlier than something failed."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DatabaseError

    if not isinstance(error, MlflowException | DatabaseError | sqlite3.Error | OSError | UnicodeDecodeError):
        return None
    if refused := of_the_machine(error):
        return refused
    if _is_damaged(error):
        said = " ".join(str(error).split("[SQL:")[0].split())[:200].rstrip(".")
        return IntegrityError(f"The MLflow database is damaged: {said}.", "Restore it from a copy.")
    if is_transient(error):
        return TransientError(f"MLflow did not answer: {error!s:.300}", "Try again.")
    return of_the_server(error)


def of_the_server(error: BaseException) -> ConfigError | None:
    """The refusal of a server to whoever asks, by what is wrong with that: who it is, or what it may do."""
    from mlflow.exceptions import RestException

    response = getattr(error, "response", None)
    code, status = getattr(error, "error_code", None), getattr(response, "status_code", None)
    said = " ".join(str(error).split())[:300].rstrip(".")
    if code == "UNAUTHENTICATED" or status == 401:
        fix = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or check the token or the profile."
        return ConfigError(f"MLflow's server refused the credentials: {said}.", fix)
    if code in REFUSED_CODES or status == 403:
        return ConfigError(
            f"MLflow's server does not permit it: {said}.", refusals.way_out(said) or "Check the grants."
        )
    if isinstance(error, RestException) and code in REFUSED_RULES and (fix := refusals.way_out(said)):
        return ConfigError(f"The workspace refuses: {said}.", fix)
    return None


def is_transient(error: BaseException) -> bool:
    """Tell whether waiting may cure an error of MLflow, its database or the network."""
    from mlflow.exceptions import RestException
    from requests import RequestException

    code = getattr(error, "error_code", None)
    if code == "INTERNAL_ERROR" and not isinstance(error, RestException):
        # MLflow's clients give that code to what they refuse themselves, and to a server that they could not reach
        return isinstance(error.__cause__ or error.__context__, RequestException)
    busy = "database is locked" in str(error)
    return code in TRANSIENT_CODES or busy or isinstance(error, ConnectionError | TimeoutError)


def _is_damaged(error: BaseException) -> bool:
    """Tell whether a database could not be read for what it holds; MLflow's own errors hide that."""
    from sqlalchemy.exc import DatabaseError, OperationalError

    codes = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # the last: a table is missing
    if any(getattr(each, "sqlite_errorcode", 0) & 0xFF in codes for each in beneath(error)):
        return True
    if isinstance(error, sqlite3.Error) and not hasattr(error, "sqlite_errorcode"):  # a text that is no UTF-8
        return True
    if "Database migration in unexpected state" in str(error):  # so MLflow says that a table of models is missing
        return True
    return isinstance(error, DatabaseError | UnicodeDecodeError) and not isinstance(error, OperationalError)


def is_missing(error: BaseException) -> bool:
    """Tell whether MLflow says that a model, version, alias or run does not exist.

    Its codes differ: a missing alias is INVALID_PARAMETER_VALUE, a missing model RESOURCE_DOES_NOT_EXIST.
    """
    code = getattr(error, "error_code", None)  # which MLflow's errors have
    return code == "RESOURCE_DOES_NOT_EXIST" or (code is not None and "not found" in str(error))
