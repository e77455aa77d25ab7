"""Every command and program of docs/pairs.md runs, in its order; its definition and its parameters are valid."""

import re

import yaml

from lifecycle.problems.contract import Column
from lifecycle.problems.known import named
from lifecycle.problems.learning import Spec
from lifecycle.problems.text_pair_classification.proposal import COUPLES
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.gate_rules import GateRules
from tests.conftest import ROOT, exhaustive
from tests.docs.conftest import Walk
from tests.pairs import pairs

PAGE = (ROOT / "docs/pairs.md").read_text(encoding="utf-8")


def test_its_definition_and_parameters_are_valid_to_the_last_one() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    written = yaml.safe_load(block)
    definition = ModelDefinition.model_validate(written)
    assert definition.model_dump(exclude_unset=True) == written
    rules = GateRules.model_validate(definition.gate)
    problem = named(definition.problem)
    assert {*(rules.slices.by or ())} == {*problem.judging.usual_slices}
    inputs = tuple(Column(name=name, kind="text") for name in ("premise", "hypothesis"))
    problem.learning.build(Spec(definition.training.algorithm, definition.training.params, 0, inputs))
    assert all(f"`{name}`" in PAGE for name in problem.learning.estimators)
    assert all(f"`{one}` and `{other}`" in PAGE for one, other in COUPLES[:2])


@exhaustive  # a page a night: what it goes through has tests of its own
def test_every_command_and_program_runs_in_the_order_of_the_page(walk: Walk) -> None:
    rows = pairs(900)
    rows = rows[(rows["judgment"] == "neutral") | (rows["pair"] % 3 == 0)]  # as in real sets most are neutral
    rows.to_csv("nli.csv", index=False)
    rows.head(9).rename(columns={"premise": "said", "hypothesis": "asked"}).to_csv("more.csv", index=False)
    walk(PAGE)
