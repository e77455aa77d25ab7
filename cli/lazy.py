"""A group of commands whose modules are imported when a command is called, not when the group is listed."""

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup


class Place(NamedTuple):
    """Where a command or a group stands, and the line that a list shows of it; without one the list imports it."""

    module: str
    attribute: str
    line: str = ""


class Commands(Mapping[str, Any]):
    """Commands by name, each made when it is asked for."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.places, self._made = places, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        place = self.places[name]
        if name not in self._made:
            self._made[name] = _command(name, getattr(import_module(place.module), place.attribute))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class LazyGroup(TyperGroup):
    """A group whose list needs no module of its commands."""

    places: ClassVar[Mapping[str, Place]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(MutableMapping[str, Any], Commands(self.places))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """The names, in the order of the table."""
        return [*self.places]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help with the lines of the table in place of the commands."""
        outline = copy.copy(self)
        outline.commands = {
            name: TyperCommand(name, help=place.line) if place.line else self.commands[name]
            for name, place in self.places.items()
        }
        TyperGroup.format_help(outline, ctx, formatter)


def _command(name: str, target: Any) -> Any:
    if isinstance(target, typer.Typer):
        group = typer.main.get_group(target)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(target)
    return typer.main.get_command(alone)
