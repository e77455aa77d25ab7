"""The asset bundle of this project: `databricks.yml` and `resources/*.yml`, read and brought to a workspace."""
