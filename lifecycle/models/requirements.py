"""What a model asks for in its requirements.txt, compared with what is installed in this process."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

FILE = "requirements.txt"


def unmet(folder: Path) -> tuple[str, ...]:
    """Where what is installed in this process is not what a model's requirements.txt asks for, each in words."""
    path = folder / FILE
    if not path.is_file():
        return (f"the model names no requirements: it has no {FILE}",)
    return problems(path.read_text(encoding="utf-8"))


def problems(requirements: str) -> tuple[str, ...]:
    """The same for the text of a requirements.txt.

    A line that cannot be compared with a version, as a path or an option, is named too.
    """
    return tuple(problem for line in _lines(requirements) for problem in _problems(line))


def missing(folder: Path) -> tuple[str, ...]:
    """The requirements of a model that are not installed in any version, as they are written."""
    return tuple(line for line, name in _packages(folder) if not _is_installed(name))


def installed(folder: Path) -> tuple[str, ...]:
    """The packages that a model asks for and that are installed, in whatever version."""
    return tuple(name for _, name in _packages(folder) if _is_installed(name))


def _packages(folder: Path) -> Iterator[tuple[str, str]]:
    """The requirements that are packages, which this Python needs: as they are written, and their names."""
    path = folder / FILE
    for line in _lines(path.read_text(encoding="utf-8")) if path.is_file() else ():
        try:
            asked = Requirement(line)
        except InvalidRequirement:
            continue
        if not asked.marker or asked.marker.evaluate():
            yield line, asked.name


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _lines(requirements: str) -> Iterator[str]:
    lines = (re.split(r"(?:^|\s)#|\s--", line)[0].strip() for line in requirements.splitlines())
    return (line for line in lines if line)


def _problems(line: str) -> Iterator[str]:
    try:
        asked = Requirement(line)
    except InvalidRequirement:
        yield f"{line} cannot be compared with what is installed"
        return
    if asked.marker and not asked.marker.evaluate():
        return
    pin = str(asked.specifier)
    wanted = f"pinned is {pin[2:]}" if pin.startswith("==") and "," not in pin else f"asked for is {asked.url or pin}"
    try:
        there = version(asked.name)
    except PackageNotFoundError:
        yield f"{asked.name} is not installed, {wanted}" if asked.url or pin else f"{asked.name} is not installed"
        return
    if asked.url or not asked.specifier.contains(there, prereleases=True):
        yield f"{asked.name} {there} is installed, {wanted}"
