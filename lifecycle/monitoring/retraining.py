"""Trainings that events have started: how many there were lately, and whether there may be one more.

`<root>/<registered model>/retrainings/<run>.json` says when each began. Prefect makes one of several events; this is
not forgotten when its automation is deployed anew, and holds for whatever else starts the deployment.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lifecycle.monitoring import store
from lifecycle.settings.rules import RetrainingRules
from lifecycle.storage import volumes

FOLDER = "retrainings"


def refusal(root: Path, name: str, run: str, rules: RetrainingRules) -> str:
    """Why a run may not train now; if it may, that it does is written down, and the answer is empty.

    A run that is repeated may go on.
    """
    path = root / name / FOLDER / f"{run}.json"
    if volumes.exists(path):
        return ""
    now, begun = datetime.now(UTC), _begun(root, name)
    # either way: what a clock that went wrong has dated years ahead would otherwise count until then
    if hot := [each for each in begun if abs(now - each) < timedelta(hours=rules.cool_down_hours)]:
        return f"cool-down: the last retraining began {hot[-1]:%Y-%m-%d %H:%M} UTC ({rules.cool_down_hours:g} h)"
    lately = sum(abs(now - each) < timedelta(days=rules.days) for each in begun)
    if lately >= rules.budget:
        return f"budget: {lately} retrainings in {rules.days:g} days, {rules.budget} are allowed"
    store.write_json(path, {"at": now.isoformat()})
    return ""


def _begun(root: Path, name: str) -> list[datetime]:
    """When each retraining began, the earliest first."""
    paths = volumes.glob(root / name, f"{FOLDER}/*.json")
    found = [json.loads(volumes.read(path)) for path in paths if not path.name.startswith(".")]
    return sorted(datetime.fromisoformat(each["at"]) for each in found)
