"""What docs/databricks.md names exists: commands, settings, jobs, folders, parameters of notebooks, files."""

import re
import shlex

import pytest
import yaml
from typer import main as typer

from cli.main import app
from lifecycle.bundle import definition
from lifecycle.core.names import Environment
from lifecycle.jobs import steps
from lifecycle.settings import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs/databricks.md").read_text(encoding="utf-8")
FENCES = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.S | re.M)
PROSE = FENCES.sub("", PAGE)
BLOCKS = [(kind, re.sub(r"\\\n *", "", block)) for kind, block in FENCES.findall(PAGE)]
LINES = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
INLINE = [text.replace(" …", "") for text in re.findall(r"`([^`\n]+)`", PROSE)]
COMMANDS = sorted({text for text in [*LINES, *INLINE] if text.startswith("mlops ")})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    words = shlex.split(command.replace("<", "").replace(">", ""), comments=True)[1:]
    found = typer.get_command(app)
    while hasattr(found, "commands"):
        name = words.pop(0)
        assert name in found.commands, command
        found = found.commands[name]
    if command in LINES:
        with found.make_context("mlops", words) as context:
            assert context.command is found
    else:
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"^make ([\w-]+)$", "\n".join(LINES), re.M))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert named == {"setup-databricks", "demo-databricks"}
    assert named <= targets


def test_the_versions_that_something_was_proven_with_are_the_pinned_ones() -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    named = re.findall(r"(databricks-sdk|prefect-databricks|mlflow|databricks-bundles) (\d[\d.]*\d)", PAGE)
    assert len(named) == 4
    assert [f"{name}=={version}" for name, version in named if f"{name}=={version}" not in pinned] == []


def test_every_setting_is_known() -> None:
    for kind, block in BLOCKS:
        if kind == "yaml":
            Settings.model_validate({"env": "prod", **yaml.safe_load(block)})
    for name in (text.removeprefix("databricks.") for text in INLINE if re.fullmatch(r"databricks\.[a-z_]+", text)):
        assert name in Settings.model_fields["databricks"].default.model_dump() or name == "yml", name


def test_the_jobs_and_folders_are_those_of_the_bundle() -> None:
    bundle = definition.read(ROOT, "dev")
    assert f"`<target>-mlops-create-data`, {', '.join(f'`-{step}`' for step in list(steps.STEPS)[1:])}" in PAGE
    assert all(job["name"].startswith("dev-mlops-") for job in bundle.jobs.values())
    assert f"`{bundle.file_path.replace('/dev/', '/<target>/')}/notebooks/`" in PAGE
    assert f"`{str(bundle.wheels).replace('/dev/', '/<catalog>/')}/latest/`" in PAGE


def test_the_variables_of_the_workflow_are_described() -> None:
    workflow = (ROOT / ".github/workflows/deploy.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"vars\.(DATABRICKS_\w+)", workflow)) <= set(INLINE)
    for env in Environment:
        assert f"config/{env}.yaml" in PAGE


def test_every_file_and_anchor_that_is_named_exists() -> None:
    headings = re.findall(r"^#+ (.+)$", PROSE, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        name, _, anchor = target.partition("#")
        assert (ROOT / "docs" / name).exists(), target
        assert name or anchor in anchors, target
    for name in re.findall(r"(examples/[\w/]+\.\w+)", PAGE):
        assert (ROOT / name).is_file(), name
