"""Modules under the names that they had in earlier releases, for what was stored or deployed then.

Prefect names the class of each result by its module, so a flow run that goes on under a newer release reads such names;
a notebook that was deployed before calls `lifecycle.notebooks`. What is new uses the names of now.
"""

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "lifecycle.databricks_runs": "lifecycle.databricks.run_states",
    "lifecycle.errors": "lifecycle.core.errors",
    "lifecycle.notebooks": "lifecycle.jobs.notebooks",
    "lifecycle.outcomes": "tasks.outcomes",
    "lifecycle.steps": "lifecycle.jobs.steps",
}
CLASSES = {
    "lifecycle.evaluation": {"EvaluateRequest": "lifecycle.evaluation.evaluate"},
    "lifecycle.training": {"TrainRequest": "lifecycle.training.train"},
}
"""Modules whose name is a package's now, and what was stored of them."""


class _Earlier(MetaPathFinder, Loader):
    """Finds a module by its earlier name, after everything else has been asked."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  the import system's names
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = partial(getattr, import_module(MODULES[module.__name__]))


def find() -> None:
    """Make the earlier names importable in this process."""
    if not any(isinstance(finder, _Earlier) for finder in sys.meta_path):
        sys.meta_path.append(_Earlier())


def of_package(package: str, name: str) -> Any:
    """What a package answers when it is asked for a name that it does not hold.

    Raises:
        AttributeError: It never held it.
    """
    if module := CLASSES[package].get(name):
        return getattr(import_module(module), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
