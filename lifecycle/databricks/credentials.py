"""Credentials of a Databricks workspace, resolved in one place and checked before the first call.

In this order: a profile named in the URI (`databricks-uc://prod`) or in `DATABRICKS_CONFIG_PROFILE`; what
`DATABRICKS_AUTH_TYPE` names (`github-oidc` and all else that Databricks' own client knows); a token in
`DATABRICKS_TOKEN`; a service principal in `DATABRICKS_CLIENT_ID` and `DATABRICKS_CLIENT_SECRET`. One process speaks to
one workspace as one identity: MLflow's uploads know no other way. Two at once are refused, unless the type is named. No
value is ever logged.
"""

import configparser
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lifecycle.core.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from databricks.sdk.config import Config

SCHEMES = ("databricks", "databricks-uc")
PROFILE_NEEDS = "a `token`, or `client_id` and `client_secret`"
IDENTITY = (
    *("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"),
    *("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE", "DATABRICKS_AUTH_TYPE"),
    *("ARM_TENANT_ID", "ARM_CLIENT_ID", "ARM_CLIENT_SECRET"),
)
"""The variables that say which workspace is meant and who asks."""

OWN_IDENTITY = {"DATABRICKS_AUTH_TYPE", "DATABRICKS_RUNTIME_VERSION"}
"""Where one of these is set nothing else need be: a kind of authentication was named, or this runs in a job there."""
UPLOADS = "MLFLOW_USE_DATABRICKS_SDK_MODEL_ARTIFACTS_REPO_FOR_UC"
"""Whether MLflow moves the files of models through the Files API; Unity Catalog is to refuse the other way."""
ANSWER_SECONDS = 20


class Access(NamedTuple):
    """Where the workspace is and what opens it; the token is good for minutes, so ask for each call."""

    host: str
    token: str

    def __repr__(self) -> str:
        return f"Access({self.host})"


def is_databricks(uri: str) -> bool:
    """Tell whether a tracking or registry URI leads to a Databricks workspace."""
    return uri.split("://", maxsplit=1)[0] in SCHEMES


def require_credentials(uri: str) -> None:
    """Check that the workspace behind a URI can be reached with credentials; any other URI passes.

    Raises:
        ConfigError: Something is missing; it says what and where.
    """
    if not is_databricks(uri):
        return
    section = _section(uri)
    if not section and not OWN_IDENTITY & os.environ.keys():  # otherwise Databricks' own client knows what it needs
        _require_variables(uri)
    _require_one_way(section)


def require_answer(uri: str) -> None:
    """Check that the workspace behind a URI answers: MLflow would ask one that is not there for five minutes a call.

    Raises:
        ConfigError: Its address is none, or its certificate is not trusted.
        TransientError: It does not answer.
    """
    if not is_databricks(uri) or not (host := _section(uri).get("host") or os.environ.get("DATABRICKS_HOST")):
        return
    import requests

    host = host if "://" in host else f"https://{host}"
    try:
        requests.get(f"{host.rstrip('/')}/.well-known/databricks-config", timeout=ANSWER_SECONDS)
    except requests.exceptions.SSLError:
        what = f"The certificate of {host} is not trusted here."
        raise ConfigError(what, "Name the file of its authority: export REQUESTS_CA_BUNDLE=…") from None
    except ValueError as error:
        raise ConfigError(f"{host} is no address of a workspace: {error!s:.200}.", "Check DATABRICKS_HOST.") from None
    except requests.RequestException as error:
        what = f"The Databricks workspace at {host} does not answer ({type(error).__name__})."
        raise TransientError(what, "Check DATABRICKS_HOST and the way there, or try again.") from None


def use_profile(uri: str) -> None:
    """Make the profile that a URI names the one of the process: MLflow's uploads look for it there alone."""
    if not is_databricks(uri):
        return
    os.environ.setdefault(UPLOADS, "true")
    if profile := uri.partition("://")[2]:
        os.environ["DATABRICKS_CONFIG_PROFILE"] = profile


def sign_in(identity: Mapping[str, str]) -> None:
    """Make these variables the identity of the process, in place of whatever stood there; children inherit it."""
    for name in IDENTITY:
        os.environ.pop(name, None)
    os.environ.update(identity)


