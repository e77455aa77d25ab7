"""The Prefect server that flows and operating commands talk to, and what it means when it does not answer.

Operating commands need one that stays: a command's own ends with the command.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cli import environment
from cli.environment import ADDRESS
from cli.operations.state import api_url, login
from cli.runner import quiet, require_prefect
from lifecycle.core.errors import GET_RIGHTS, MAKE_ROOM, ConfigError, MlopsError, TransientError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ANSWER_SECONDS = 20
REFUSED = {401, 403}
REFUSED_BY_MACHINE = {
    "disk I/O error": MAKE_ROOM,
    "database or disk is full": MAKE_ROOM,
    "No space left on device": MAKE_ROOM,
    "attempt to write a readonly database": GET_RIGHTS,
}
"""What SQLite says of a database that it cannot write to, and what to do then."""
LOGIN = "Set PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING."


def connect(home: Path) -> str:
    """Point Prefect to the server in the environment, else to the one that `mlops up` has started for this state.

    Prefect is imported here, and must not be before: it reads the address from the environment then.

    Raises:
        ConfigError: There is neither.
    """
    require_prefect()
    quiet()
    found = environment.chosen_server() or api_url(home)
    if not found:
        raise ConfigError("There is no Prefect server.", f"Start one here: mlops up. Or name one: export {ADDRESS}=…")
    folder = environment.history_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    environment.use_server(found, folder, also=login(home, found))
    environment.import_prefect(folder)
    return found


def require(address: str) -> None:
    """Return if something answers at an address; it is not told who asks.

    Raises:
        ConfigError: A proxy or certificates in the environment cannot be used.
        TransientError: Nothing does.
    """
    import httpx
    from prefect.client.orchestration import get_client

    try:
        with translated(address):
            get_client(sync_client=True)
    except OSError as error:
        what = f"The certificates for {_shown(address)} cannot be read: {error}."
        raise ConfigError(what, "Correct SSL_CERT_FILE or PREFECT_API_SSL_CERT_FILE.") from None
    with translated(address):
        httpx.get(
            f"{address.rstrip('/')}/health",
            timeout=ANSWER_SECONDS,
            verify=False,  # noqa: S501  the client verifies
            trust_env=not environment.is_loopback(address),
        )


@contextmanager
def client() -> "Iterator[SyncPrefectClient]":
    """A client of the server that `connect` found.

    Raises:
        ConfigError: The server does not let us in.
        TransientError: It does not answer.
    """
    from prefect.client.orchestration import get_client

    with translated(os.environ[ADDRESS]), get_client(sync_client=True) as connected:
        yield connected


@contextmanager
def translated(address: str, log: Path | None = None) -> Iterator[None]:
    """Turn what Prefect's client raises when it cannot work with its server into our errors, whoever called it.

    Raises:
        ConfigError: The server does not let us in, or cannot be reached with the settings of the environment.
        TransientError: It does not answer, or fails.
    """
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:
        for cause in _causes(error):
            if found := _meaning(cause, address, log):
                raise found from None
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, unless that was handled before."""
    cause: BaseException | None = error
    while cause:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _meaning(error: BaseException, address: str, log: Path | None) -> MlopsError | None:
    """What an error of Prefect's client says about the server, if it does."""
    import httpx

    name, text = f"The Prefect server at {_shown(address)}", " ".join(str(error).split())
    code = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
    if code in REFUSED:
        return ConfigError(f"{name} does not let us in ({code}).", LOGIN)
    if code >= httpx.codes.INTERNAL_SERVER_ERROR:
        if log and (refused := _refused(log)):
            return refused
        return TransientError(f"{name} failed ({code}).{f' See {log}.' if log else ''}", "Try again.")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL) or re.search("SOCKS proxy|proxy URL", text):
        return ConfigError(f"{name} cannot be asked: {text:.300}.", f"Correct {ADDRESS}, the proxies or NO_PROXY.")
    if isinstance(error, httpx.TransportError) or text.startswith("Failed to reach API"):
        return TransientError(f"{name} does not answer: {text or type(error).__name__}.", "Start it, then try again.")
    return None


def _refused(log: Path) -> ConfigError | None:
    """What the machine refused to a server of ours, by its log."""
    said = log.read_text(encoding="utf-8", errors="replace")
    for words, fix in REFUSED_BY_MACHINE.items():
        if words in said:
            return ConfigError(f"Prefect's history in {log.parent} cannot be written: {words}. See {log}.", fix)
    return None


def _shown(address: str) -> str:
    """The address without a login in it."""
    return re.sub(r"//[^/@]*@", "//", address)
