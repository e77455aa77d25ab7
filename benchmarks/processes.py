"""What a process costs that is run for a benchmark, with all that it starts."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TABLES = (ROOT.parent / "shared" / "data" / "financial_sentiment.csv", ROOT / "examples" / "financial_news.csv")


class Measured(NamedTuple):
    """Seconds of CPU and of a clock, and the most memory (PSS) that it and its children had at a time."""

    cpu: float
    wall: float
    megabytes: float


def measured(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Measured:
    """Run a command in a folder; what is set outside for the product or its libraries does not reach it."""
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "PREFECT_", "MLFLOW_"))
    }
    begun, most = time.monotonic(), 0.0
    process = Popen(command, cwd=folder, env=outside | environment, stdout=DEVNULL)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        looked = time.monotonic()
        most = max(most, _megabytes(process.pid))
        time.sleep(max(0.05, 20 * (time.monotonic() - looked)))  # the kernel holds them up while it counts
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(usage.ru_utime + usage.ru_stime, time.monotonic() - begun, most)


def _megabytes(process: int) -> float:
    """The memory of a process and its children, on Linux; one that ends meanwhile counts no more."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        return own + sum(_megabytes(int(child)) for task in tasks for child in task.read_text().split())
    except (OSError, StopIteration):
        return 0.0
