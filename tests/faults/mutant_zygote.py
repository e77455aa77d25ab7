"""Ask oracles about mutants, each in a forked child of a process that has collected the gate's tests.

Orders come as JSON lines on stdin, `{mutant, oracle}`; answers go out on stdout, `{caught, told}`. In the child the
functions of the mutated module get the code of the mutant, so that whoever has imported them calls it.
"""

import importlib
import inspect
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, TextIO

import pytest

from tests.faults.mutants import mutated

DECISIONS = ("test_gate_decisions.py", "test_number_decisions.py")
TESTS = {
    "evaluation.bootstrap": (*DECISIONS, "test_statistics.py"),
    "evaluation.comparable": ("test_comparable.py", *DECISIONS),
    "evaluation.statistics": (*DECISIONS, "test_statistics.py"),
    "gate.doubt": ("test_doubt.py",),
    "problems.classification.judging": DECISIONS[:1],
    "problems.classification.scores": ("test_comparable.py", DECISIONS[0], "test_statistics.py"),
    "problems.classification.trivial": DECISIONS[:1],
    "problems.regression.judging": DECISIONS[1:],
    "problems.regression.scores": ("test_number_scores.py", DECISIONS[1]),
    "problems.shares": ("test_statistics.py", *DECISIONS),
}
"""The tests of a module; those of the others are the decisions."""
DEADLINE_SECONDS = 240
EVERY = int(os.environ.get("TEST_ROUNDS", "6")) >= 200
"""Whether the selftests of all problems are asked; else that of texts alone."""


class Zygote:
    """A plugin of pytest that runs the collected tests as often as it is asked to, each time in a child."""

    def __init__(self, answers: TextIO) -> None:
        self.answers = answers

    def pytest_collection(self) -> None:
        """Let hypothesis end at the first failure: nobody reads the smallest one."""
        import hypothesis  # not before pytest has seen that it is a plugin

        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("first failure", phases=phases)
        hypothesis.settings.load_profile("first failure")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answer orders instead of running the tests."""
        for line in sys.stdin:
            self.answers.write(json.dumps(_asked(json.loads(line), session)) + "\n")
            self.answers.flush()
        return True


def _asked(order: dict[str, Any], session: pytest.Session) -> dict[str, Any]:
    with tempfile.TemporaryFile() as told:
        pid = os.fork()
        if pid == 0:
            signal.alarm(DEADLINE_SECONDS)  # a mutant that never ends is caught
            os.dup2(told.fileno(), 1)
            os.dup2(told.fileno(), 2)
            _child(order, session)
        _, status = os.waitpid(pid, 0)
        told.seek(0)
        words = told.read().decode(errors="replace")[-3000:]
        killer = words.strip().rpartition("\n")[2]
        session.items.sort(key=lambda item: item.nodeid != killer)  # what caught one mutant may well catch the next
        return {"caught": status != 0, "told": words}


def _child(order: dict[str, Any], session: pytest.Session) -> None:
    caught = True
    try:
        if order["mutant"]:
            _mutate(order["mutant"]["module"], order["mutant"]["number"])
        caught = _unit(order["mutant"], session) if order["oracle"] == "unit" else _selftest()
    finally:  # whatever a mutant does is caught, and the child ends here
        sys.stdout.flush()
        os._exit(caught)


def _mutate(name: str, number: int) -> None:
    module = importlib.import_module(name)
    path = Path(str(module.__file__))
    changed: dict[str, Any] = {"__name__": name, "__file__": str(path)}
    exec(compile(mutated(path.read_text(encoding="utf-8"), number), path, "exec"), changed)  # noqa: S102
    _replace(vars(module), changed, name)


def _replace(here: Mapping[str, Any], changed: Mapping[str, Any], name: str) -> None:
    """Give the functions of a module, and the methods of its classes, the code of the mutant; and its constants."""
    for key in changed:
        value, known = (_function(names.get(key)) for names in (changed, here))
        if isinstance(value, FunctionType) and isinstance(known, FunctionType) and value.__module__ == name:
            known.__code__ = value.__code__
        elif isinstance(value, type) and isinstance(known, type) and value.__module__ == name:
            _replace(vars(known), vars(value), name)
        elif isinstance(here, dict) and isinstance(value, int | float | str):
            here[key] = value


def _function(value: Any) -> Any:
    """What a property or a decorated function calls; anything else as it is."""
    return inspect.unwrap(value.fget if isinstance(value, property) else value)


def _unit(mutant: dict[str, Any] | None, session: pytest.Session) -> bool:
    names = TESTS.get(mutant["module"].removeprefix("lifecycle."), DECISIONS) if mutant else _files()
    items = [item for item in session.items if item.path.name in names]
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            sys.stdout.write(f"\n{item.nodeid}\n")
            return True
    return not items


def _files() -> tuple[str, ...]:
    return tuple(dict.fromkeys([*DECISIONS, *(name for names in TESTS.values() for name in names)]))


def _selftest() -> bool:
    from lifecycle.core.names import TEXT_CLASSIFICATION, Environment
    from lifecycle.gate.selftest import selftest
    from lifecycle.problems.known import PROBLEMS
    from lifecycle.settings.gate_rules import GateRules

    for problem in PROBLEMS if EVERY else [TEXT_CLASSIFICATION]:
        result = selftest.run(problem, GateRules(), Environment.DEV)
        sys.stdout.write("\n".join(result.reasons))
        if not result.passed:
            return True
    return False


def main() -> None:
    """Collect the tests, then answer orders; what pytest says besides goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    folder = Path(__file__).parents[1] / "unit"
    files = [str(folder / name) for name in _files()]
    quiet = [
        "-s",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        "--noconftest",
        "-o",
        f"timeout={DEADLINE_SECONDS}",
    ]
    pytest.main([*quiet, *files], plugins=[Zygote(answers)])


if __name__ == "__main__":
    main()
