"""`make demo-databricks`: the release of `make demo` on an emulated workspace, and the proof that nothing differs.

The bundled sample goes all the way twice, with the same command: on this machine alone, and with every heavy step as a
job of a workspace whose Unity Catalog is the registry. Both must end with the same predictions, and the same table but
for the names in it. With `--free-edition` the workspace is one of the Free Edition, set up as docs/databricks.md says:
no classic compute, no service principal, one catalog.
"""

import os
import re
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
FULL = {"MLOPS_DATA_ROOT": "/Volumes/dev/ml/mlops/data"}
"""Every environment judges on the same dataset."""
PRINCIPAL = "service_principal=0d4c6c4e-0000-4000-8000-000000000000"
DEPLOY = [("--target", target, "--var", PRINCIPAL) for target in ("dev", "staging", "prod")]
DEPLOY_FREE = [("--target", "dev", "--var", "catalog=workspace", "--var", "schema=dev", "--var", "clusters=false")]
NAMES = re.compile(r"\b(dev|staging|prod)\.ml\.")
SAME = ["row", "input_key", "label", "score", "model_version"]
NAME = "model_name"


def main() -> None:
    """Release here, release there, compare."""
    os.environ["PYTHONWARNINGS"] = "ignore"  # what libraries say about each other's releases
    free = "--free-edition" in sys.argv[1:]
    home = settings.load("dev").state / "demo-databricks"
    shutil.rmtree(home, ignore_errors=True)
    say("On this machine, to compare with")
    expected = table_of(mlops({"MLOPS_HOME": str(home / "local")}, *RELEASE))
    with running(home / "workspace") as emulator:
        say(f"A workspace is emulated at {emulator.https_url}: deploying the jobs")
        environment = {**reaching(emulator, home / "state"), **(free_edition(emulator, home) if free else FULL)}
        for words in DEPLOY_FREE if free else DEPLOY:
            mlops(environment, "databricks", "deploy", *words)
        say("On Databricks: every heavy step is a job now")
        started = time.monotonic()
        table = table_of(mlops(environment, *RELEASE))
        jobs = [run for run in emulator.runs() if run["state"].get("result_state") == "SUCCESS"]
        seconds = time.monotonic() - started
    print(table)
    if free:  # longer names make wider columns
        expected, table = (in_words(NAMES.sub(r"workspace.\1.", each)) for each in (expected, table))
    volume = home / "workspace/files/Volumes" / ("workspace/prod/mlops" if free else "prod/ml/mlops")
    rows = compare(home / "local", volume, expected, table, SAME if free else [*SAME, NAME])
    print(f"{len(jobs)} jobs in {seconds:.0f} s: {', '.join(run['run_name'] for run in reversed(jobs))}")
    print(f"The same table as on this machine, and {rows:,} identical predictions.")


def free_edition(emulator: Emulator, home: Path) -> dict[str, str]:
    """Restrict a workspace to what the Free Edition has, and write the settings that its page asks for."""
    emulator.restrict("serverless_only", absent=["dev", "staging", "prod"])
    config = home / "config"
    shutil.copytree(REPOSITORY / "config", config)
    (config / "platforms/databricks.yaml").write_text(settings_of_the_page(), encoding="utf-8")
    return {"MLOPS_CONFIG_DIR": str(config)}


def settings_of_the_page() -> str:
    """The settings for the Free Edition, as docs/databricks.md shows them."""
    page = (REPOSITORY / "docs/databricks.md").read_text(encoding="utf-8")
    found = re.search(r"^```yaml\n(# config/platforms/databricks.yaml\n.*?)^```", page, re.M | re.S)
    assert found, "docs/databricks.md has no settings for the Free Edition"
    return found[1]


def say(what: str) -> None:
    print(f"\n== {what}", flush=True)


def reaching(emulator: Emulator, home: Path) -> dict[str, str]:
    """The variables of a process whose platform is the emulated workspace."""
    platform = {
        "MLOPS_PLATFORM": "databricks",
        "MLOPS_HOME": str(home),
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


def in_words(table: str) -> str:
    """A table without the width of its columns."""
    return re.sub("─+", "─", re.sub(" +", " ", table))


def compare(local: Path, volume: Path, expected: str, table: str, same: list[str]) -> int:
    """How many predictions there are, if those of both platforms and both tables are the same."""
    assert table == expected, f"The tables differ:\n{expected}"
    mine, theirs = (
        pq.read_table(sorted(root.glob("predictions/*.sentiment/1/**/part-*.parquet"))).select(same).sort_by("row")
        for root in (local, volume)
    )
    assert mine.equals(theirs), "The predictions differ."
    return int(mine.num_rows)


if __name__ == "__main__":
    main()
