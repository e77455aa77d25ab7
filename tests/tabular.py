"""What tests of tabular models share: a table of bike rentals, and models of it that are logged in a real MLflow."""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import skops.io
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.compose import ColumnTransformer
from sklearn.impute import KNNImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from lifecycle.core.references import ModelRef
from lifecycle.data.manifest import Manifest
from lifecycle.models import forms, storing
from lifecycle.storage.files import sha256_of, write_json
from tests import tabular_code

KINDS = {"temp": "numeric", "season": "categorical", "holiday": "boolean"}
REGRESSION, CLASSIFICATION = "tabular-regression", "tabular-classification"
FORM = ("columns.json", "pipeline.skops")
SPARK_TYPES = {"numeric": "double", "boolean": "double", "categorical": "string", "datetime": "datetime"}


def rentals(count: int = 40) -> pd.DataFrame:
    """Hours with their weather; `cnt` is how many bikes were out, `busy` whether these were many."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "instant": [f"h{number}" for number in range(count)],
            "temp": rng.uniform(0, 30, count).round(2),
            "season": rng.choice(["spring", "summer", "007"], count),
            "holiday": rng.choice(["True", "False"], count),
        }
    )
    rows["cnt"] = (10 * rows["temp"] + 50 * (rows["season"] == "summer")).round(3)
    return rows.assign(busy=np.where(rows["cnt"] > 150, "yes", "no"))


def published(root: Path, rows: pd.DataFrame, data_version: str = "1.0.0") -> Manifest:
    """A dataset version of rentals, as its files lie: the inputs typed, every other column as text, a key per row."""
    inputs = pd.DataFrame({name: tabular_code.typed(rows[name], kind) for name, kind in KINDS.items()})
    identities = inputs.astype(str).agg("|".join, axis=1)
    seen = identities.groupby(identities).cumcount().astype(str)
    keys = identities.map(_digest).str[:16] + (identities + "#" + seen).map(_digest).str[16:]
    split = inputs.rename(columns={"season": "source_label"}).assign(
        row=range(1, len(rows) + 1), key=keys, target=rows["cnt"], split="train", source_instant=rows["instant"]
    )
    folder = root / "bikes" / data_version
    folder.mkdir(parents=True)
    split.to_parquet(folder / "split.parquet", index=False)
    split.head(0).assign(reason="").to_parquet(folder / "quarantine.parquet", index=False)
    manifest = Manifest.model_validate(
        {
            "data_name": "bikes",
            "data_version": data_version,
            "problem": REGRESSION,
            "inputs": [{"name": "label" if name == "season" else name, "kind": kind} for name, kind in KINDS.items()],
            "digest": data_version,
            "source": "bikes.csv",
            "source_sha256": "",
            "parameters": {"suite": [], "target": "cnt"},
            "rows_in": len(rows),
            "rows_split": len(rows),
            "rows_quarantined": 0,
            "quarantined": {},
            "trimmed": 0,
            "counts": {"train": {}},
            "classes": [],
            "validation": [],
            "parent": None,
            "parent_digest": None,
            "code_version": "1",
            "files": {name: sha256_of(folder / name) for name in ("split.parquet", "quarantine.parquet")},
        }
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return manifest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fitted(problem: str, **columns: str) -> Any:
    """A pipeline that was fitted on the rentals; `columns` calls some of the inputs otherwise."""
    numbers, classes = [columns.get(name, name) for name in ("temp", "holiday")], [columns.get("season", "season")]
    classes_as_numbers = OneHotEncoder(handle_unknown="ignore")
    prepared = ColumnTransformer([("numbers", KNNImputer(), numbers), ("classes", classes_as_numbers, classes)])
    rows = rentals(400)
    inputs = pd.DataFrame(
        {columns.get(name, name): tabular_code.typed(rows[name], kind) for name, kind in KINDS.items()}
    )
    if problem == REGRESSION:
        return make_pipeline(prepared, LinearRegression()).fit(inputs, rows["cnt"])
    return make_pipeline(prepared, LogisticRegression(max_iter=1000)).fit(inputs, rows["busy"])


def logged(tracking_uri: str, problem: str, change: Callable[[Any], object] = id, **columns: str) -> ModelRef:
    """A model of the rentals in the form that all tabular models have, stored in a run of its own."""
    forms.FORMS.setdefault(FORM, _read)
    pipeline = fitted(problem, **columns)
    change(pipeline)
    described = [{"name": columns.get(name, name), "kind": kind} for name, kind in KINDS.items()]
    signature = ModelSignature(
        inputs=Schema([ColSpec(SPARK_TYPES[c["kind"]], c["name"], required=False) for c in described])
    )
    mlflow.set_tracking_uri(tracking_uri)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as temporary, mlflow.start_run() as run:
        warnings.filterwarnings("ignore", ".*input example was not provided", UserWarning)
        files = {"pipeline": Path(temporary, "pipeline.skops"), "columns": Path(temporary, "columns.json")}
        skops.io.dump(pipeline, files["pipeline"])
        files["columns"].write_text(json.dumps({"problem": problem, "columns": described}), encoding="utf-8")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=tabular_code.__file__,
            artifacts={name: str(path) for name, path in files.items()},
            signature=signature,
            pip_requirements=[],
        )
    digest = storing.stored_digest(tracking_uri, info.model_uri)
    return ModelRef(tracking_uri=tracking_uri, uri=info.model_uri, run_id=run.info.run_id, artifact_sha256=digest)


def _read(artifacts: Path, ref: ModelRef) -> tabular_code.TabularModel:  # noqa: ARG001  as every reader of a form
    return tabular_code.TabularModel().read(artifacts / "pipeline.skops", artifacts / "columns.json")
