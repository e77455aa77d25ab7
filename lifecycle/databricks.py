"""Credentials of a Databricks workspace, resolved in one place and checked before the first call.

In this order: a profile named in the URI (`databricks-uc://prod`) or in `DATABRICKS_CONFIG_PROFILE`; what
`DATABRICKS_AUTH_TYPE` names (`github-oidc` and all else that Databricks' own client knows); a token in
`DATABRICKS_TOKEN`; a service principal in `DATABRICKS_CLIENT_ID` and `DATABRICKS_CLIENT_SECRET`. One process speaks to
one workspace as one identity: MLflow's uploads know no other way. No value is ever logged.
"""

import configparser
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lifecycle.errors import ConfigError, TransientError

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
    profile = uri.partition("://")[2] or os.environ.get("DATABRICKS_CONFIG_PROFILE", "")
    if profile:
        _require_profile(profile)
    elif not OWN_IDENTITY & os.environ.keys():  # otherwise Databricks' own client knows what it needs
        _require_variables(uri)


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


def _require_profile(profile: str) -> None:
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
