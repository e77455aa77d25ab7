"""The Spark session of this process: the one that is offered, or one on the cores of this machine."""

import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CLUSTER_VARIABLES = ("DATABRICKS_RUNTIME_VERSION", "SPARK_REMOTE", "PYSPARK_GATEWAY_PORT")
"""One of these is set where a session is offered: on Databricks, for Spark Connect, under `spark-submit`."""

JAVA = "Install Java 17 or newer (Debian: apt install openjdk-17-jre-headless), or point JAVA_HOME to it."


def on_cluster() -> bool:
    """Whether a session is offered to this process, rather than one of its own to be started."""
    return any(os.environ.get(variable) for variable in CLUSTER_VARIABLES)


def is_serverless() -> bool:
    """Whether this runs on Databricks' serverless compute, which has no executors of its own and a closed network."""
    of_runtime = os.environ.get("DATABRICKS_RUNTIME_VERSION", "").startswith("client.")
    return of_runtime or os.environ.get("IS_SERVERLESS", "").upper() == "TRUE"


def session(cores: int = 0) -> "SparkSession":
    """The session that is there or offered, else one on this machine, left to the process: the next batch uses it too.

    The one on this machine listens on loopback alone and writes nothing to the working directory.
    """
    require_pyspark()
    from pyspark.sql import SparkSession

    if there := SparkSession.getActiveSession():
        return there
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else tasks run whatever `python3` is
    if on_cluster():
        return SparkSession.builder.getOrCreate()
    return _own_session(cores)


def _own_session(cores: int) -> "SparkSession":
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    _require_java()
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName("mlops").master(f"local[{cores or '*'}]")
    for key, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir(), "mlops-spark-warehouse")),
    }.items():
        builder = builder.config(key, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that pandas 3 is new to pyspark
            return builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise ConfigError(f"Spark does not start: {error}.", JAVA) from None


def require_pyspark() -> None:
    """Refuse what needs Spark where pyspark is not installed.

    Raises:
        ConfigError: It is not.
    """
    try:
        import pyspark  # noqa: F401
    except ImportError:
        raise ConfigError("The engine spark needs pyspark.", "pip install 'mlops-lifecycle[spark]'") from None


def _require_java() -> None:
    """Look where `spark-submit` looks: it prints its own complaint, and pyspark then says only that it exited."""
    home = os.environ.get("JAVA_HOME")
    if not shutil.which(str(Path(home, "bin", "java")) if home else "java"):
        where = f"JAVA_HOME={home} holds no bin/java" if home else "there is no java on the PATH"
        raise ConfigError(f"The engine spark needs Java: {where}.", JAVA)
