"""Every command of docs/monitoring.md runs, in its order, and its alert becomes an event; its settings are valid."""

import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventNameFilter

from cli.main import main
from lifecycle.settings.environment import Settings
from lifecycle.settings.rules import MonitoringRules
from tests.conftest import ROOT

PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")


def rentals(count: int, seed: int) -> pd.DataFrame:
    """Hours with a key, a temperature, a season, and how many bikes were out."""
    rng = np.random.default_rng(seed)
    temp, season = rng.uniform(0, 30, count).round(2), rng.choice(["spring", "summer", "winter"], count)
    rows = pd.DataFrame({"instant": [f"{seed}-{number}" for number in range(count)], "temp": temp, "season": season})
    return rows.assign(cnt=(10 * temp + 50 * (season == "summer") + rng.normal(0, 5, count)).round(2))


def test_its_settings_are_valid_and_its_facts_true() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S):
        Settings.model_validate({"env": "prod", **yaml.safe_load(block)})
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert MonitoringRules.model_fields.keys() - {"enabled", "min_rows"} <= named
    rules = MonitoringRules()
    assert (rules.least, rules.window) == (3, 5), "three such days in five"
    for number in (rules.probation.batches, rules.probation.days, rules.probation.least):
        assert f"({number:g})" in PAGE


@pytest.mark.usefixtures("replayed_here")
def test_every_command_runs_in_the_order_of_the_page(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server)
    monkeypatch.delenv("MLOPS_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    rentals(900, 0).to_csv("bikes.csv", index=False)
    Path("inbox").mkdir()
    counted = []
    for day in range(1, 5):
        rows = rentals(200, day)
        counted.append(rows[["instant", "cnt", "season"]])
        told = rows["temp"] if day == 1 else rows["temp"] * 1.8 + 32
        rows.assign(temp=told).drop(columns="cnt").to_csv(f"inbox/2026-11-0{day}.csv", index=False)
    pd.concat(counted).to_csv("counted.csv", index=False)
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.S):
        for line in block.splitlines():
            command, _, code = line.partition("  # exit code ")
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as end:
                sys.exit(main())
            assert (end.value.code or 0) == int(code or 0), f"{line}\n{capsys.readouterr()}"
    payload = _heard("dev.ml.bikes")
    assert (payload["since"], payload["environment"], payload["version"]) == ("2026-11-02", "dev", 1)
    assert {cause["name"] for cause in payload["causes"]} == {"temp", "prediction"}
    assert payload["next"] == "mlops monitor show --model-name bikes --env dev"


def _heard(model: str) -> dict[str, Any]:
    """What the event of the alert carries, once the server has it."""
    chosen = EventFilter(event=EventNameFilter(name=["mlops.drift.detected"]))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            payloads = [event.payload for event in client.read_events(chosen, limit=50).events]
        if heard := [payload for payload in payloads if payload["model"] == model]:
            return heard[0]
        time.sleep(0.2)
    raise AssertionError(f"no event about {model}")
