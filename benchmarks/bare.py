"""The reference job as a plain script: the same libraries and the same results, written by hand, without orchestration.

What `benchmarks/run.py` measures the flows against: `python benchmarks/bare.py TABLE STATE DATA_VERSION [PARAMS]`.
It reads, cleans and validates the table, splits it, trains, logs and registers the model, compares it with the champion
on the holdout, moves the alias and scores the table with the champion.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import great_expectations as gx
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import infer_signature
from scipy import stats
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

MODEL = "dev.ml.sentiment"
PACKAGES = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
RESAMPLES = 2000


def main(table: Path, state: Path, data_version: str, params: dict[str, Any]) -> None:
    state.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{state}/mlflow.db")
    client = MlflowClient()
    rows = clean(pd.read_csv(table))
    validate(rows, state / "data_docs" / data_version)
    sides = split(rows)
    folder = state / "data" / data_version
    folder.mkdir(parents=True)
    for name, side in sides.items():
        side.to_parquet(folder / f"{name}.parquet", index=False)
    pipeline = train(sides["train"], params)
    number = log(client, pipeline, sides, params, state)
    if is_better(client, number, pipeline, sides["holdout"]):
        client.set_registered_model_alias(MODEL, "champion", number)
    predict(client, table, state / "predictions" / data_version)


def clean(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.rename(columns={"Sentence": "text", "Sentiment": "label"}).dropna()
    rows = rows.assign(text=rows["text"].str.strip(), label=rows["label"].str.strip()).drop_duplicates()
    labels = rows.groupby("text")["label"].transform("nunique")
    return rows[labels == 1].reset_index(drop=True)


def validate(rows: pd.DataFrame, docs: Path) -> None:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    context.add_data_docs_site("table", {"class_name": "SiteBuilder", "store_backend": backend})
    expectations = [
        gx.expectations.ExpectTableRowCountToBeBetween(min_value=20),
        gx.expectations.ExpectColumnValuesToNotBeNull(column="text"),
        gx.expectations.ExpectColumnValuesToNotBeNull(column="label"),
        gx.expectations.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1),
        gx.expectations.ExpectColumnDistinctValuesToBeInSet(
            column="label", value_set=["negative", "neutral", "positive"]
        ),
    ]
    suite = context.suites.add(gx.ExpectationSuite(name="rows", expectations=expectations))
    asset = context.data_sources.add_pandas("source").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="rows", data=batch, suite=suite))
    actions = [gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["table"])]
    checkpoint = gx.Checkpoint(name="rows", validation_definitions=[definition], actions=actions)
    if not context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": rows}).success:
        sys.exit("The table is not valid.")


def split(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    train, rest = train_test_split(rows, test_size=0.4, stratify=rows["label"], random_state=0)
    test, holdout = train_test_split(rest, test_size=0.5, stratify=rest["label"], random_state=0)
    return {"train": train, "test": test, "holdout": holdout}


def train(rows: pd.DataFrame, params: dict[str, Any]) -> Pipeline:
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[%$€£₹+-]")
    classifier = LogisticRegression(**{"C": 10.0, "max_iter": 1000, "random_state": 0, **params})
    steps = [("features", ColumnTransformer([("tfidf", vectoriser, "text")])), ("classifier", classifier)]
    return Pipeline(steps).fit(rows[["text"]], rows["label"])


def log(
    client: MlflowClient, pipeline: Pipeline, sides: dict[str, pd.DataFrame], params: dict[str, Any], state: Path
) -> str:
    if client.get_experiment_by_name("sentiment") is None:
        client.create_experiment("sentiment", artifact_location=(state / "artifacts").as_uri())
    mlflow.set_experiment("sentiment")
    with mlflow.start_run():
        mlflow.log_params({**pipeline[-1].get_params(), **params})
        for name, side in sides.items():
            predicted = pipeline.predict(side[["text"]])
            accuracy, f1 = accuracy_score(side["label"], predicted), f1_score(side["label"], predicted, average="macro")
            mlflow.log_metrics({f"{name}.accuracy": accuracy, f"{name}.f1_macro": f1})
        example = sides["train"][["text"]].head(2)
        info = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            signature=infer_signature(example, pipeline.predict(example)),
            input_example=example,
            pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
            registered_model_name=MODEL,
        )
    return str(info.registered_model_version)


def is_better(client: MlflowClient, number: str, challenger: Pipeline, holdout: pd.DataFrame) -> bool:
    aliases = client.get_registered_model(MODEL).aliases
    if "champion" not in aliases:
        return True
    champion = mlflow.sklearn.load_model(f"models:/{MODEL}/{aliases['champion']}")
    truth, new, old = (
        np.searchsorted(challenger.classes_, labels)
        for labels in (holdout["label"], challenger.predict(holdout[["text"]]), champion.predict(holdout[["text"]]))
    )
    classes = len(challenger.classes_)

    def gain(drawn: np.ndarray) -> float:
        return f1(truth[drawn], new[drawn], classes) - f1(truth[drawn], old[drawn], classes)

    interval = stats.bootstrap(
        (np.arange(len(truth)),), gain, n_resamples=RESAMPLES, vectorized=False, method="percentile", rng=0
    ).confidence_interval
    client.set_model_version_tag(MODEL, number, "gain", json.dumps([interval.low, interval.high]))
    return bool(interval.low > 0)


def f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    confusion = np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return float((2 * np.diag(confusion) / np.maximum(confusion.sum(0) + confusion.sum(1), 1)).mean())


def predict(client: MlflowClient, table: Path, folder: Path) -> None:
    number = client.get_model_version_by_alias(MODEL, "champion").version
    model = mlflow.sklearn.load_model(f"models:/{MODEL}/{number}")
    rows = pd.read_csv(table).rename(columns={"Sentence": "text"})[["text"]].dropna()
    probabilities = model.predict_proba(rows)
    labels, scores = model.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)
    folder.mkdir(parents=True)
    rows.assign(label=labels, score=scores, model=MODEL, version=number).to_parquet(folder / "predictions.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]) if len(sys.argv) > 4 else {})
