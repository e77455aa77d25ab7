"""The reference job against a bare script: `make bench`, or `python -m benchmarks.run --rounds 5`.

Each round runs every way of running the job once, one after the other, so that all of them see the same machine, and
is compared with the bare script of the same round; `bare-1` is that script with OPENBLAS_NUM_THREADS=1. `cold` has an
empty state directory, `warm` one with a champion that the new model must beat. Wall time is a person's wait, CPU time
is that of all processes.
"""

import argparse
import csv
import json
import os
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import NamedTuple

from benchmarks import performance, prefect_server
from benchmarks.processes import ROOT, TABLES

WEAK = json.dumps({"C": 0.5})
"""Parameters of the first champion: good enough for the gate's floor, and clearly worse than the default."""
GOALS = {"cold": 1.23, "warm": 1.18}


@dataclass
class Run:
    """One run of the job."""

    way: str
    state: str
    wall: float
    cpu: float | None
    phases: dict[str, float] = field(default_factory=dict)


class Medians(NamedTuple):
    """Of a way to run the job, and its ratios to the bare script; without CPU where its processes are not ours."""

    wall: float
    cpu: float | None
    wall_ratio: float
    cpu_ratio: float | None


@dataclass
class Bench:
    """A table and a folder to work in."""

    table: Path
    folder: Path

    def environment(self, way: str) -> dict[str, str]:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PREFECT_", "MLFLOW_"))}
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        threads = {"OPENBLAS_NUM_THREADS": "1"} if way == "bare-1" else {}
        return {**outside, **quiet, **threads, "MLOPS_HOME": str(self.home(way)), "PYTHONPATH": str(ROOT)}

    def home(self, way: str) -> Path:
        return self.folder / way

    def command(self, way: str, version: str, params: str, clock: Path) -> list[str]:
        if way.startswith("bare"):
            return [
                sys.executable,
                str(ROOT / "benchmarks/bare.py"),
                str(self.table),
                str(self.home(way)),
                version,
                params,
            ]
        options = ["--params", params, "--clock", str(clock)]
        return [sys.executable, "-m", "benchmarks.reference", "reference", str(self.table), version, *options]


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too
    ways = ["bare", "bare-1", "embedded", "server", *(["worker"] if options.worker else [])]
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        bench = Bench(options.table.absolute(), Path(folder))
        with prefect_server.running(Path(folder) / "prefect", worker=options.worker) as api:
            runs = list(_rounds(bench, ways, 1 if options.quick else options.rounds, api))
    print(json.dumps([asdict(run) for run in runs], indent=2)) if options.json else _print(runs, bench.table)
    if options.write:
        _keep(runs, bench.table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=next(table for table in TABLES if table.exists()))
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is run, cold and warm")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--worker", action="store_true", help="also through a deployment and a worker")
    parser.add_argument("--json", action="store_true", help="print every run as JSON")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md, too")
    return parser.parse_args()


def _rounds(bench: Bench, ways: list[str], rounds: int, api: str) -> Iterator[Run]:
    _say("preparing a champion for each way")
    for way in ways:  # also warms the caches that every later run finds: bytecode, empty databases
        _run(bench, way, "before", api, params=WEAK)
        shutil.copytree(bench.home(way), _kept(bench, way))
    for number in range(1, rounds + 1):
        for state in ("cold", "warm"):
            for way in ways:
                shutil.rmtree(bench.home(way))
                if state == "warm":
                    shutil.copytree(_kept(bench, way), bench.home(way))
                yield (run := _run(bench, way, state, api))
                _say(f"round {number}: {state} {way}: {run.wall:.1f} s, CPU {run.cpu or 0:.1f} s")


def _kept(bench: Bench, way: str) -> Path:
    return bench.folder / f"{way}-kept"


def _run(bench: Bench, way: str, state: str, api: str, *, params: str = "{}") -> Run:
    version = "2.0.0" if state == "warm" else "1.0.0"
    if way == "worker":
        seconds = prefect_server.run_deployment(api, bench.home(way), bench.table, version, json.loads(params))
        return Run(way, state, seconds, None)
    clock = bench.folder / "clock.json"
    environment = bench.environment(way) | ({"PREFECT_API_URL": api} if way == "server" else {})
    begun = time.time()
    process = Popen(
        bench.command(way, version, params, clock), env=environment, stdout=DEVNULL, stderr=PIPE, cwd=bench.folder
    )
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.time()
    if process.returncode:
        sys.exit(f"{way} {state} ended with {process.returncode}:\n{errors.decode()[-3000:]}")
    phases = _phases(bench, begun, ended, clock) if way == "embedded" else {}
    return Run(way, state, ended - begun, usage.ru_utime + usage.ru_stime, phases)


