"""What a job on Databricks runs: a step by its name, or a notebook."""
