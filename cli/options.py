"""Options: those of commands that start a flow are the fields of its request; others that are shared stand here."""

import inspect
import re
from collections.abc import Callable
from datetime import date, datetime, time
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo

from flows.request import Parameter
from lifecycle.core import secrets
from lifecycle.core.names import Environment
from lifecycle.core.parameters import LOCATIONS
from lifecycle.settings import checked, definitions
from lifecycle.storage import files

HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def _hosts(names: list[str] | None) -> list[str]:
    """Take names as `Host` has them."""
    for name in names or ():
        if not HOST.fullmatch(name):
            raise typer.BadParameter(f"{name!r} is no name or name:port; for example: mlops.example.com")
    return names or []


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Prefect's own log as well.")]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        callback=_hosts,
        help="A further name by which it is reached, such as a proxy's; may be repeated.",
    ),
]
Env = Annotated[Environment, typer.Option("--env", help="Environment.")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model-name",
        default_factory=lambda: definitions.chosen(None)[0],
        show_default=False,
        help="Name of the model, without environment; default the only one that is defined.",
    ),
]
ModelToChange = Annotated[str, typer.Option("--model-name", help="Name of the model, without environment.")]
"""Where something is taken away or made, it is named."""
DataName = Annotated[str, typer.Option("--data-name", help="Name of the dataset.")]
DataVersion = Annotated[str, typer.Option("--data-version", help="Version of the dataset.")]


def sealed(value: str | None) -> str | None:
    """The address that a person gave; its secrets go no further than this process, which holds them by reference."""
    return value and secrets.sealed(value)


def folder(value: str | None) -> str | None:
    """The folder that a person gave, as its path; a URL that is none is named without its secrets."""
    return str(files.folder_of(secrets.sealed(value))) if value else value


LARGEST = 2**31 - 1
"""What the databases of registries can hold as a version."""
Version = Annotated[int | None, typer.Option("--version", max=LARGEST, help="Version number.")]
AliasName = Annotated[str | None, typer.Option("--alias", help="Alias, in any case.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str, typer.Option("--reason", help="Recorded in the promotion log.")]


def day(value: str | None) -> str | None:
    """A day as the flow takes it, `2026-11-21`; a moment at midnight is one too."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.time() != time() or value.isdigit():
        raise typer.BadParameter(f"{value!r:.100} is no day, such as 2026-11-21.")
    return str(moment.date())


NAMES = {
    "source_env": "--from",
    "target_env": "--to",
    "source_format": "--format",
    "as_candidate": "--register",
    "holdout": "--holdout/--no-holdout",
}
"""The options that are not called as the parameter of the flow is."""
CALLBACKS = dict.fromkeys(LOCATIONS, sealed) | {"output": folder, "logical_date": day}
"""What is done about a value that a person gave, before anything else sees it."""


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def of_request(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with the fields of its request as options; it is called with the request that they make.

    A field that is annotated with an option or an argument is that one; else its description is the option's help.
    """
    request = get_type_hints(command)["request"]
    fields = request.listed()

    @wraps(command)
    def with_options(**values: Any) -> None:
        command(checked(request, **{field.name: values.pop(field.name) for field in fields}), **values)

    own = [parameter.replace(kind=KEYWORD) for parameter in inspect.signature(command).parameters.values()][1:]
    with_options.__signature__ = inspect.Signature([*map(_option, fields), *own])  # type: ignore[attr-defined]
    return with_options


def _option(field: Parameter) -> inspect.Parameter:
    name = NAMES.get(field.name, f"--{field.name.replace('_', '-')}")
    option = typer.Option(name, help=field.description, hidden=field.earlier, callback=CALLBACKS.get(field.name))
    own = [said for said in field.metadata if isinstance(said, ParameterInfo)]
    typed = _typed(field.annotation)
    annotation: Any = Annotated[typed | None if field.asked else typed, *(own or [option])]
    default = None if field.asked else field.default
    return inspect.Parameter(field.name, KEYWORD, default=default, annotation=annotation)


def _typed(annotation: Any) -> Any:
    """The type as a command line reads it: what is written as a literal, and a day, is a text there."""
    if get_origin(annotation) in {Union, UnionType}:
        (inner,) = (argument for argument in get_args(annotation) if argument is not type(None))
        return _typed(inner) | None
    if get_origin(annotation) is Annotated:
        return _typed(get_args(annotation)[0])
    return str if annotation is date or get_origin(annotation) in {dict, tuple} else annotation