def access(uri: str, *, anew: bool = False) -> Access:
    """Host and bearer token of the process's identity; `anew` after the workspace has refused the last token.

    Raises:
        ConfigError: Credentials are missing or refused, or the host is not one of https.
        TransientError: Who issues tokens did not answer.
    """
    from databricks.sdk.errors import InternalError, TemporarilyUnavailable, TooManyRequests
    from databricks.sdk.errors.base import DatabricksError
    from requests import RequestException

    require_credentials(uri)
    use_profile(uri)
    try:
        config = _config(anew=anew)
        scheme, _, token = config.authenticate().get("Authorization", "").partition(" ")
    except (
        RequestException,
        ConnectionError,
        TimeoutError,
        TemporarilyUnavailable,
        TooManyRequests,
        InternalError,
    ) as error:
        raise TransientError(f"Databricks issued no token: {error!s:.300}.", "Try again.") from None
    except (ValueError, DatabricksError) as error:  # the client masks what is secret in its messages
        what = f"Databricks refused the credentials: {error!s:.300}."
        raise ConfigError(what, "Check the token, the profile or the service principal.") from None
    if scheme != "Bearer" or not config.host.startswith("https://"):
        what = f"Jobs need https and a bearer token; {config.host} with {config.auth_type} is not that."
        raise ConfigError(what, "Set DATABRICKS_HOST to https://<workspace>, and a token or a service principal.")
    return Access(config.host.removeprefix("https://").rstrip("/"), token)


_configs: dict[tuple[str | None, ...], "Config"] = {}
_asking = threading.Lock()


def _config(*, anew: bool) -> "Config":
    """Databricks' own resolution of the identity, which keeps a token until shortly before its end."""
    from databricks.sdk.config import Config

    identity = tuple(os.environ.get(name) for name in IDENTITY)
    with _asking:
        if anew or identity not in _configs:
            _configs.clear()
            _configs[identity] = Config(retry_timeout_seconds=ANSWER_SECONDS, http_timeout_seconds=ANSWER_SECONDS)
        return _configs[identity]


def _section(uri: str) -> Mapping[str, str]:
    """What the profile holds that a URI or the environment names; empty where neither names one."""
    profile = uri.partition("://")[2] or os.environ.get("DATABRICKS_CONFIG_PROFILE", "")
    return _profile(profile) if profile else {}


def _profile(profile: str) -> Mapping[str, str]:
    path = Path(os.environ.get("DATABRICKS_CONFIG_FILE", "~/.databrickscfg")).expanduser()
    file = configparser.ConfigParser(interpolation=None)
    try:
        found = file.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a Databricks profile file: {error!s:.200}.", "Correct it.") from None
    if not found:
        raise ConfigError(f"Profile {profile!r} needs {path}, which is not there.", _login(profile))
    if profile not in file and not (profile == "DEFAULT" and file.defaults()):
        known = ", ".join(file.sections()) or "none"
        raise ConfigError(f"{path} has no profile {profile!r}; it has: {known}.", _login(profile))
    section = file[profile]
    if not section.get("host"):
        raise ConfigError(f"Profile {profile!r} in {path} has no `host`.", "Add: host = https://<workspace>")
    secret = section.get("token") or (section.get("client_id") and section.get("client_secret"))
    if not secret and not section.get("auth_type"):
        raise ConfigError(
            f"Profile {profile!r} in {path} has no credentials: it needs {PROFILE_NEEDS}.", _login(profile)
        )
    return section


def _require_one_way(section: Mapping[str, str]) -> None:
    """Refuse two ways to sign in at once, as Databricks' client does, by its own table of them."""
    from databricks.sdk.config import Config

    if section.get("auth_type") or os.environ.get("DATABRICKS_AUTH_TYPE"):
        return
    used: dict[str, list[str]] = {}
    for each in Config.attributes():
        name = each.env if each.env and os.environ.get(each.env) else f"`{each.name}` of the profile"
        if each.auth and (section.get(each.name) or name == each.env):
            used.setdefault(each.auth, []).append(name)
    if len(used) > 1:
        ways = " and ".join(f"{way} ({', '.join(names)})" for way, names in sorted(used.items()))
        what = f"There is more than one way to sign in to Databricks: {ways}."
        raise ConfigError(what, "Unset all but one, or say which is meant: export DATABRICKS_AUTH_TYPE=…")


def _require_variables(uri: str) -> None:
    given = {name for name in os.environ if name.startswith("DATABRICKS_") and os.environ[name]}
    missing = [] if "DATABRICKS_HOST" in given else ["DATABRICKS_HOST"]
    if "DATABRICKS_TOKEN" not in given:
        pair = {"DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"}
        if given & pair:
            missing += sorted(pair - given)
        else:
            missing.append("DATABRICKS_TOKEN (or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET)")
    if missing:
        fix = "Set them, or name a profile: databricks-uc://<profile>"
        raise ConfigError(f"{uri} needs a workspace and credentials; missing: {', '.join(missing)}.", fix)


def _login(profile: str) -> str:
    return f"Make one: databricks configure --profile {profile}"
