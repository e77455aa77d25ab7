"""The steps of a model's life in plain Python: they run on a laptop and inside a remote job, with Prefect or not."""

import os

from lifecycle.core import earlier_names

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before any module of ours imports MLflow, which then looks
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
earlier_names.find()
