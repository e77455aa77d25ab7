"""A chain as MLflow's agent: what Databricks' chat serving, and whoever speaks the Responses protocol, takes."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow

from lifecycle.problems.chat import carried, model

PACKAGES = ("mlflow", "bm25s", "numpy", "openai", "pandas")


def log_agent(chain: Path, name: str = "agent", registered_as: str | None = None) -> str:
    """Log a chain in this form in the open MLflow run, or in a new one; returns the `models:/m-…` URI.

    Args:
        chain: The folder that `index.build` wrote, which each version has under `artifacts/chain`.
        name: What it is called in the run.
        registered_as: The model of which it becomes a version: one beside the model whose chain it is, since the
            promotion log knows each model in one form.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-code-") as folder:
        logged = mlflow.pyfunc.log_model(
            name=name,
            python_model=str(carried.written(Path(folder))),
            artifacts={"chain": str(chain)},
            registered_model_name=registered_as,
            model_config={model.FORM: model.RESPONSES},
            pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
        )
    return str(logged.model_uri)
