# Databricks notebook source
# MAGIC %md
# MAGIC ## Score rows of a dataset version
# MAGIC
# MAGIC Scores with the model of a training run (`run_id`), or with the champion of `model_name`, and publishes the
# MAGIC predictions whole. The rows are those of `split`: `train`, `test`, `holdout` or `all`; by default every row but
# MAGIC those of `train`. It exits with the folder of the predictions. The same again changes nothing.
# MAGIC
# MAGIC In place of the step of a job it gets `request` and needs nothing else.

# COMMAND ----------

import mlops_lifecycle  # noqa: F401  makes its packages findable
from lifecycle.jobs import notebooks

PARAMETERS = {
    "data_name": "",
    "data_version": "latest",
    "split": "",
    "run_id": "",
    "model_name": "",
    "env": "dev",
    "request": "",
    "prefect_flow_run_id": "",
}
for name, default in PARAMETERS.items():
    dbutils.widgets.text(name, default)

# COMMAND ----------

outcome = notebooks.run("infer", {name: dbutils.widgets.get(name) for name in PARAMETERS})
dbutils.notebook.exit(outcome)
