# Databricks notebook source
# MAGIC %md
# MAGIC ## Train a model
# MAGIC
# MAGIC Fits `model_type` with `model_params` on a dataset version and records everything in a run of the experiment
# MAGIC `model_experiment_name`, a path such as `/Shared/sentiment`. It exits with the `run_id`. The same training again
# MAGIC finds the run that is there.
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
