"""Every command and program of docs/chat.md runs, in its order; its definition and its parameters are valid."""

import re
from pathlib import Path

import yaml

from lifecycle.problems.chat.parameters import Parameters
from lifecycle.problems.known import named
from lifecycle.settings.definitions import ModelDefinition
from tests.conftest import ROOT, exhaustive
from tests.docs.conftest import Walk
from tests.encoder import write_encoder
from tests.questions import write_project

PAGE = (ROOT / "docs/chat.md").read_text(encoding="utf-8")
SLOW = "mlops gate selftest"
"""It runs in test_chat already."""


def test_its_definition_is_valid_and_every_parameter_stands_there() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    written = yaml.safe_load(block)
    definition = ModelDefinition.model_validate(written)
    assert definition.model_dump(exclude_unset=True) == written
    for name in (*named("chat").learning.estimators, *Parameters.model_fields):
        assert f"`{name}`" in PAGE


@exhaustive  # a page a night: what it goes through has tests of its own
def test_every_command_and_program_runs_in_the_order_of_the_page(walk: Walk) -> None:
    write_project()
    write_encoder(Path("minilm"))
    assert "refused" in walk(PAGE, but=SLOW)
