"""Answer single requests with a registered model: by a Databricks endpoint, or by a scoring server on this machine."""
