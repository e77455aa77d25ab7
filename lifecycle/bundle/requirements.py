"""What jobs install beyond the wheel: the packages of the algorithms that the project's models are fitted by."""

import re
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lifecycle.problems.known import named
from lifecycle.settings import definitions
from lifecycle.settings.definitions import ModelDefinition

PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[^\s;#]+)")

Extras = dict[str, dict[str, Requirement]]


def of_models(wheel: Path, constraints: Path) -> list[str]:
    """The extras of the wheel that the defined models need, in the versions of the constraints if there are such.

    A factory of one's own is not known to need anything: its packages are added to the jobs by hand.
    """
    wanted = {package for model in definitions.every().values() for package in _packages(model)}
    if not wanted:
        return []
    extras, pins = _extras(wheel), _pins(constraints)
    chosen = {extra for package in wanted for extra in _smallest(extras, package)}
    needed = {name: requirement for extra in chosen for name, requirement in extras[extra].items()}
    return [_line(requirement, pins) for _, requirement in sorted(needed.items())]


def _packages(model: ModelDefinition) -> tuple[str, ...]:
    estimators = named(model.problem).learning.estimators
    entry = estimators.get(model.training.algorithm or next(iter(estimators)))
    return entry.packages if entry else ()


def _extras(wheel: Path) -> Extras:
    """What each extra of a wheel asks for, by the canonical names of the packages."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = Parser().parsestr(archive.read(name).decode())
    asked = [Requirement(line) for line in about.get_all("Requires-Dist", [])]
    return {
        extra: {
            canonicalize_name(each.name): each
            for each in asked
            if each.marker and not each.marker.evaluate({"extra": ""}) and each.marker.evaluate({"extra": extra})
        }
        for extra in about.get_all("Provides-Extra", [])
    }


def _smallest(extras: Extras, package: str) -> Iterator[str]:
    """The extra that brings a package with the fewest others; what all installations have is of none."""
    bringing = [extra for extra, asked in extras.items() if canonicalize_name(package) in asked and extra != "dev"]
    yield from sorted(bringing, key=lambda extra: len(extras[extra]))[:1]


def _pins(constraints: Path) -> dict[str, str]:
    text = constraints.read_text(encoding="utf-8") if constraints.is_file() else ""
    return {canonicalize_name(found["name"]): found["version"] for found in PIN.finditer(text)}


def _line(requirement: Requirement, pins: dict[str, str]) -> str:
    pin = pins.get(canonicalize_name(requirement.name))
    return f"{requirement.name}=={pin}" if pin else f"{requirement.name}{requirement.specifier}"
