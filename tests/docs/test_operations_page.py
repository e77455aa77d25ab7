"""Every command, picture, deployment, event and setting that docs/operations.md names exists."""

import re
import shlex
from typing import get_args

import pytest
import yaml
from typer import main as typer

from cli.main import app
from cli.operations import setup
from lifecycle.settings.environment import NOT_SETTINGS, Settings
from tasks.events import ALERTS, Kind
from tests.conftest import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
FENCES = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
PROSE = FENCES.sub("", PAGE)
BLOCKS = FENCES.findall(PAGE)
LINES = [line for kind, block in BLOCKS if kind in {"", "console"} for line in block.splitlines()]
INLINE = re.findall(r"`([^`\n]+)`", PROSE)
COMMANDS = [text for text in [*LINES, *INLINE] if text.startswith("mlops ")]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_parses(command: str) -> None:
    """Also with its values: choices, dates and numbers are read, nothing is run."""
    words = shlex.split(command, comments=True)[1:]
    found = typer.get_command(app)
    path = ["mlops"]
    while hasattr(found, "commands"):
        assert words, f"{command} names a group"
        path.append(words.pop(0))
        assert path[-1] in found.commands, command
        found = found.commands[path[-1]]
    if not words and command in INLINE:
        return  # a mention; the options that a run would need are left out
    with found.make_context(" ".join(path), words) as context:
        assert context.command is found


def test_the_console_block_brings_up_what_it_takes_down() -> None:
    (block,) = [block.splitlines() for kind, block in BLOCKS if kind == "console"]
    assert (block[0], block[-1]) == ("mlops up --detach", "mlops down")


def test_every_picture_exists_and_is_shown_and_is_light() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    shown = {ROOT / "docs" / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", pages)}
    assert shown == set((ROOT / "docs/images").iterdir())
    taken = re.findall(r'^    take\(page, "([\w-]+)"', (ROOT / "docs/screenshots.py").read_text(encoding="utf-8"), re.M)
    assert {path.stem for path in shown} == set(taken)
    for path in shown:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG"), path
        assert len(content) <= 250_000, path


def test_every_deployment_that_is_named_exists() -> None:
    page = (ROOT / "docs/reference/deployments.md").read_text(encoding="utf-8")
    deployed = set(re.findall(r"`([a-z-]+/[\w-]+)`", page))
    flows = "|".join({name.partition("/")[0] for name in deployed})
    assert set(re.findall(rf"(?<![\w/.-])(?:{flows})/[\w-]+", PAGE)) <= deployed


def test_every_event_is_emitted_or_listened_to() -> None:
    emitted = {f"mlops.model.{kind}" for kind in get_args(Kind)} | {*ALERTS.values()}
    triggers = [trigger for entry in PREFECT["deployments"] for trigger in entry.get("triggers", [])]
    expected = {event for trigger in triggers for event in trigger["expect"]}
    resources = {"mlops.model.<registered", "mlops.model.dev.ml.sentiment"}
    written = set(re.findall(r"(?<![\w.])mlops\.[a-z]+\.[\w.<-]+", PAGE)) - resources
    assert written == emitted | expected
    assert [trigger["enabled"] for trigger in triggers] == [True, False, False]


def test_every_setting_and_variable_is_known() -> None:
    for kind, block in BLOCKS:
        if kind == "yaml":
            Settings.model_validate({"env": "prod", **yaml.safe_load(block)})
    named = {"tracking_uri", "data_root", "output_root", "mlflow_ui"}
    assert named <= set(INLINE) & set(Settings.model_fields)
    secret = {"MLOPS_SECRET_NEWS"}  # what follows the prefix is anybody's own
    assert set(re.findall(r"MLOPS_[A-Z_]+", PAGE)) <= NOT_SETTINGS | secret
    assert setup.ALERTS_URL in PAGE
