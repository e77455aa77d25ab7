"""Fit a model and record everything in one run."""

from typing import TYPE_CHECKING, Any

from lifecycle.core import earlier_names

if not TYPE_CHECKING:  # what is new is not to use the earlier names

    def __getattr__(name: str) -> Any:
        return earlier_names.of_package(__name__, name)
