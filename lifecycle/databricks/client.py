"""The client of the Databricks workspace that this process speaks to, and what its errors mean to us."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from lifecycle.core.errors import ConfigError, ConflictError, NotFoundError, TransientError
from lifecycle.databricks import credentials, refusals

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

PATIENCE_SECONDS = 120
"""How long the client itself repeats a call that the workspace does not answer."""

GRANTS = "Check the credentials and the grants: see docs/databricks.md"


def client(uri: str = "databricks") -> "WorkspaceClient":
    """The client of the workspace and identity of this process: one for as long as they stay the same.

    Raises:
        ConfigError: Credentials are missing; it says which.
        TransientError: The workspace does not answer.
    """
    credentials.require_credentials(uri)
    credentials.use_profile(uri)
    try:
        return _client(uri, tuple(os.environ.get(name) for name in credentials.IDENTITY))
    except ValueError as error:
        raise ConfigError(f"No workspace can be reached: {error!s:.300}.", GRANTS) from None


@lru_cache(maxsize=4)
def _client(uri: str, identity: tuple[str | None, ...]) -> "WorkspaceClient":  # noqa: ARG001  a key, not an input
    credentials.require_answer(uri)
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    return WorkspaceClient(config=Config(retry_timeout_seconds=PATIENCE_SECONDS))


@contextmanager
def answers(subject: object) -> Iterator[None]:
    """Turn the client's errors about something into ours. The client itself has waited and tried again by then."""
    import requests
    from databricks.sdk import errors
    from databricks.sdk.errors.base import DatabricksError

    try:
        yield
    except errors.NotFound as error:
        raise NotFoundError(f"{subject} is not there: {error!s:.300}", refusals.way_out(str(error))) from None
    except errors.ResourceConflict as error:
        raise ConflictError(f"{subject} is there already, or somebody changes it: {error!s:.300}") from None
    except (errors.Unauthenticated, errors.PermissionDenied) as error:
        raise ConfigError(
            f"{subject}: the workspace refuses: {error!s:.300}", refusals.way_out(str(error)) or GRANTS
        ) from None
    except (errors.BadRequest, errors.NotImplemented) as error:
        raise ConfigError(f"{subject}: {error!s:.300}", refusals.way_out(str(error))) from None
    except (DatabricksError, requests.RequestException, TimeoutError) as error:
        raise TransientError(f"{subject}: {type(error).__name__}: {error!s:.300}", "Try again later.") from None
    except ValueError as error:  # how the client says that it finds no credentials, or that they are refused
        raise ConfigError(f"{subject}: {error!s:.300}", GRANTS) from None
