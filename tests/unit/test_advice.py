"""What messages advise can be done: each command and option that a string of the source names is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from tests.conftest import ROOT

FOLDERS = ("cli", "flows", "tasks", "lifecycle", "config")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
CALL = re.compile(r"\bmlops((?: [a-z][a-z-]*)+)((?:(?!\bmlops [a-z])[^;`\n])*)")
ENDS = re.compile(r"\. |, or |: ")
FOREIGN = re.compile(r"\b(pip|prefect|databricks|git|uv|mlflow)\b.* --|^\S+$")
"""Texts with the options of other programs, and options of theirs as they are handed over."""


def commands(group: Any, path: str = "mlops") -> Iterator[tuple[str, Any]]:
    """Every group and command by how it is called."""
    yield path, group
    for name in getattr(group, "commands", ()):
        yield from commands(group.commands[name], f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(app)))
OPTIONS = {
    path: {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    for path, command in COMMANDS.items()
}
EVERY = set[str]().union(*OPTIONS.values())


def texts(path: Path) -> Iterator[str]:
    """Each string of a module, one with values in it as one; any other file as it is."""
    if path.suffix != ".py":
        yield path.read_text(encoding="utf-8")
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    pieces = {id(piece) for node in joined for piece in node.values}
    for node in joined:
        yield "".join(str(piece.value) if isinstance(piece, ast.Constant) else "…" for piece in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield node.value


def misled(text: str) -> Iterator[str]:
    """The commands and options of a text that there are not."""
    for call in CALL.finditer(text):
        path, words = "mlops", call[1].split()
        while words and f"{path} {words[0]}" in COMMANDS:
            path = f"{path} {words.pop(0)}"
        if words and path != "mlops" and hasattr(COMMANDS[path], "commands"):
            yield f"{path} {words[0]}"
        if path != "mlops" and not words:
            yield from (
                f"{path} {found}" for found in OPTION.findall(ENDS.split(call[2])[0]) if found not in OPTIONS[path]
            )
    if not FOREIGN.search(text):
        yield from (found for found in OPTION.findall(text) if found not in EVERY)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_and_option_that_is_named_exists(folder: str) -> None:
    paths = [
        path
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".yaml"} or path.name.endswith(".md.j2")
    ]
    wrong = [
        f"{path.relative_to(ROOT)}: {name} in {text!r:.90}"
        for path in paths
        for text in texts(path)
        for name in misled(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_advice_that_leads_nowhere_is_noticed() -> None:
    assert [*misled("Remove one: mlops model tag --remove")] == ["mlops model tag --remove", "--remove"]
    assert [*misled("See: mlops gate explian, or mlops release --to dev --fast")] == [
        "mlops gate explian",
        "mlops release --fast",
        "--fast",
    ]
    assert not [*misled("Train first (mlops train --env …), or name a --version.")]
