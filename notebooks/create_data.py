# Databricks notebook source
# MAGIC %md
# MAGIC ## Create a dataset version
# MAGIC
# MAGIC Reads `source` strictly (by default the one table in `<data root>/<data_name>/raw/`), validates it, sets bad
# MAGIC rows aside and splits the rest. `test_size` and `holdout_size` are fractions of the whole. A version never
# MAGIC changes.
# MAGIC
# MAGIC In place of the step of a job it gets `request` and needs nothing else.

# COMMAND ----------

import mlops_lifecycle  # noqa: F401  makes its packages findable
from lifecycle.jobs import notebooks

PARAMETERS = {
    "data_name": "",
    "data_version": "",
    "source": "",
    "text_column": "text",
    "label_column": "label",
    "test_size": "0.2",
    "holdout": "true",
    "holdout_size": "0.2",
    "stratify": "",
    "group_column": "",
    "time_column": "",
    "parent": "",
    "encoding": "utf-8",
    "delimiter": ",",
    "env": "dev",
    "request": "",
    "prefect_flow_run_id": "",
}
for name, default in PARAMETERS.items():
    dbutils.widgets.text(name, default)

# COMMAND ----------

outcome = notebooks.run("create-data", {name: dbutils.widgets.get(name) for name in PARAMETERS})
dbutils.notebook.exit(outcome)
