# Databricks notebook source
# MAGIC %md
# MAGIC ## Train a model
# MAGIC
# MAGIC Fits `model_type` with `model_params` on a dataset version and records everything in a run of the experiment
# MAGIC `model_experiment_name`, a path such as `/Shared/sentiment`. The model is registered as a candidate, with the
# MAGIC alias `challenger`, under `model_name` or the last part of the experiment's name. It exits with `run_id` and
# MAGIC `version`. The same training again finds the run and the version that are there.
# MAGIC
# MAGIC In place of the step of a job it gets `request` and needs nothing else.

# COMMAND ----------

import mlops_lifecycle  # noqa: F401  makes its packages findable
from lifecycle.jobs import notebooks

PARAMETERS = {
    "data_name": "",
    "data_version": "latest",
    "model_experiment_name": "",
    "model_name": "",
    "model_type": "logistic_regression",
    "model_params": "{}",
    "seed": "0",
    "env": "dev",
    "request": "",
    "prefect_flow_run_id": "",
}
for name, default in PARAMETERS.items():
    dbutils.widgets.text(name, default)

# COMMAND ----------

outcome = notebooks.run("train", {name: dbutils.widgets.get(name) for name in PARAMETERS})
dbutils.notebook.exit(outcome)
