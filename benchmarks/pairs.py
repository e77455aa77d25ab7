"""How well pairs of texts are told: by words, by a frozen encoder, and by one text alone, on the same rows held out.

    python -m benchmarks.pairs TABLE [--texts premise hypothesis] [--target judgment] [--encoder FOLDER]

The dataset version, its split, the algorithms and the intervals are the product's own, with its defaults. A gain is
over the model that reads the second text alone: in many sets that one tells more than it should.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle import settings
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.evaluation.statistics import measure
from lifecycle.problems.contract import Column, Columns, inputs_of
from lifecycle.problems.known import named
from lifecycle.problems.learning import Spec
from lifecycle.settings.gate_rules import GateRules

PROBLEM = named("text-pair-classification")
SHOWN = ("accuracy", "f1_macro")
FIRST = "the second text alone"


def ways(encoder: str | None) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """What is compared: what it is called, its algorithm and its parameters. The first is the baseline."""
    yield FIRST, None, {"reads": "second"}
    yield "words, the default", None, {}
    if encoder:
        yield "a frozen encoder", "embedding", {"encoder": encoder}


def split(table: Path, texts: list[str], target: str) -> tuple[pd.DataFrame, Columns]:
    """The rows of a dataset version of the table, made in a folder that is gone afterwards, and their inputs."""
    with tempfile.TemporaryDirectory() as folder:
        config = settings.load("dev", home=Path(folder))
        header = pd.read_csv(table, nrows=0).columns
        columns = {name: "text" if name in texts else "drop" for name in header if name != target}
        about = {"data_name": "pairs", "data_version": "1", "problem": PROBLEM.name}
        dataset.create(dataset.state(config, Source(uri=str(table)), **about, target=target, columns=columns))
        rows = dataset.load_rows(config.datasets, "pairs", "1")
    return rows, tuple(Column(name=name, kind="text") for name in header if name in texts)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--texts", nargs=2, default=["premise", "hypothesis"])
    parser.add_argument("--target", default="judgment")
    parser.add_argument("--encoder", help="folder with model.onnx and tokenizer.json")
    given = parser.parse_args()
    rows, columns = split(given.table.absolute(), given.texts, given.target)
    train, held = rows[rows["split"] == "train"], rows[rows["split"] == "holdout"].reset_index(drop=True)
    print(f"{len(train):,} rows of train, {len(held):,} held out; in brackets intervals of 95 %\n")
    print(f"| | {' | '.join(SHOWN)} | gain in {SHOWN[-1]} over {FIRST} |\n|---|" + "---|" * (len(SHOWN) + 1))
    metrics, first = [PROBLEM.judging.named(name, GateRules()) for name in SHOWN], None
    for name, algorithm, params in ways(given.encoder):
        spec, truth = Spec(algorithm, params, 0, columns), held[PROBLEM.target]
        pipeline = PROBLEM.learning.fit(spec, inputs_of(train, columns), train[PROBLEM.target])
        answers = PROBLEM.learning.answers(pipeline, inputs_of(held, columns), columns)
        scores = PROBLEM.judging.scores_of(truth, {"": answers})[""]
        found = measure(metrics, scores, first, confidence=0.95, resamples=2000)
        shown = [found.challenger[metric] for metric in SHOWN] + ([found.gain[SHOWN[-1]]] if first else [])
        print(f"| {name} | " + " | ".join(f"{c.value:.3f} [{c.low:.3f}, {c.high:.3f}]" for c in shown) + " |")
        first = first or scores


if __name__ == "__main__":
    main()
