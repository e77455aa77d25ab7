"""Where the files of settings lie, and how they are read.

A project is the first folder upwards from the working directory with `config/dev.yaml` or `config/models/`, as git and
ruff find theirs. What its `config/` does not hold is taken from the one that comes with the package, file by file.
"""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lifecycle.core import class_names, patterns
from lifecycle.core.errors import ConfigError
from lifecycle.settings import yaml_files

SHIPPED = Path(__file__).parents[2] / "config"
"""The settings that come with the package, in a checkout and in a wheel."""
WRITTEN = frozenset({".yaml", ".yml", ".json", ".toml"})
READ = (
    "dev.yaml",
    "staging.yaml",
    "prod.yaml",
    "models/*.yaml",
    "platforms/*.yaml",
    "behaviour/*.yaml",
    "expectations/*.json",
)
"""What is read below `config/`."""
CHOOSE_CONFIG = "Set MLOPS_CONFIG_DIR to the folder with dev.yaml."


def project() -> Path | None:
    """The folder of the project that the working directory is in, if it is in one."""
    with suppress(OSError):  # a working directory that was removed; a folder that may not be entered
        here = Path.cwd()
        return next((folder for folder in (here, *here.parents) if _is_config(folder / "config")), None)
    return None


def config_dir() -> Path:
    """The folder of settings: `MLOPS_CONFIG_DIR`, else `config/` of the project, else the one that is shipped."""
    if chosen := os.environ.get("MLOPS_CONFIG_DIR"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # `~` of nobody
            raise ConfigError(f"MLOPS_CONFIG_DIR={chosen}: {error}.", CHOOSE_CONFIG) from None
    folder = project()
    return folder / "config" if folder else SHIPPED


def located(name: str) -> Path:
    """A file of settings by its path below `config/`: the project's own, else the shipped one if there is one.

    A folder that `MLOPS_CONFIG_DIR` names is taken as it is, unless it is one of models alone.
    """
    own = config_dir() / name
    is_whole = bool(os.environ.get("MLOPS_CONFIG_DIR")) and not (config_dir() / "models").is_dir()
    return own if is_whole or own.exists() or not (SHIPPED / name).exists() else SHIPPED / name


def listed(pattern: str) -> list[str]:
    """The names, without their suffix, of the files that `located` would find by a pattern: own and shipped ones."""
    found = {path.relative_to(folder) for folder in (config_dir(), SHIPPED) for path in folder.glob(pattern)}
    return sorted(path.stem for path in found if located(str(path)).exists())


def unread() -> list[str]:
    """What lies in `config/` of the project, or looks like one, and is never read, each in a sentence."""
    with suppress(OSError):
        here, folder = Path.cwd() / "config", config_dir()
        if folder == SHIPPED:
            lone = here.is_dir() and here.resolve() != SHIPPED.resolve() and any(here.glob("*.y*ml"))
            return [f"{here} is not used: it has neither dev.yaml nor models/."] if lone else []
        written = (path for path in sorted(folder.rglob("*")) if path.suffix in WRITTEN and path.is_file())
        unknown = [path for path in written if not any(path.match(str(folder / pattern)) for pattern in READ)]
        return [f"{path} is never read: settings are in {', '.join(READ)}." for path in unknown]
    return []


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a file of settings.

    Raises:
        ConfigError: It does not exist, is not YAML, or holds anything but names and values.
    """
    try:
        values = yaml_files.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No settings: {path} does not exist.", CHOOSE_CONFIG) from None
    except (NotADirectoryError, IsADirectoryError) as error:
        raise ConfigError(f"No settings: {path}: {error.strerror}.", CHOOSE_CONFIG) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        tab = " YAML wants blanks, not tabs." if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{where} is not YAML: {error.problem or error.context}.", f"Correct it.{tab}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date or a number that is none is a ValueError
        said = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {said}.", "Correct the file.") from None
    if not isinstance(values, dict | None) or not all(isinstance(key, str) for key in values or ()):
        raise ConfigError(f"{path} must hold `name: value` lines, not a {type(values).__name__}.", "Correct the file.")
    _require_an_end(path, values)
    return values or {}


def problems(error: ValidationError, kind: type[BaseModel] | None = None) -> str:
    """What is wrong with given values, each with its key; of an unknown key, which of the kind's it may have been."""
    shown = []
    for problem in error.errors()[:5]:
        where = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")  # pydantic's name for what a check of ours has raised
        if problem["type"] == "string_type" and isinstance(problem["input"], bool | int | float | date):
            what = "YAML reads this as no text; write it in quotes"
        if problem["type"] == "string_pattern_mismatch":
            what = patterns.told(problem["ctx"]["pattern"], problem["input"])
        if problem["type"] == "extra_forbidden":
            near = class_names.nearest(str(problem["loc"][-1]), _keys(kind, problem["loc"][:-1]))
            what = f"there is no such key{f', did you mean {near!r}?' if near else ''}"
        shown.append(f"{where}={problem['input']!r:.80}: {what}" if where else what)
    return "; ".join(shown)


def _keys(kind: Any, place: Sequence[int | str]) -> Iterable[str]:
    """The keys that may stand at a place of settings, as far as their models say so."""
    for step in place:
        field = getattr(kind, "model_fields", {}).get(str(step))
        kind = field.annotation if field else None
        choices = [each for each in get_args(kind) if hasattr(each, "model_fields")]
        kind = choices[0] if choices else kind
    return getattr(kind, "model_fields", {})


def _is_config(folder: Path) -> bool:
    return (folder / "dev.yaml").is_file() or (folder / "models").is_dir()


def _require_an_end(path: Path, values: object) -> None:
    try:
        json.dumps(values, default=str, skipkeys=True)
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: a value refers to itself, or is nested too deep.", "Correct the file.") from None
