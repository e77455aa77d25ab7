"""What the environment of whoever calls may mean for Prefect, and what it must not.

`spare_loopback`        no proxy is asked for this machine
`chosen_server`         the Prefect server that the environment names, directly or by a profile
`history_folder`        where Prefect keeps what it keeps
`use_server`            what stands in the environment while a server is used; `server_in_use` until a block ends
`import_prefect`        Prefect with the settings of the environment alone, whatever files lie in the working directory
"""

import contextlib
import importlib
import importlib.util
import io
import ipaddress
import os
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lifecycle.core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError

ADDRESS, HOME, PROFILE, PROFILES = "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OF_ANOTHER_SERVER = ("PREFECT_API_", "PREFECT_CLOUD_", "PREFECT_SERVER_API_", "PREFECT_CLIENT_CUSTOM_HEADERS")
"""Beginnings of the variables that say where a server is and who we are to it: none of them is meant for our own."""
DATABASE = "PREFECT_API_DATABASE_"
CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
UNENCRYPTED = {"PREFECT_API_SSL_CERT_FILE": ""}
"""Its default is `SSL_CERT_FILE`, which every client reads as it is made, also one that needs no certificates."""


def spare_loopback() -> None:
    """Add this machine to what no proxy is asked for, for us and for whatever we start; what stands there stays."""
    kept = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host.strip() for host in (os.environ.get(name) or kept).split(",") if host.strip()]
        missing = [] if "*" in hosts else [host for host in LOOPBACK if host not in hosts]
        os.environ[name] = ",".join([*hosts, *missing])


def chosen_server() -> str:
    """The address of the server that the environment names, by `PREFECT_API_URL` or by a profile; empty if none.

    The settings of the profile are put into the environment, where they count less than what stands there.

    Raises:
        ConfigError: The profile does not exist, or cannot be read; the address is none.
    """
    for name in [name for name, value in os.environ.items() if name.startswith("PREFECT_") and not value.strip()]:
        del os.environ[name]  # a secret that a CI system does not have is an empty variable
    if os.environ.get(PROFILE) or os.environ.get(ADDRESS):
        for name, value in _profile().items():
            os.environ.setdefault(name, str(value))
    address = os.environ.get(ADDRESS, "").strip()
    if address and not _is_address(address):
        fix = f"It looks like http://127.0.0.1:4200/api. To use none: unset {ADDRESS}"
        raise ConfigError(f"{ADDRESS} is {address!r}, which is no address of a Prefect server.", fix)
    return address


def history_folder(home: Path) -> Path:
    """Where Prefect's history and results lie: below the state directory, unless `PREFECT_HOME` says otherwise."""
    return Path(os.environ.get(HOME) or home / "prefect").expanduser().absolute()


def use_server(
    address: str, folder: Path, *, own: bool = False, also: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str | None]:
    """Name a server in the environment, where Prefect looks for it when it is imported; returns what stood there.

    For our `own` one, what is meant for another server goes. Profiles are not looked for again.
    """
    wanted = {HOME: str(folder), PROFILES: os.devnull, ADDRESS: address, **(UNENCRYPTED if own else {}), **also}
    unwanted = {name for name in os.environ if name == PROFILE or (own and _is_of_another(name))}
    before = {name: os.environ.get(name) for name in unwanted | wanted.keys()}
    for name in unwanted:
        del os.environ[name]
    os.environ.update(wanted)
    return before


@contextmanager
def server_in_use(
    address: str, folder: Path, *, own: bool = False, also: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """The same until the block ends."""
    before = use_server(address, folder, own=own, also=also)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def for_own_server(folder: Path) -> dict[str, str]:
    """The environment of a server of ours that is a process."""
    left = {PROFILE, CONSOLE_LEVEL}  # what goes wrong in it is told by its log alone
    kept = {name: value for name, value in os.environ.items() if not _is_of_another(name) and name not in left}
    return kept | {HOME: str(folder), PROFILES: os.devnull, "TMPDIR": tempfile.gettempdir(), **UNENCRYPTED}


def import_prefect(folder: Path) -> None:
    """Import Prefect from a folder that holds none of the files from which it would take settings.

    It looks for `.env`, `prefect.toml` and `pyproject.toml` in the working directory, which may be another project's,
    and takes names without its prefix, too. For a server on this machine its client is told of no proxy: httpx makes a
    transport for each in the environment, and fails for one whose kind it does not know.

    Raises:
        ConfigError: A setting in the environment is not valid; it says which.
    """
    if "prefect.context" in sys.modules:
        return
    from pydantic import ValidationError
    from pydantic_settings.exceptions import SettingsError

    said = io.StringIO()
    try:
        with contextlib.chdir(folder), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("prefect.context")
            importlib.import_module("prefect.main")  # sets up its logging
    except ValidationError as error:
        raise ConfigError(_invalid(error), "Correct it, or unset it.") from None
    except (SettingsError, ValueError) as error:
        raise ConfigError(f"Prefect does not start with the PREFECT_… variables here: {error!s:.300}.") from None
    if is_loopback(os.environ.get(ADDRESS, "")):
        _without_proxies()


def is_loopback(address: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(address).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _is_address(text: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    return False


def _is_of_another(name: str) -> bool:
    return name.startswith(OF_ANOTHER_SERVER) and not name.startswith(DATABASE)


def _profile() -> Mapping[str, Any]:
    """The settings of the profile that is named, else of the active one, else none."""
    path = _profiles_path()
    found, shipped = _profiles(path), _profiles(_shipped_profiles())
    name = os.environ.get(PROFILE) or found.get("active") or shipped.get("active")
    profiles = {**shipped.get("profiles", {}), **found.get("profiles", {})}
    if name in profiles:
        return dict(profiles[name])
    if not os.environ.get(PROFILE):
        return {}
    what = f"There is no profile {name!r} in {path}: PREFECT_PROFILE names it, and there are {', '.join(profiles)}."
    raise ConfigError(what, f"Name one of them, or none: unset {PROFILE}")


def _profiles_path() -> Path:
    folder = os.environ.get(HOME) or "~/.prefect"
    return Path(os.environ.get(PROFILES) or Path(folder) / "profiles.toml").expanduser()


def _shipped_profiles() -> Path:
    spec = importlib.util.find_spec("prefect")
    return Path((spec.origin if spec else None) or os.devnull).parent / "settings" / "profiles.toml"


def _profiles(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"Prefect's profiles in {path} cannot be read: {error}.", "Correct the file.") from None


def _invalid(error: "ValidationError") -> str:
    """The first problem of Prefect's settings, with the variables that hold the value."""
    first = error.errors(include_url=False)[0]
    given = str(first.get("input"))  # of some it is in upper case by then
    names = [n for n, value in os.environ.items() if n.startswith("PREFECT_") and value.lower() == given.lower()]
    where = " or ".join(names) or f"Prefect's setting {'.'.join(map(str, first['loc']))}"
    return f"{where} is {given!r:.100}: {' '.join(first['msg'].split())}."


def _without_proxies() -> None:
    """Let clients of httpx whose server is on this machine look for no proxy in the environment; others keep theirs."""
    import httpx

    for kind in (httpx.Client, httpx.AsyncClient):
        kind.__init__ = _untrusting(kind.__init__)  # type: ignore[method-assign]


def _untrusting(make: Any) -> Any:
    def made(self: Any, *arguments: Any, **options: Any) -> None:
        address = str(options.get("base_url", ""))
        here = address.startswith("http:") and is_loopback(address)  # where there are certificates they are the user's
        make(self, *arguments, **(options | {"trust_env": False} if here else options))

    return made
