"""`lifecycle.training` under orchestration."""

from lifecycle.registry import catalog
from lifecycle.training import train as training
from tasks.policies import on_data, on_registry

plan = on_data(training.plan).with_options(name="plan the training")
trained = on_registry(catalog.resolve).with_options(name="find the trained model")
