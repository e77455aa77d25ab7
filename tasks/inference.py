"""`lifecycle.inference` under orchestration."""

from lifecycle.inference import manifest as batches
from lifecycle.inference import superseded
from tasks.policies import on_registry

pinned = on_registry(batches.pinned).with_options(name="pin the input")
locate = on_registry(batches.locate).with_options(name="find the batch")
load = on_registry(batches.load).with_options(name="read the batch")
instead = on_registry(superseded.instead).with_options(name="see what counts")
