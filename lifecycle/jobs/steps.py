"""The heavy steps by name: one frozen request in, nothing out; the result lies where the request says.

A remote job runs the same: `mlops-step <step> <request>`, the request as JSON or as `@` and the path of a file.
"""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.core.masking import guard
from lifecycle.data import dataset
from lifecycle.data.manifest import CreateDataRequest
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.monitoring import served
from lifecycle.storage import volumes
from lifecycle.training import train as training


class Step(NamedTuple):
    """What a step takes and does."""

    request: type[Frozen]
    run: Callable[[Any], None]


STEPS = {
    "create-data": Step(CreateDataRequest, dataset.create),
    "train": Step(training.TrainRequest, training.train),
    "evaluate": Step(evaluation.EvaluateRequest, evaluation.evaluate),
    "infer": Step(batches.BatchRequest, batch.infer),
    "monitor": Step(served.Requests, served.measure),
}


def run(name: str, request: str) -> None:
    """Run one step from its name and its request: JSON, or `@` and the path of a file that holds it.

    Raises:
        ConfigError: There is no such step, or the request is not one of its: whoever sends it runs other code.
    """
    if name not in STEPS:
        raise ConfigError(f"{name!r} is not a step: there are {', '.join(STEPS)}.", "Name one of them.")
    step = STEPS[name]
    try:
        checked = step.request.model_validate_json(_file(request[1:]) if request.startswith("@") else request)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        what = f"This is not a request of the step {name}: {where}: {first['msg']}."
        raise ConfigError(what, "Job and caller must run the same code: mlops databricks deploy") from None
    step.run(checked)


def main() -> None:
    """Run what the command line says; an error leaves as an exception, whose last line the run of a job shows.

    Raises:
        ConfigError: The command line does not name a step and its request.
    """
    if len(sys.argv) != 3 or not sys.argv[2]:
        what = f"A step and its request are needed, not {sys.argv[1:]}."
        raise ConfigError(what, "Usage: mlops-step <step> <request as JSON, or @<path of a file that holds it>>")
    guard()
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("lifecycle").setLevel(logging.INFO)
    run(*sys.argv[1:])


def _file(path: str) -> str:
    return volumes.read(Path(path)).decode()


if __name__ == "__main__":
    main()
