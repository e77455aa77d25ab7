"""`lifecycle.inference` under orchestration."""

from lifecycle.inference import batch
from tasks.policies import on_registry

pinned = on_registry(batch.pinned).with_options(name="pin the input")
locate = on_registry(batch.locate).with_options(name="find the batch")
load = on_registry(batch.load).with_options(name="read the batch")
