"""The steps of a model's life in plain Python: they run on a laptop and inside a remote job, with Prefect or not."""

from lifecycle.core import earlier_names

earlier_names.find()
