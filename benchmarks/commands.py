"""What a release costs and what people ask after it: `python -m benchmarks.commands --rounds 5`.

A project of the bundled sample gets a champion everywhere, and in dev a better one. Each round then runs every
command once, one after the other, and beside it a script that asks the same of plain MLflow.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import performance
from benchmarks.processes import ROOT, Measured, measured

MLOPS = [sys.executable, "-m", "cli.main"]
CLEAR = {"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false", "PYTHONPATH": str(ROOT)}
PLAIN = "from mlflow import MlflowClient; client = MlflowClient('sqlite:///.mlops/mlflow.db'); "
BARE = {
    "history": f"{PLAIN}print(client.search_model_versions(\"name='dev.ml.financial_news'\"))",
    "model list": f"{PLAIN}print(client.search_registered_models())",
    "rollback": f"{PLAIN}client.set_registered_model_alias('dev.ml.financial_news', 'plain', '1')",
}


class Cost(NamedTuple):
    """Medians of a command, and of the same by plain MLflow where there is such a thing."""

    wall: float
    cpu: float
    bare_cpu: float | None = None
    ratio: float | None = None


def cost(rounds: list[Measured], bare: list[Measured] | None = None) -> Cost:
    wall, cpu = (round(median(numbers), 2) for numbers in zip(*((each.wall, each.cpu) for each in rounds), strict=True))
    if bare is None:
        return Cost(wall, cpu)
    ratio = median(one.cpu / other.cpu for one, other in zip(rounds, bare, strict=True))
    return Cost(wall, cpu, round(median(each.cpu for each in bare), 2), round(ratio, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each command is run")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlops-commands-") as name:
        folder = Path(name)

        def mlops(*arguments: str) -> Measured:
            return measured([*MLOPS, *arguments], folder, CLEAR)

        def plain(command: str) -> Measured:
            return measured([sys.executable, "-c", BARE[command]], folder, CLEAR)

        mlops("init", str(ROOT / "examples" / "financial_news.csv"), "--yes")
        begun = {"release": cost([mlops("release")])}
        begun["train --algorithm naive_bayes"] = cost([mlops("train", "--algorithm", "naive_bayes")])
        found: dict[str, list[tuple[Measured, Measured]]] = {command: [] for command in BARE}
        for number in range(options.rounds):
            back = ["--env", "dev", "--to-version", str(1 + number % 2), "--yes"]
            for command, arguments in (("history", ["--env", "dev"]), ("model list", []), ("rollback", back)):
                found[command].append((mlops(*command.split(), *arguments), plain(command)))
    figures = begun | {
        command: cost(*(list(each) for each in zip(*pairs, strict=True))) for command, pairs in found.items()
    }
    print(json.dumps({name: each._asdict() for name, each in figures.items()}, indent=2))
    if options.write:
        performance.keep("commands", options.rounds, {}, figures)


if __name__ == "__main__":
    main()
