"""Run each step by its entry point where only the wheel is installed: `bin/python each_step.py FOLDER`.

`make wheel-test` does so, outside of the checkout. The steps read and write below FOLDER, on the wheel's own sample.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import mlops_lifecycle
from lifecycle import settings
from lifecycle.core.frozen import Frozen
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.tracking import runs
from lifecycle.training import train as training

DATA = {"data_name": "news", "data_version": "1.0.0"}
SAMPLE = Path(mlops_lifecycle.__file__).parent / "examples" / "financial_news.csv"


def main(folder: Path) -> None:
    """Run create-data, train, evaluate and infer, each on what the one before has left."""
    assert find_spec("prefect") is None
    config, sample = settings.load("dev", home=folder), Source(uri=str(SAMPLE))
    step("create-data", dataset.plan(config, sample, text_column="Sentence", label_column="Sentiment", **DATA))
    request = training.plan(config, training.Training(model_name="sentiment", algorithm="naive_bayes", **DATA))
    step("train", request)
    model = runs.trained(config.mlflow_uri, request.run_id)
    step("evaluate", evaluation.request_for(model, config.datasets, **DATA))
    scored = BatchRequest(model=model, input=sample, text_column="Sentence", output_root=config.predictions)
    step("infer", scored)
    print(batches.verify(batches.locate(scored)[0]).scored, "predictions")


def step(name: str, request: Frozen) -> None:
    """Run one step in a process of its own, as a job does."""
    command = Path(sys.executable).with_name("mlops-step")
    subprocess.run([command, name, request.model_dump_json()], check=True, stderr=subprocess.DEVNULL)
    print("ran", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
