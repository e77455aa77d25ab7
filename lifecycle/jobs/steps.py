"""The heavy steps by name: one frozen request in, nothing out; the result lies where the request says.

A remote job runs the same: `mlops-step <step> <request> [<secret scope>]`, the request as JSON or as `@` and the path
of a file.
"""

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from pydantic import ValidationError

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.core.masking import guard
from lifecycle.databricks import scopes
from lifecycle.storage import volumes

STEPS = {
    "create-data": "lifecycle.data.dataset.create",
    "train": "lifecycle.training.train.train",
    "evaluate": "lifecycle.evaluation.evaluate.evaluate",
    "infer": "lifecycle.inference.batch.infer",
    "monitor": "lifecycle.monitoring.served.measure",
    "tune": "lifecycle.training.tune.tune",
}
"""Where each step is. Who names them all, as every flow does, imports none: a step is loaded when it is looked at."""

OF_A_JOB = {"gate": "lifecycle.jobs.gate.judge"}
"""What only a job does: no flow asks for it."""


class Step(NamedTuple):
    """What a step takes and does."""

    request: type[Frozen]
    run: Callable[[Any], None]


def of(name: str) -> Step:
    """Load a step, which takes one request.

    Raises:
        ConfigError: There is none of this name.
    """
    known = STEPS | OF_A_JOB
    if name not in known:
        raise ConfigError(f"{name!r} is not a step: there are {', '.join(known)}.", "Name one of them.")
    module, _, function = known[name].rpartition(".")
    run = getattr(importlib.import_module(module), function)
    (taken,) = inspect.signature(run).parameters
    return Step(get_type_hints(inspect.unwrap(run))[taken], run)


def run(name: str, request: str, scope: str = "") -> None:
    """Run one step from its name and its request: JSON, or `@` and the path of a file that holds it.

    The secrets that it refers to are read from the scope of that name, where this process has no such variables.

    Raises:
        ConfigError: There is no such step, or the request is not one of its: whoever sends it runs other code.
    """
    step, text = of(name), _file(request[1:]) if request.startswith("@") else request
    try:
        checked = step.request.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        what = f"This is not a request of the step {name}: {where}: {first['msg']}."
        raise ConfigError(what, "Job and caller must run the same code: mlops databricks deploy") from None
    scopes.give(text, scope)
    step.run(checked)


def main() -> None:
    """Run what the command line says; an error leaves as an exception, whose last line the run of a job shows.

    Raises:
        ConfigError: The command line does not name a step and its request.
    """
    if len(sys.argv) not in {3, 4} or not sys.argv[2]:
        what = f"A step and its request are needed, not {sys.argv[1:]}."
        usage = "mlops-step <step> <request as JSON, or @<path of a file that holds it>> [<secret scope>]"
        raise ConfigError(what, f"Usage: {usage}")
    guard()
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("lifecycle").setLevel(logging.INFO)
    run(*sys.argv[1:])


def _file(path: str) -> str:
    return volumes.read(Path(path)).decode()


if __name__ == "__main__":
    main()
