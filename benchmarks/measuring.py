"""What measuring a batch costs beside scoring it, on one core: CPU seconds, and the most memory that measuring needs.

    python -m benchmarks.measuring MODEL TABLE [--env dev] [--home .mlops] [--rows 20000 200000 1000000]

The model is a registered one that was judged, the table one of its inputs, which is repeated to so many rows. A batch
is measured in a process of its own, so that its memory is none of scoring (read as Linux tells it).
"""

import argparse
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lifecycle import settings
from lifecycle.core.references import ModelRef
from lifecycle.data.source import Source
from lifecycle.evaluation.baseline import Baseline
from lifecycle.inference import batch as inference
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import watch
from lifecycle.monitoring.measure import Published, measured, of_batch
from lifecycle.registry import catalog
from lifecycle.registry.store import Target
from lifecycle.settings import Settings

WARM = 2_000
"""Rows of a batch that warms what scoring and measuring need."""


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def scored(model: ModelRef, table: pd.DataFrame, folder: Path, config: Settings) -> tuple[Published, float]:
    """A published batch of a table, and the seconds that scoring it took."""
    folder.mkdir()
    table.to_csv(folder / "table.csv", index=False)
    asked = BatchRequest(
        model=model,
        input=Source(uri=str(folder / "table.csv")),
        output_root=folder / "out",
        sample=folder / "sample.json",
        inference=config.inference.model_copy(update={"workers": 1}),
    )
    request = batches.pinned(asked)
    seconds = cpu(lambda: inference.infer(request))
    place, _ = batches.locate(request)
    return Published(request, place, batches.load(place)), seconds


def measuring(warm: Published, published: Published, baseline: Baseline, config: Settings) -> tuple[float, int]:
    """The seconds that measuring a batch takes, and the most memory that this process has had, in MB."""

    def of(batch: Published) -> float:
        return cpu(lambda: measured(of_batch(batch, baseline), baseline, config.monitoring, config.gate))

    of(warm)
    seconds = of(published)
    most = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # ru_maxrss would be the parent's
    return seconds, int(most[1]) // 1024 if most else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("table", type=Path)
    parser.add_argument("--env", default="dev")
    parser.add_argument("--home", type=Path, default=Path(".mlops"))
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    given = parser.parse_args()
    config = settings.load(given.env, home=given.home.absolute(), model_name=given.model)
    model = catalog.resolve(Target(name=config.registered_name(given.model), tracking_uri=config.mlflow_uri))
    baseline, table = watch.baseline_of(model, config.datasets), pd.read_csv(given.table)
    print("| rows | scoring | measuring | share | most memory when measuring |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        warm = table.iloc[[row % len(table) for row in range(WARM)]]
        first, _ = scored(model, warm, Path(folder, "warm"), config)
        for rows in given.rows:
            repeated = pd.concat([table] * (rows // len(table) + 1)).head(rows)
            published, scoring = scored(model, repeated, Path(folder, str(rows)), config)
            del repeated
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                seconds, memory = alone.apply(measuring, (first, published, baseline, config))
            share = seconds / scoring
            print(f"| {rows:,} | {scoring:.3f} s | {seconds:.3f} s | {share:.0%} | {memory:,} MB |", flush=True)


if __name__ == "__main__":
    main()
