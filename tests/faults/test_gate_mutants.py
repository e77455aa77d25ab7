"""Break the gate in one place at a time: every mutant must turn the gate's unit tests red, or fail its selftest.

A mutant is one comparison, connective, sign, constant or outcome of the deciding modules turned into another. It is
loaded into a forked child of a process that has imported what no mutant changes. TEST_ROUNDS sets how many are drawn
(half of it; default 2); from 200 on, as in `make test-all`, all of them are tried. TEST_SEED makes another draw.

Promise: No comparison and no limit of the gate can be inverted unnoticed.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import ROOT, exhaustive
from tests.faults.mutants import Mutant, mutants

pytestmark = pytest.mark.timeout(3600)  # all of them take minutes

ROUNDS = int(os.environ.get("TEST_ROUNDS", "2"))
SEED = int(os.environ.get("TEST_SEED", "0"))
LIFECYCLE = ROOT / "lifecycle"
DECIDING = {
    "gate/checks": None,
    "evaluation/slices": None,
    "gate/decide": None,
    "evaluation/comparable": None,
    "gate/contest": {"limit", "risk"},
    "gate/doubt": None,
    "evaluation/statistics": {"accepts_gain", "at_risk", "careful_low", "discordance", "difference"},
    "evaluation/bootstrap": {"differing"},
    "problems/shares": None,
    "problems/judging": None,
    "problems/classification/judging": None,
    "problems/classification/scores": None,
    "problems/classification/trivial": None,
    "problems/regression/judging": None,
    "problems/regression/scores": None,
}
"""The modules that decide, and of some the functions that do; how its numbers come about is compared with scipy's,
and how many rows it takes is an estimate."""

EQUIVALENT: dict[tuple[str, str, int, str], str] = {
    (
        "lifecycle.gate.checks",
        "return _against(name, None, limit, False, measured, metric.name)",
        43,
        "False -> True",
    ): "what was not measured fails whatever is said of it",
    (
        "lifecycle.gate.doubt",
        "return test is None or test[0] == test[1] or _p(challenger, test) < EXPLAINED",
        49,
        "_p(challenger, test) < EXPLAINED -> _p(challenger, test) <= EXPLAINED",
    ): "no counts have exactly that p",
    (
        "lifecycle.problems.regression.scores",
        "return type(self)(*(np.stack(pair, axis=1).ravel() for pair in zip(self, other, strict=Tru",
        95,
        "True -> False",
    ): "both models have the same fields",
    **{
        (
            "lifecycle.gate.checks",
            "told = f\"{detail}; {why} it begins at {shown(surely, '+')}\" if found.low > limit >= surely",
            67,
            f"found.low > limit >= surely -> {changed}",
        ): "an interval that begins exactly at the limit is rare, and this only words it"
        for changed in ("found.low >= limit >= surely", "found.low > limit > surely")
    },
    ("lifecycle.gate.checks", "if careful < low:", 11, "careful < low -> careful <= low"): "equal limits are one",
    (
        "lifecycle.gate.checks",
        "careful = statistics.careful_low(found.value, variance, len(models[0].truth), risk=risk)",
        75,
        "0 -> 1",
    ): "both models answer the same rows",
    (
        "lifecycle.gate.decide",
        "margin = -limit if limit < 0 else max(limit, rules.worthwhile_gain)",
        13,
        "-limit -> limit",
    ): "how many rows it takes depends on the square of it",
    (
        "lifecycle.gate.decide",
        "visible=statistics.visible(variance, rows, risk=terms.risk, power=rules.power) if variance",
        104,
        "0 -> 1",
    ): "it is not told where there are no two models",
    (
        "lifecycle.evaluation.slices",
        "p_values = dict(zip(lost, adjusted([p for _, p in lost.values()]), strict=True))",
        78,
        "True -> False",
    ): "there are as many p-values as parts",
    (
        "lifecycle.problems.classification.scores",
        "(probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) <= ROUNDING).all()",
        40,
        "np.abs(probabilities.sum(axis=1) - 1) <= ROUNDING -> np.abs(probabilities.sum(axis=1) - 1) < ROUNDING",
    ): "no sum of floats is off by exactly that",
    (
        "lifecycle.evaluation.statistics",
        "p = float(stats.binomtest(repaired, broken + repaired).pvalue) if broken + repaired else 1",
        70,
        "broken + repaired -> broken - repaired",
    ): "as many broken as repaired rows have a p of 1 too",
    (
        "lifecycle.evaluation.bootstrap",
        "if new is not None and old is not None:",
        11,
        "new is not None and old is not None -> new is not None or old is not None",
    ): "to numpy an array differs from None everywhere",
    (
        "lifecycle.evaluation.bootstrap",
        "differs |= (new != old).reshape(len(differs), -1).any(axis=1)",
        58,
        "1 -> 2",
    ): "numpy takes every number below 0 for what remains",
}
"""Mutants that decide nothing differently: module, line, column and change, and why."""

Ask = Callable[[Mutant | None, str], dict[str, Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with zygote() as asking:
        yield asking


@contextmanager
def zygote() -> Iterator[Ask]:
    """Ask a fresh child of one process what an oracle says of a mutant."""
    command = [sys.executable, "-m", "tests.faults.mutant_zygote"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def ask(mutant: Mutant | None, oracle: str) -> dict[str, Any]:
            stdin.write(json.dumps({"mutant": mutant and mutant._asdict(), "oracle": oracle}) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        yield ask
        stdin.close()


def every_mutant() -> list[Mutant]:
    return [mutant for module, names in DECIDING.items() for mutant in mutants(LIFECYCLE / f"{module}.py", names)]


@exhaustive  # the oracles are tests themselves, and run by themselves each time
@pytest.mark.parametrize("oracle", ["unit", "selftest"])
def test_without_a_mutant_nothing_is_caught(ask: Ask, oracle: str) -> None:
    found = ask(None, oracle)
    assert not found["caught"], found["told"]


def test_every_mutant_is_caught(ask: Ask) -> None:
    everything = [mutant for mutant in every_mutant() if mutant.key not in EQUIVALENT]
    chosen = everything if ROUNDS >= 200 else random.Random(SEED).sample(everything, ROUNDS // 2)
    survivors = [m for m in chosen if not ask(m, "unit")["caught"] and not ask(m, "selftest")["caught"]]
    told = "\n".join(f"{mutant.place}: {mutant.change}    {mutant.line}" for mutant in survivors)
    assert not survivors, f"TEST_SEED={SEED}: {len(survivors)} of {len(chosen)} mutants were not caught:\n{told}"


def test_the_equivalent_ones_are_still_there() -> None:
    keys = {mutant.key for mutant in every_mutant()}
    assert not EQUIVALENT.keys() - keys
    assert len(keys) > 100


@exhaustive  # the oracles are tests themselves, and run by themselves each time
def test_each_oracle_catches_a_mutant_alone(ask: Ask) -> None:
    """What the mutants above rest on: a part of the rows that fails would pass."""
    in_parts = (
        m for m in every_mutant() if m.module.endswith("checks") and m.line == 'outcome="fail" if failed else "pass",'
    )
    blind = next(mutant for mutant in in_parts if mutant.change == "'fail' -> 'pass'")
    assert "slice broken" in ask(blind, "selftest")["told"]
    assert "tests/unit/test_" in ask(blind, "unit")["told"].strip().rpartition("\n")[2]
