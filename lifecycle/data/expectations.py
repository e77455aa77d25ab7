"""Great Expectations without Spark, which it would import whole wherever it is installed.

Of a process without a main file pyspark 4.3 believes that it tests its examples: where packages of Spark Connect are
missing, their import then ends the process, with exit code 0.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

HIDDEN = {"pyspark", "pyspark.sql.connect"}
"""What it does without: the second where the process uses Spark already."""


class _Hiding:
    """Finds none of these packages for one thread: another one may import them meanwhile."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:  # noqa: ARG002
        if name in HIDDEN and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not used here", name=name)


@contextmanager
def _hidden() -> Iterator[None]:
    hiding = _Hiding()
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)


with _hidden():
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validation_statistics import calc_validation_statistics
    from great_expectations.validator.validator import Validator

__all__ = [
    "ExpectationConfiguration",
    "ExpectationSuiteIdentifier",
    "ExpectationSuiteValidationResult",
    "PandasExecutionEngine",
    "RunIdentifier",
    "ValidationResultIdentifier",
    "Validator",
    "calc_validation_statistics",
    "gx",
]
