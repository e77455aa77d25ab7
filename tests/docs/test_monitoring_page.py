"""Every command of docs/monitoring.md runs, in its order, and its alert becomes an event; its settings are valid."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventNameFilter

from lifecycle.settings.environment import Settings
from lifecycle.settings.rules import MonitoringRules
from tests.conftest import ROOT, exhaustive
from tests.docs.conftest import Walk

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


@exhaustive  # a page a night: what it goes through has tests of its own
def test_every_command_runs_in_the_order_of_the_page(walk: Walk) -> None:
    rentals(900, 0).to_csv("bikes.csv", index=False)
    Path("inbox").mkdir()
    counted = []
    for day in range(1, 5):
        rows = rentals(200, day)
        counted.append(rows[["instant", "cnt", "season"]])
        told = rows["temp"] if day == 1 else rows["temp"] * 1.8 + 32
        rows.assign(temp=told).drop(columns="cnt").to_csv(f"inbox/2026-11-0{day}.csv", index=False)
    pd.concat(counted).to_csv("counted.csv", index=False)
    walk(PAGE, programs=False)
    payload = _heard("dev.ml.bikes")
    assert (payload["since"], payload["environment"], payload["version"]) == ("2026-11-02", "dev", 1)
    assert {cause["name"] for cause in payload["causes"]} == {"temp", "prediction"}
    assert payload["next"] == "mlops monitor show --model-name bikes --env dev"


def _heard(model: str) -> dict[str, Any]:
    """What the event of the alert carries, once the server has it."""
    chosen = EventFilter(event=EventNameFilter(name=["mlops.drift.detected"]))
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            payloads = [event.payload for event in client.read_events(chosen, limit=50).events]
        if heard := [payload for payload in payloads if payload["model"] == model]:
            return heard[0]
        time.sleep(0.2)
    raise AssertionError(f"no event about {model}")
