"""`lifecycle.inference` under orchestration."""

from lifecycle.inference import batch
from tasks.policies import on_registry

locate = on_registry(batch.locate)
load = on_registry(batch.load)
