"""Act on a broken probation in forked children of a process that has imported everything; a child may kill itself.

Orders come as JSON lines on stdin, exit codes go out on stdout; effects are those of `registry_zygote`.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from lifecycle import settings
from lifecycle.core.errors import MlopsError
from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded
from lifecycle.inference.manifest import MANIFEST
from lifecycle.registry import promotion
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from tests.faults.registry_zygote import watch
from tests.probation import act, subject_of


def main() -> None:
    """Import everything once, then fork one child per order."""
    for module in (
        "mlflow.store.tracking.sqlalchemy_store",
        "mlflow.store.model_registry.sqlalchemy_store",
        "deltalake",
    ):
        importlib.import_module(module)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        sys.stdout.flush()


def observed(config: Settings) -> dict[str, Any]:
    """Who is champion, and which rows count: in the folders, marks read, and in the table."""
    import deltalake

    now = promotion.read_log(target_of(config, "bikes"))
    folders = sorted(path.parent for path in config.predictions.glob(f"*/*/*/{MANIFEST}"))
    counting = [each for each in folders if not (each.name.startswith(".") or superseded.is_marked(each))]
    table = deltalake.DeltaTable(str(config.state / "table")).to_pandas()
    done = sorted(path.name for path in config.measurements.glob("*/probation/*/*.json"))
    return {
        "champion": now.champion,
        "alias": promotion.story.read(target_of(config, "bikes")).alias,
        "changes": [(entry.number, entry.kind) for entry in now.changes],
        "counting": [str(folder.relative_to(config.predictions)) for folder in counting],
        "parts": [sorted(batches.verify(folder).parts.items()) for folder in counting],
        "table": sorted(map(list, table.groupby(["model_version", "batch"]).size().reset_index().to_numpy().tolist())),
        "done": [name for name in done if not name.startswith(".")],
    }


def _child(order: dict[str, Any]) -> None:
    answer: dict[str, Any] = {"error": ""}
    try:
        config = settings.load("dev", home=Path(order["home"]))
        subject = subject_of(config, target_of(config, "bikes"))
        answer["before"] = observed(config)
        effects, finished = watch(order["home"], order["kill_at"], False)
        try:
            act(subject)
        except MlopsError as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        finished()
        answer |= {"effects": len(effects), "after": observed(config)}
    except BaseException:  # whatever it is: the test must see it
        import traceback

        answer["error"] = traceback.format_exc()
    Path(order["answer"]).write_text(json.dumps(answer))
    os._exit(0)


if __name__ == "__main__":
    main()
