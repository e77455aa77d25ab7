"""Great Expectations without Spark, which it would import whole wherever it is installed.

Of a process without a main file pyspark 4.3 believes that it tests its examples: where packages of Spark Connect are
missing, their import then ends the process, with exit code 0.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_spark() -> Iterator[None]:
    """Hide pyspark; where the process uses it already, at least Spark Connect."""
    hidden = "pyspark.sql.connect" if "pyspark" in sys.modules else "pyspark"
    if hidden in sys.modules:
        yield
        return
    sys.modules[hidden] = None  # type: ignore[assignment]  # how an import is told that there is no such package
    try:
        yield
    finally:
        del sys.modules[hidden]


with _no_spark():
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
