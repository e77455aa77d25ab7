"""The heavy steps by name: one frozen request in, nothing out; the result lies where the request says.

A remote job runs the same: `python -m lifecycle.steps <step> <request as JSON>`.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from lifecycle import evaluation, training
from lifecycle.data import dataset
from lifecycle.inference import batch
from lifecycle.settings import Frozen


class Step(NamedTuple):
    """What a step takes and does."""

    request: type[Frozen]
    run: Callable[[Any], None]


STEPS = {
    "create-data": Step(dataset.CreateDataRequest, dataset.create),
    "train": Step(training.TrainRequest, training.train),
    "evaluate": Step(evaluation.EvaluateRequest, evaluation.evaluate),
    "infer": Step(batch.BatchRequest, batch.infer),
}


def run(name: str, request_json: str) -> None:
    """Run one step from its name and its request as JSON."""
    step = STEPS[name]
    step.run(step.request.model_validate_json(request_json))


if __name__ == "__main__":
    run(*sys.argv[1:])
