"""Great Expectations is imported without Spark, whether or not the process uses it."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize("before", ["", "import pyspark.sql; "])
def test_its_import_leaves_spark_alone_and_the_process_alive(before: str) -> None:
    program = before + (
        "import sys; from lifecycle.data import expectations; "
        "print(expectations.gx.__name__, sorted({'pyspark', 'pyspark.sql.connect'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    left = ["pyspark"] if before else []
    assert (done.returncode, done.stdout) == (0, f"great_expectations {left}\n"), done.stderr


def test_meanwhile_another_thread_may_import_spark() -> None:
    program = (
        "import threading; from lifecycle.data import expectations; found = []\n"
        "def work():\n    import pyspark\n    found.append(pyspark.__name__)\n"
        "with expectations._hidden():\n"
        "    other = threading.Thread(target=work); other.start(); other.join()\n"
        "print(found)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "['pyspark']\n"), done.stderr
