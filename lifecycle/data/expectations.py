"""Great Expectations without what it imports and this project's checks never call: half of the time of its import.

Spark and SQLAlchemy it looks for and does without; statistics and charts it imports for expectations of distributions.
Of a process without a main file pyspark 4.3 believes that it tests its examples: where packages of Spark Connect are
missing, their import then ends the process, with exit code 0.
"""

import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

HIDDEN = {"pyspark", "pyspark.sql.connect", "sqlalchemy"}
"""What it does without: the second where the process uses Spark already."""
LATER = {"altair", "scipy.stats"}
"""What it imports at its start and is imported once something of it is asked for."""


class _StandIn(ModuleType):
    """A module that becomes the real one when it is asked for anything."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Sparing(Loader):
    """Finds none of these packages, or a stand-in, for one thread: another one may import them meanwhile."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.stand_ins: dict[str, ModuleType] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        if threading.get_ident() != self._thread:
            return None
        if name in HIDDEN:
            raise ModuleNotFoundError(f"{name} is not used here", name=name)
        return spec_from_loader(name, self) if name in LATER - self.stand_ins.keys() else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.stand_ins.setdefault(spec.name, ModuleType(spec.name))

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _StandIn  # not before: the import itself asks for attributes


@contextmanager
def _spared() -> Iterator[None]:
    sparing = _Sparing()
    sys.meta_path.insert(0, sparing)
    try:
        yield
    finally:
        sys.meta_path.remove(sparing)
        for name, stand_in in sparing.stand_ins.items():  # who imports it from now on gets the real one
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
            package, _, child = name.rpartition(".")
            if package and vars(sys.modules[package]).get(child) is stand_in:
                delattr(sys.modules[package], child)


with _spared():
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.renderer import ExpectationSuitePageRenderer, ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView
    from great_expectations.validator.validation_statistics import calc_validation_statistics
    from great_expectations.validator.validator import Validator

__all__ = [
    "ExpectationConfiguration",
    "ExpectationSuitePageRenderer",
    "ExpectationSuiteValidationResult",
    "PandasExecutionEngine",
    "RunIdentifier",
    "ValidationResultsPageRenderer",
    "Validator",
    "calc_validation_statistics",
    "gx",
    "view",
]


@cache
def view() -> DefaultJinjaPageView:
    """What makes a page of what a renderer tells: one for all pages, since it compiles their templates."""
    return DefaultJinjaPageView()
