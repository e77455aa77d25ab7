"""What measuring a batch costs beside scoring it, on one core: CPU seconds, and the most memory that the process had.

    python -m benchmarks.measuring MODEL TABLE [--env dev] [--home .mlops] [--rows 20000 100000]

The model is a registered one that was judged, the table one of its inputs, which is repeated to so many rows.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lifecycle import settings
from lifecycle.data.source import Source
from lifecycle.inference import batch as inference
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import watch
from lifecycle.monitoring.measure import Published, measured, of_batch
from lifecycle.registry import catalog
from lifecycle.registry.store import Target


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("table", type=Path)
    parser.add_argument("--env", default="dev")
    parser.add_argument("--home", type=Path, default=Path(".mlops"))
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    given = parser.parse_args()
    config = settings.load(given.env, home=given.home.absolute(), model_name=given.model)
    model = catalog.resolve(Target(name=config.registered_name(given.model), tracking_uri=config.mlflow_uri))
    by = watch.baseline_of(model, config.datasets), config.monitoring, config.gate
    table = pd.read_csv(given.table, sep=None, engine="python")
    print("| rows | scoring | measuring | share | most memory |\n|---|---|---|---|---|")
    for number, rows in enumerate([2_000, *given.rows]):  # the first warms what both need
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            pd.concat([table] * (rows // len(table) + 1)).head(rows).to_csv(path, index=False)
            request = BatchRequest(
                model=model,
                input=Source(uri=str(path)),
                output_root=Path(folder, "out"),
                sample=Path(folder, "sample.json"),
                inference=config.inference.model_copy(update={"workers": 1}),
            )
            request = batches.pinned(request)
            scoring = cpu(lambda request=request: inference.infer(request))  # type: ignore[misc]
            place, _ = batches.locate(request)
            published = Published(request, place, batches.load(place))
            measuring = cpu(lambda published=published: measured(of_batch(published, by[0]), *by))  # type: ignore[misc]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if number:
            print(f"| {rows:,} | {scoring:.3f} s | {measuring:.3f} s | {measuring / scoring:.0%} | {memory:,} MB |")


if __name__ == "__main__":
    main()
