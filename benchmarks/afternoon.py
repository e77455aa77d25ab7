"""A team's first afternoon, as a script: every command that they type, with its time, options and last line.

    python -m benchmarks.afternoon [TABLE --target COLUMN] [--better ALGORITHM] [--mlops PATH]

In an empty folder, with a table of one's own or one that is made here: from the table to a champion in prod, a refused
and a promoted challenger, the report, a served request, a rollback, and deployments with a schedule that runs. Ends
with 1 where a command ends otherwise than it should.
"""

import argparse
import base64
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd

PATIENCE = 150
"""Seconds for a server to come, and for what is due each minute to have run."""
EACH_MINUTE = "schedules: true\nschedule: {times: {monitor: '* * * * *'}}\n"


class Team:
    """Who types the commands, in a folder of their own."""

    def __init__(self, mlops: Path, folder: Path) -> None:
        self.mlops, self.folder, self.typed = mlops, folder, 0
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "PREFECT_"))}
        self.environment = outside | {"PATH": f"{mlops.parent}{os.pathsep}{outside['PATH']}"}

    def types(self, command: str, code: int = 0) -> str:
        """Run a command to its end, tell of it, and return what it printed."""
        begin = time.monotonic()
        done = subprocess.run(
            [self.mlops, *shlex.split(command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        self._tell(command, time.monotonic() - begin, done.returncode, said[-1] if said else "")
        if done.returncode != code:
            sys.exit(f"mlops {command} ended with {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    @contextmanager
    def serves(self, command: str) -> Iterator[str]:
        """Start a server, and yield its address once it says so; Ctrl-C ends it."""
        begin = time.monotonic()
        with subprocess.Popen(
            [self.mlops, *shlex.split(command)],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as server:
            assert server.stdout is not None
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))
            self._tell(command, time.monotonic() - begin, 0, address)
            try:
                yield address
            finally:
                server.send_signal(signal.SIGINT)

    def _tell(self, command: str, seconds: float, code: int, said: str) -> None:
        self.typed += 1
        options = sum(word.startswith("-") for word in shlex.split(command))
        print(
            f"| {self.typed} | `mlops {command}` | {seconds:.1f} s | {options} | {code} | {said[:90].strip()} |",
            flush=True,
        )


def main() -> None:
    """Type everything, and say how much that was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, nargs="?")
    parser.add_argument("--target", default="bought", help="the column to be predicted")
    parser.add_argument("--better", default="logistic_regression", help="an algorithm that beats the default there")
    parser.add_argument("--mlops", type=Path, default=Path(sys.executable).with_name("mlops"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = given.table.absolute() if given.table else visits(Path(folder) / "visits.csv")
        place = Path(folder) / "project"
        place.mkdir()
        print("| | command | time | options | exit code | last line |\n|---|---|---|---|---|---|")
        begin, team = time.monotonic(), Team(given.mlops.absolute(), place)
        afternoon(team, table, given.target, given.better)
        print(f"\n{team.typed} commands, {time.monotonic() - begin:.0f} s")


def visits(path: Path) -> Path:
    """A table that a straight line explains, so the default of trees can be beaten."""
    random = np.random.default_rng(1)
    weights = pd.Series({"pages": 1.0, "minutes": -1.0, "basket": 0.5, "age": 0.8, "distance": -0.6, "visits": 0.4})
    table = pd.DataFrame(random.normal(size=(2000, len(weights))).round(3), columns=weights.index)
    score = table @ weights + random.normal(scale=0.3, size=len(table))
    table["bought"] = np.where(score > 0, "yes", "no")
    table.to_csv(path, index=False)
    return path


def afternoon(team: Team, table: Path, target: str, better: str) -> None:
    """The commands, in the order in which the README tells of them."""
    team.types(f"init {table} --target {target} --yes")
    team.types("release")
    team.types("""train --algorithm random_forest --params "{'max_depth': 1}" """.strip(), code=4)
    team.types(f"train --algorithm {better}")
    team.types("promote --from dev --to staging")
    team.types("promote --from staging --to prod")
    team.types("gate explain --html verdict.html --env dev")
    assert "<html" in (team.folder / "verdict.html").read_text(encoding="utf-8")
    with team.serves("serve --port 0") as address:
        answer = ask(f"{address}/invocations", {"dataframe_records": [first_row(table, target)]})
        assert answer["predictions"], answer
    team.types("rollback --env prod --yes --reason 'sales were better before'")
    (team.folder / "config" / "prod.yaml").write_text(EACH_MINUTE, encoding="utf-8")
    try:
        team.types("up --detach")
        wait_for_schedule(team)
        team.types("status")
    finally:
        team.types("down")


def wait_for_schedule(team: Team) -> None:
    """Until a run that Prefect's server started by itself has come to a good end."""
    services = team.folder / ".mlops" / "services"
    known = json.loads((services / "services.json").read_text(encoding="utf-8"))["services"]
    api = next(f"{each['address']}/api" for each in known if each["name"] == "prefect")
    shown = base64.b64encode((services / "credential").read_bytes()).decode()
    wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE:
        runs = ask(f"{api}/flow_runs/filter", wanted, Authorization=f"Basic {shown}")
        if done := [run for run in runs if run["auto_scheduled"]]:
            print(f"| | a schedule let `{done[0]['name']}` run | {time.monotonic() - begin:.1f} s | | | |", flush=True)
            return
        time.sleep(1)
    sys.exit(f"No schedule let anything run within {PATIENCE} s.")


def first_row(table: Path, target: str) -> dict[str, Any]:
    row = pd.read_csv(table, nrows=1).drop(columns=target)
    return dict(json.loads(row.to_json(orient="records"))[0])


def ask(address: str, body: Any, **headers: str) -> Any:
    request = Request(address, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
