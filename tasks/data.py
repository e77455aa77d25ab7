"""`lifecycle.data` under orchestration."""

from lifecycle.data import dataset, ingest, versions
from tasks.policies import on_data, on_registry

plan = on_data(dataset.plan).with_options(name="plan the dataset")
version_for = on_registry(versions.chosen).with_options(name="name the dataset version")
resolve = on_data(dataset.resolve).with_options(name="choose the dataset version")
load = on_registry(dataset.load).with_options(name="read the manifest")
brought = on_data(ingest.brought).with_options(name="bring the input")
