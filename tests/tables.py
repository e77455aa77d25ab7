"""Small tables that can be learnt from, and dataset versions of them: `split.parquet` and `manifest.json`."""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.names import ProblemName
from lifecycle.core.references import ModelRef
from lifecycle.data.manifest import Manifest
from lifecycle.problems.contract import Column
from lifecycle.problems.tabular.model import typed
from lifecycle.settings import Settings
from lifecycle.storage.files import sha256_of
from lifecycle.tracking import runs
from lifecycle.training import train as training

INPUTS = (
    Column(name="size", kind="numeric"),
    Column(name="colour", kind="categorical"),
    Column(name="is_new", kind="boolean"),
    Column(name="sold", kind="datetime"),
    Column(name="label", kind="categorical"),  # called like the target of a dataset's files
)
PAIRS = [(column.name, column.kind) for column in INPUTS]


def sales(rows: int = 240) -> pd.DataFrame:
    """A table with missing cells; `price` follows from the inputs, and so does whether it is `high` or `low`."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": rng.uniform(0, 10, rows).round(2),
            "colour": rng.choice(["red", "blue", "green"], rows),
            "is_new": rng.choice([True, False], rows),
            "sold": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 8_760, rows), unit="h"),
            "label": rng.choice(["a", "b"], rows),
        }
    )
    table["price"] = table["size"] * 10 + 20 * (table["colour"] == "red") + 5 * table["is_new"]
    table["class"] = np.where(table["price"] > 60, "high", "low")
    return table.mask(rng.uniform(size=table.shape) < [0.05, 0.05, 0.05, 0.05, 0.05, 0, 0])


def write_version(
    config: Settings, problem: ProblemName, table: pd.DataFrame | None = None, data_version: str = "1.0.0"
) -> Manifest:
    """Write a version of dataset `sales` with 60 % of the rows in train."""
    table = sales() if table is None else table
    target = "target" if problem == "tabular-regression" else "label"
    inputs = typed(table, PAIRS).rename(columns={column.name: column.stored for column in INPUTS})
    number = range(len(table))
    rows = inputs.assign(
        row=[n + 1 for n in number],
        key=[hashlib.sha256(str(n).encode()).hexdigest() for n in number],
        split=[("train", "train", "train", "test", "holdout")[n % 5] for n in number],
        **{target: table["price"].astype(float) if target == "target" else table["class"].astype(object)},
    )
    folder = config.datasets / "sales" / data_version
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "split.parquet", index=False)
    manifest = Manifest.model_validate(_facts(problem, data_version, rows, sha256_of(folder / "split.parquet")))
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json")), encoding="utf-8")
    return manifest


def _facts(problem: ProblemName, data_version: str, rows: pd.DataFrame, split: str) -> dict[str, Any]:
    return {
        "data_name": "sales", "data_version": data_version, "problem": problem, "inputs": INPUTS, "digest": split,
        "source": "sales.csv", "source_sha256": "0" * 64, "parameters": {}, "rows_in": len(rows),
        "rows_split": len(rows), "rows_quarantined": 0, "quarantined": {}, "trimmed": 0,
        "counts": {name: {"": int(count)} for name, count in rows["split"].value_counts().items()},
        "classes": (), "validation": (), "parent": None, "parent_digest": None, "code_version": "0",
        "files": {"split.parquet": split},
    }  # fmt: skip


def train_table(config: Settings, algorithm: str | None = None, *, seed: int = 0, **params: Any) -> ModelRef:
    """Train a model on dataset `sales` 1.0.0 and return the reference to it."""
    data = {"data_name": "sales", "data_version": "1.0.0"}
    wanted = training.Training(**data, model_name="prices", algorithm=algorithm, params=params, seed=seed)
    request = training.plan(config, wanted)
    training.train(request)
    return runs.trained(config.mlflow_uri, request.run_id)
