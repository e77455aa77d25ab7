"""Act on a broken probation, of batches or of requests, in a child of a zygote, which may kill itself on the way."""

import json
from pathlib import Path
from typing import Any

from lifecycle import settings
from lifecycle.core.errors import MlopsError
from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded
from lifecycle.inference.manifest import MANIFEST
from lifecycle.monitoring import answers, store
from lifecycle.monitoring.findings import Measured
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from tests.faults.effects import watch
from tests.probation import act, answer, subject_of


def observed(config: Settings) -> dict[str, Any]:
    """Who is champion, and which rows count: in the folders, marks read, and in the table."""
    import deltalake

    folders = sorted(path.parent for path in config.predictions.glob(f"*/*/*/{MANIFEST}"))
    counting = [each for each in folders if not (each.name.startswith(".") or superseded.is_marked(each))]
    table = deltalake.DeltaTable(str(config.state / "table")).to_pandas()
    return champion(config, "bikes") | {
        "counting": [str(folder.relative_to(config.predictions)) for folder in counting],
        "parts": [sorted(batches.verify(folder).parts.items()) for folder in counting],
        "table": sorted(map(list, table.groupby(["model_version", "batch"]).size().reset_index().to_numpy().tolist())),
    }


def of_requests(config: Settings) -> dict[str, Any]:
    """Who is champion, what was measured of each window, by whose answers, and which inputs are left."""
    root, name = config.measurements, target_of(config, "asked").name
    drift, shadow = ([_told(each) for each in store.every(root, name, kind)] for kind in ("drift", "shadow"))  # type: ignore[arg-type]
    kept = [[each.batch, each.manifest.model_version, sorted(each.answers.index)] for each in answers.every(root, name)]
    inputs = sorted(path.name for path in config.measurements.glob(f"{name}/inputs/*"))
    return champion(config, "asked") | {"drift": drift, "shadow": shadow, "answers": kept, "inputs": inputs}


def _told(measured: Measured) -> list[Any]:
    return [measured.batch, measured.version, measured.scored, sorted({line.name for line in measured.beyond})]


def champion(config: Settings, model_name: str) -> dict[str, Any]:
    """Who is champion of a model, and what was decided on its probation."""
    target = target_of(config, model_name)
    now = promotion.read_log(target)
    done = sorted(path.name for path in config.measurements.glob(f"{target.name}/probation/*/*.json"))
    return {
        "champion": now.champion,
        "alias": promotion.story.read(target).alias,
        "changes": [(entry.number, entry.kind) for entry in now.changes],
        "done": [file for file in done if not file.startswith(".")],
    }


def carry_out(order: dict[str, Any]) -> None:
    """Answer with what was there before, how many side effects there were, and what is there after."""
    said: dict[str, Any] = {"error": ""}
    config = settings.load("dev", home=Path(order["home"]))
    subject = subject_of(config, target_of(config, "asked" if order["requests"] else "bikes"))
    look = of_requests if order["requests"] else observed
    said["before"] = look(config)
    effects, finished = watch(order["home"], order["kill_at"])
    try:
        answer(subject, config.state / "requests") if order["requests"] else act(subject)
    except MlopsError as error:
        said["error"] = f"{type(error).__name__}: {error}"
    finished()
    said |= {"effects": len(effects), "after": look(config)}
    Path(order["answer"]).write_text(json.dumps(said))
