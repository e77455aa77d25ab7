"""The Prefect server that operating commands talk to. There must be one: a command of its own ends with the command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli.operations.state import api_url, login
from cli.runner import quiet, require_prefect
from lifecycle.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ADDRESS = "PREFECT_API_URL"


def connect(home: Path) -> str:
    """Point Prefect to the server in the environment, else to the one that `mlops up` has started for this state.

    Prefect must not be imported before: it reads the address from the environment then.

    Raises:
        ConfigError: There is neither.
    """
    require_prefect()
    quiet()
    found = os.environ.get(ADDRESS) or api_url(home)
    if not found:
        raise ConfigError("There is no Prefect server.", f"Start one here: mlops up. Or name one: export {ADDRESS}=…")
    os.environ |= {ADDRESS: found, **login(home, found)}
    return found


@contextmanager
def client() -> "Iterator[SyncPrefectClient]":
    """A client of the server that `connect` found.

    Raises:
        ConfigError: The server does not let us in.
        TransientError: It does not answer.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    address = os.environ[ADDRESS]
    try:
        with get_client(sync_client=True) as connected:
            yield connected
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in {401, 403}:
            raise
        what = f"The Prefect server at {address} does not let us in ({error.response.status_code})."
        raise ConfigError(what, "Set PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING.") from None
    except httpx.TransportError as error:
        raise TransientError(f"The Prefect server at {address} does not answer: {error}.", "Try again.") from None
