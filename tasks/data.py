"""`lifecycle.data` under orchestration."""

from lifecycle.data import dataset
from tasks.policies import on_data, on_registry

plan = on_data(dataset.plan)
load = on_registry(dataset.load)
