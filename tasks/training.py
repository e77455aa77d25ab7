"""`lifecycle.training` under orchestration."""

from lifecycle import training
from tasks.policies import on_data, on_registry

plan = on_data(training.plan)
trained = on_registry(training.trained)
trained_on = on_registry(training.trained_on)
