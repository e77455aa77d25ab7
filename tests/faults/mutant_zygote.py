"""Ask oracles about mutants, each in a forked child of a process that has imported the libraries but nothing of ours.

Orders come as JSON lines on stdin, `{mutant, oracle}`; an answer goes out on stdout, `{caught, told}`.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.mutants import mutated

ROOT = Path(__file__).parents[2]
LIBRARIES = ("hypothesis", "mlflow.pyfunc", "pytest", "scipy.stats", "skops.io", "sklearn.linear_model")
DECISIONS = "tests/unit/test_gate_decisions.py"
UNIT = {"comparable": ("tests/unit/test_comparable.py",), "statistics": (DECISIONS, "tests/unit/test_statistics.py")}
"""The tests of a module; those of the others are the decisions."""
DEADLINE_SECONDS = 120


class Mutator(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed source."""

    def __init__(self, module: str, number: int) -> None:
        self.module, self.number = module, number

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self.module else None

    def exec_module(self, module: ModuleType) -> None:
        path = ROOT / f"{self.module.replace('.', '/')}.py"
        exec(compile(mutated(path.read_text(encoding="utf-8"), self.number), path, "exec"), module.__dict__)  # noqa: S102


def main() -> None:
    """Import everything that a child needs but is not ours, then fork one child per order."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        receive, send = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(send, json.dumps(_child(order)).encode())
            os._exit(0)
        os.close(send)
        with os.fdopen(receive) as answer:
            said = answer.read()
        os.waitpid(pid, 0)
        sys.stdout.write((said or json.dumps({"caught": True, "told": "the child died"})) + "\n")
        sys.stdout.flush()


def _child(order: dict[str, Any]) -> dict[str, Any]:
    assert not [name for name in sys.modules if name.startswith("lifecycle")], "ours must be imported anew"
    if order["mutant"]:
        sys.meta_path.insert(0, Mutator(order["mutant"]["module"], order["mutant"]["number"]))
    signal.alarm(DEADLINE_SECONDS)  # a mutant that never ends is caught
    told = io.StringIO()
    try:
        with redirect_stdout(told), redirect_stderr(told):
            caught = _unit(order["mutant"]) if order["oracle"] == "unit" else _selftest()
    except BaseException as error:  # a mutant that cannot even be imported is caught too
        return {"caught": True, "told": f"{type(error).__name__}: {error}"}
    return {"caught": caught, "told": told.getvalue()[-3000:]}


def _unit(mutant: dict[str, Any] | None) -> bool:
    import pytest

    every = dict.fromkeys(name for files in UNIT.values() for name in files)
    files = UNIT.get(mutant["module"].rpartition(".")[2], (DECISIONS,)) if mutant else tuple(every)

    quiet = ["-x", "-q", "-n0", "--noconftest", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--tb=line"]
    quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis was imported beforehand
    return pytest.main([*quiet, *files]) != 0


def _selftest() -> bool:
    from lifecycle.gate import selftest
    from lifecycle.gate.rules import GateRules
    from lifecycle.names import Environment

    result = selftest.run(GateRules(), Environment.DEV)
    sys.stdout.write("\n".join(result.reasons))
    return not result.passed


if __name__ == "__main__":
    main()
