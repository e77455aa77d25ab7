"""The files that say what runs on a Prefect server: `prefect.yaml` (deployments) and `automations.yaml`."""

from pathlib import Path
from typing import Any

import yaml

from lifecycle.core.errors import ConfigError

DEPLOYMENTS, AUTOMATIONS = "prefect.yaml", "automations.yaml"


def folder() -> Path:
    """The folder of `prefect.yaml`: the working directory, else the checkout that this code stands in.

    Raises:
        ConfigError: There is none.
    """
    here = Path.cwd()
    for found in (here, Path(__file__).parents[2]):
        if (found / DEPLOYMENTS).is_file():
            return found
    raise ConfigError(f"There is no {DEPLOYMENTS} in {here}.", "Run this in the project's folder.")


def read(name: str) -> dict[str, Any]:
    """The content of one of the files.

    Raises:
        ConfigError: It is missing or not YAML.
    """
    path = folder() / name
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", "Correct the file.") from None


def deployments() -> list[dict[str, Any]]:
    """The entries of `prefect.yaml`, as they stand there."""
    return list(read(DEPLOYMENTS).get("deployments") or [])
