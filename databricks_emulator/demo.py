"""`make demo-databricks`: the release of `make demo` on an emulated workspace, and the proof that nothing differs.

The bundled sample goes all the way twice, with the same command: on this machine alone, and with every heavy step as a
job of a workspace whose Unity Catalog is the registry. Both must end with the same table and the same predictions.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from databricks_emulator.running import REPOSITORY, Emulator, running
from lifecycle import settings

MLOPS = Path(sys.executable).with_name("mlops")
RELEASE = (
    *("release", "--source", "examples/financial_news.csv", "--text-column", "Sentence", "--label-column", "Sentiment"),
    *("--data-name", "financial_news", "--data-version", "1.0.0", "--model-name", "sentiment"),
)
PRINCIPAL = "service_principal=0d4c6c4e-0000-4000-8000-000000000000"
SAME = ["row", "input_key", "label", "score", "model_name", "model_version"]


def main() -> None:
    """Release here, release there, compare."""
    os.environ["PYTHONWARNINGS"] = "ignore"  # what libraries say about each other's releases
    home = settings.load("dev").state / "demo-databricks"
    shutil.rmtree(home, ignore_errors=True)
    say("On this machine, to compare with")
    expected = table_of(mlops({"MLOPS_HOME": str(home / "local")}, *RELEASE))
    with running(home / "workspace") as emulator:
        say(f"A workspace is emulated at {emulator.https_url}: deploying the jobs")
        environment = reaching(emulator, home / "state")
        for target in ("dev", "staging", "prod"):
            mlops(environment, "databricks", "deploy", "--target", target, "--var", PRINCIPAL)
        say("On Databricks: every heavy step is a job now")
        started = time.monotonic()
        table = table_of(mlops(environment, *RELEASE))
        jobs = [run for run in emulator.runs() if run["state"].get("result_state") == "SUCCESS"]
        seconds = time.monotonic() - started
    print(table)
    rows = compare(home / "local", home / "workspace/files/Volumes/prod/ml/mlops", expected, table)
    print(f"{len(jobs)} jobs in {seconds:.0f} s: {', '.join(run['run_name'] for run in reversed(jobs))}")
    print(f"The same table as on this machine, and {rows:,} identical predictions.")


def say(what: str) -> None:
    print(f"\n== {what}", flush=True)


def reaching(emulator: Emulator, home: Path) -> dict[str, str]:
    """The variables of a process whose platform is the emulated workspace."""
    platform = {
        "MLOPS_PLATFORM": "databricks",
        "MLOPS_HOME": str(home),
        "MLOPS_DATA_ROOT": "/Volumes/dev/ml/mlops/data",  # every environment judges on the same dataset
        "MLOPS_DATABRICKS__POLL_SECONDS": "0.5",
    }
    return {**emulator.environment, **emulator.trust, **platform, "DATABRICKS_HOST": emulator.https_url}


def mlops(environment: dict[str, str], *arguments: str) -> str:
    """What the command prints; its progress goes on to the terminal."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "DATABRICKS_"))}
    print("$ mlops", *arguments, flush=True)
    command = [str(MLOPS), *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env={**ours, **environment}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def table_of(output: str) -> str:
    """The table without what follows it: the folder of the predictions, which does differ."""
    return output.partition("Predictions:")[0]


def compare(local: Path, volume: Path, expected: str, table: str) -> int:
    """How many predictions there are, if those of both platforms and both tables are the same."""
    assert table == expected, f"The tables differ:\n{expected}"
    mine, theirs = (
        pq.read_table(sorted(root.glob("predictions/prod.ml.sentiment/1/**/part-*.parquet")))
        .select(SAME)
        .sort_by("row")
        for root in (local, volume)
    )
    assert mine.equals(theirs), "The predictions differ."
    return int(mine.num_rows)


if __name__ == "__main__":
    main()
