"""What docs/tables.md says of a model's definition is valid, and its rules of the gate are too."""

import re

import yaml

from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.gate_rules import GateRules
from tests.conftest import ROOT

PAGE = (ROOT / "docs/tables.md").read_text(encoding="utf-8")


def test_its_definition_is_valid_to_the_last_field() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    written = yaml.safe_load(block)
    definition = ModelDefinition.model_validate(written)
    assert definition.model_dump(exclude_unset=True) == written
    assert GateRules.model_validate(definition.gate).floors == {"r2": 0.6}
