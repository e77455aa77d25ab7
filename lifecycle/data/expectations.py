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
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

__all__ = ["ExpectationConfiguration", "gx"]