def _phases(bench: Bench, begun: float, ended: float, clock: Path) -> dict[str, float]:
    """Where the time of a run with an own server went: its clock, and its tasks as that server recorded them."""
    marks = json.loads(clock.read_text())
    with closing(sqlite3.connect(bench.home("embedded") / "prefect" / "prefect.db")) as connection:
        (run_id, first), *_ = connection.execute(
            "SELECT id, (julianday(start_time) - 2440587.5) * 86400 FROM flow_run ORDER BY start_time DESC LIMIT 1"
        )
        steps = "('create-data', 'train', 'evaluate', 'infer')"
        name = f"CASE WHEN name LIKE 'judge%' THEN 'judge' WHEN name IN {steps} THEN name ELSE 'small tasks' END"
        seconds = "sum((julianday(end_time) - julianday(start_time)) * 86400)"
        where = "flow_run_id = ? AND task_key NOT LIKE '!_stage%' ESCAPE '!'"  # stages are made of the others
        query = f"SELECT {name}, {seconds} FROM task_run WHERE {where} GROUP BY 1 ORDER BY min(start_time)"
        tasks = {f"  {step}": duration for step, duration in connection.execute(query, (run_id,))}
    return {
        "interpreter, command line": marks["command"] - begun,
        "Prefect imported": marks["wait"] - marks["command"],
        "server up": marks["flow"] - marks["wait"],
        "libraries imported": first - marks["flow"],
        "flow": marks["end"] - first,
        **tasks,
        "  between tasks, flow end": marks["end"] - first - sum(tasks.values()),
        "queues drained, server stopped": marks["left"] - marks["end"],
        "exit": ended - marks["left"],
    }


def _print(runs: list[Run], table: Path) -> None:
    rounds = sum(run.way == "bare" and run.state == "cold" for run in runs)
    print(f"\n{table.name}, {os.cpu_count()} cores, medians of {rounds} rounds; ratios to bare are paired\n")
    print(f"{'':<14}{'wall s':>8}{'CPU s':>8}{'wall/bare':>11}{'CPU/bare':>10}   goal (wall/bare)")
    for state, limit in GOALS.items():
        for way in dict.fromkeys(run.way for run in runs):
            wall, cpu, by_wall, by_cpu = _medians(runs, way, state)
            goal = f"   below {limit}" if way == "embedded" else ""
            print(f"{state:<5}{way:<9}{wall:8.1f}{cpu or '-':>8}{by_wall:11.2f}{by_cpu or '-':>10}{goal}")
    print("\nWhere the time of `embedded` goes (wall s)")
    print(f"{'':<34}{'cold':>8}{'warm':>8}")
    cold, warm = (_phases_of(runs, state) for state in GOALS)
    for phase, seconds in cold.items():
        print(f"{phase:<34}{seconds:8.2f}{warm[phase]:8.2f}")


def _phases_of(runs: list[Run], state: str) -> dict[str, float]:
    embedded = [run.phases for run in runs if (run.way, run.state) == ("embedded", state)]
    return {phase: round(statistics.median(each.get(phase, 0) for each in embedded), 2) for phase in embedded[0]}


def _medians(runs: list[Run], way: str, state: str) -> Medians:
    """Wall, CPU, and both as the median of the ratios to bare, round by round."""
    mine = [run for run in runs if (run.way, run.state) == (way, state)]
    bare = [run for run in runs if (run.way, run.state) == ("bare", state)]

    def ratio(of: Callable[[Run], float]) -> float:
        return statistics.median(of(run) / of(other) for run, other in zip(mine, bare, strict=True))

    wall, by_wall = statistics.median(run.wall for run in mine), ratio(lambda run: run.wall)
    if any(run.cpu is None for run in mine):
        return Medians(round(wall, 2), None, round(by_wall, 2), None)
    cpu = statistics.median(run.cpu or 0 for run in mine)
    return Medians(round(wall, 2), round(cpu, 1), round(by_wall, 2), round(ratio(lambda run: run.cpu or 0), 2))


def _keep(runs: list[Run], table: Path) -> None:
    """The figures of docs/performance.md."""
    ways = dict.fromkeys((run.state, run.way) for run in runs)
    figures = {f"{state} `{way}`": _medians(runs, way, state) for state, way in ways}
    with table.open(encoding="utf-8", newline="") as lines:
        rows = sum(1 for _ in csv.reader(lines)) - 1
    rounds = sum(run.way == "bare" and run.state == "cold" for run in runs)
    performance.keep("run", rounds, {"table": table.name, "rows": rows}, figures)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
