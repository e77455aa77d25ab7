"""`lifecycle.data` under orchestration."""

from lifecycle.data import dataset, ingest
from tasks.policies import on_data, on_registry

plan = on_data(dataset.plan).with_options(name="plan the dataset")
resolve = on_data(dataset.resolve).with_options(name="choose the dataset version")
load = on_registry(dataset.load).with_options(name="read the manifest")
brought = on_data(ingest.brought).with_options(name="bring the input")
