"""Every command and program of docs/pairs.md runs, in its order; its definition and its parameters are valid."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from cli.main import main
from lifecycle.problems.contract import Column
from lifecycle.problems.known import named
from lifecycle.problems.text_pair_classification.proposal import COUPLES
from lifecycle.settings.definitions import ModelDefinition
from lifecycle.settings.gate_rules import GateRules
from tests.conftest import ROOT
from tests.pairs import pairs

PAGE = (ROOT / "docs/pairs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(console|python)\n(.*?)```", PAGE, re.S)


def test_its_definition_and_parameters_are_valid_to_the_last_one() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    written = yaml.safe_load(block)
    definition = ModelDefinition.model_validate(written)
    assert definition.model_dump(exclude_unset=True) == written
    rules = GateRules.model_validate(definition.gate)
    problem = named(definition.problem)
    assert {*(rules.slices.by or ())} == {*problem.judging.usual_slices}
    inputs = tuple(Column(name=name, kind="text") for name in ("premise", "hypothesis"))
    problem.learning.build(definition.training.algorithm, definition.training.params, 0, inputs)
    assert all(f"`{name}`" in PAGE for name in problem.learning.estimators)
    assert all(f"`{one}` and `{other}`" in PAGE for one, other in COUPLES[:2])


@pytest.mark.usefixtures("replayed_here")
def test_every_command_and_program_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one process, the gate's fresh process included: what that costs and proves is tested elsewhere."""
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    rows = pairs()
    rows.to_csv("nli.csv", index=False)
    rows.head(9).rename(columns={"premise": "said", "hypothesis": "asked"}).to_csv("more.csv", index=False)
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "docs/pairs.md", "exec"), {})  # noqa: S102  what the page tells people to run
            continue
        for line in block.splitlines():
            command, _, code = line.partition("  # exit code ")
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as end:
                sys.exit(main())
            assert (end.value.code or 0) == int(code or 0), f"{line}\n{capsys.readouterr()}"
