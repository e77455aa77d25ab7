"""Credentials of a Databricks workspace, resolved in one place and checked before the first call.

Three ways, in this order: a profile named in the URI (`databricks-uc://prod`) or in `DATABRICKS_CONFIG_PROFILE`;
a token in `DATABRICKS_TOKEN`; a service principal in `DATABRICKS_CLIENT_ID` and `DATABRICKS_CLIENT_SECRET`. Every value
stays where it is: clients read them by themselves, nothing here returns or logs one.
"""

import configparser
import os
from pathlib import Path

from lifecycle.errors import ConfigError

SCHEMES = ("databricks", "databricks-uc")
PROFILE_NEEDS = "a `token`, or `client_id` and `client_secret`"


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
    elif "DATABRICKS_AUTH_TYPE" not in os.environ:  # otherwise Databricks' own client knows what it needs
        _require_variables(uri)


def use_profile(uri: str) -> None:
    """Make the profile that a URI names the one of the process: MLflow's uploads look for it there alone."""
    if is_databricks(uri) and (profile := uri.partition("://")[2]):
        os.environ["DATABRICKS_CONFIG_PROFILE"] = profile


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
