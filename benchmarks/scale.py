"""Steps on many rows against plain libraries on the same rows: `python -m benchmarks.scale --rows 1000000`.

The texts are those of a table of news, repeated with other words and a number in them. Each row of the output is a
process of its own: CPU seconds of it and all its children, and the most memory that all of them had at a time (PSS,
where what several share counts once). The step itself is measured, without Prefect's server, whose cost does not
depend on the rows; `benchmarks.run` measures that.
"""

import argparse
import json
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pandas as pd

from benchmarks import performance
from benchmarks.processes import ROOT, TABLES, Measured, measured

CLEAR = {"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1"}
CLEAR["MLOPS_DATA__NEAR_DUPLICATES"] = "off"  # of this table nearly all are twins, and the plain step looks for none

LIMITS = {
    "infer, table.csv": 1.15,
    "infer, table.parquet": 1.15,
    "create, table.csv": 2.8,
    "create, table.parquet": 4.2,
}
"""The ratios of CPU to plain libraries, above which something has become worse; of a million rows."""


class Compared(NamedTuple):
    """What a step cost beside the same by plain libraries."""

    cpu: float
    bare_cpu: float
    ratio: float
    megabytes: int
    bare_megabytes: int


def make_table(folder: Path, rows: int) -> None:
    """Write `table.csv` and `table.parquet`."""
    news = pd.read_csv(next(table for table in TABLES if table.exists()), dtype=str, keep_default_na=False)
    chance, texts, labels = random.Random(1), news.iloc[:, 0].tolist(), news.iloc[:, 1].tolist()
    words = [word for text in texts for word in text.split()]
    made = []
    for number in range(rows):
        text = texts[number % len(texts)].split()
        for _ in range(3 if number >= len(texts) else 0):
            text.insert(chance.randrange(len(text) + 1), chance.choice(words))
        made.append(" ".join([*text, str(number)]))
    frame = pd.DataFrame({"text": made, "label": [labels[number % len(labels)] for number in range(rows)]})
    frame.to_csv(folder / "table.csv", index=False)
    frame.to_parquet(folder / "table.parquet", index=False)
    news.set_axis(["text", "label"], axis="columns").to_csv(folder / "news.csv", index=False)


def prepare(folder: Path) -> None:
    """Train the model that scores; `model.json` says which, `pipeline` where its pipeline lies."""
    from lifecycle import settings
    from lifecycle.data import dataset
    from lifecycle.data.source import Source
    from lifecycle.models import loading
    from lifecycle.tracking import runs
    from lifecycle.training import train as training

    config, version = settings.load("dev", home=folder / "home"), {"data_name": "news", "data_version": "1"}
    dataset.create(dataset.plan(config, Source(uri=str(folder / "news.csv")), **version))
    request = training.plan(config, training.Training(**version, model_name="news", algorithm="logistic_regression"))
    training.train(request)
    model = runs.trained(config.mlflow_uri, request.run_id)
    (folder / "model.json").write_text(model.model_dump_json())
    with loading.private_copy(model) as copy:
        (copy / "artifacts" / "pipeline.skops").rename(folder / "pipeline.skops")


def bare_infer(folder: Path, table: str) -> None:
    """Pandas reads, scikit-learn transforms and predicts in parts of 20,000 rows, pandas writes."""
    import numpy as np

    from lifecycle.problems.text_classification.model import read

    pipeline, parts = read(folder / "pipeline.skops"), []
    texts = _read(folder / table, ["text"])["text"].to_numpy(object)
    for start in range(0, len(texts), 20_000):
        likely = pipeline.predict_proba(pd.DataFrame({"text": texts[start : start + 20_000]}))
        labels = np.asarray(pipeline.classes_)[likely.argmax(axis=1)]
        parts.append(pd.DataFrame({"label": labels, "score": likely.max(axis=1)}))
    pd.concat(parts).to_parquet(folder / "bare.parquet")


def infer(folder: Path, table: str) -> None:
    """The step `infer`."""
    from lifecycle.core.references import ModelRef
    from lifecycle.data.source import Source
    from lifecycle.inference import batch
    from lifecycle.inference.manifest import BatchRequest

    model = ModelRef.model_validate_json((folder / "model.json").read_text())
    source = Source(uri=str(folder / table))
    batch.infer(BatchRequest(model=model, input=source, output_root=folder / "predictions" / str(time.time_ns())))


def bare_create(folder: Path, table: str) -> None:
    """Pandas reads, each text is hashed, pandas writes."""
    import hashlib

    rows = _read(folder / table, ["text", "label"])
    keys = [hashlib.sha256(text.lower().encode()).hexdigest() for text in rows["text"]]
    rows.assign(key=keys).drop_duplicates("key").to_parquet(folder / "bare.parquet")


def create(folder: Path, table: str) -> None:
    """The step `create-data`."""
    from lifecycle import settings
    from lifecycle.data import dataset
    from lifecycle.data.source import Source

    config = settings.load("dev", home=folder / "home")
    dataset.create(
        dataset.plan(config, Source(uri=str(folder / table)), data_name=f"n{time.time_ns()}", data_version="1")
    )


def prepare_training(folder: Path) -> None:
    """Write the table as a dataset version: what to create one costs is measured by `create`."""
    import hashlib

    from lifecycle import settings
    from lifecycle.data.manifest import Manifest
    from lifecycle.storage.files import sha256_of

    rows = pd.read_parquet(folder / "table.parquet")
    rows["key"] = [hashlib.sha256(text.encode()).hexdigest() for text in rows["text"]]
    rows["row"], rows["split"] = (
        range(1, len(rows) + 1),
        ["train", "train", "train", "train", "test"] * (len(rows) // 5),
    )
    place = settings.load("dev", home=folder / "home").datasets / "scale" / "1"
    place.mkdir(parents=True)
    rows.to_parquet(place / "split.parquet", index=False)
    digest, counts = sha256_of(place / "split.parquet"), rows.groupby("split")["label"].value_counts()
    manifest = Manifest(
        data_name="scale",
        data_version="1",
        digest=digest,
        source="table.parquet",
        source_sha256=digest,
        parameters={},
        rows_in=len(rows),
        rows_split=len(rows),
        rows_quarantined=0,
        quarantined={},
        trimmed=0,
        counts={
            split: {label: int(counts[split, label]) for label in counts[split].index} for split in ("train", "test")
        },
        classes=tuple(sorted(rows["label"].unique())),
        validation=(),
        parent=None,
        parent_digest=None,
        code_version="0",
        files={"split.parquet": digest},
    )
    (place / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")


def bare_train(folder: Path, _: str) -> None:
    """Pandas reads train and test, scikit-learn hashes, fits with early stopping, and predicts both."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier

    from lifecycle.problems.text_classification.tokens import WORDS

    rows = pd.read_parquet(
        folder / "home" / "data" / "scale" / "1" / "split.parquet", columns=["text", "label", "split"]
    )
    train, test = (rows[rows["split"] == split] for split in ("train", "test"))
    vectoriser = HashingVectorizer(n_features=2**18, ngram_range=(1, 2), token_pattern=WORDS)
    read = vectoriser.transform(train["text"])
    model = SGDClassifier(
        loss="log_loss", alpha=1e-5, early_stopping=True, n_iter_no_change=2, tol=1e-4, max_iter=30, random_state=0
    ).fit(read, train["label"])
    model.predict_proba(read)
    right = model.predict(vectoriser.transform(test["text"])) == test["label"].to_numpy()
    (folder / "bare_train.txt").write_text(f"{model.n_iter_} epochs, test accuracy {right.mean():.4f}")


def train(folder: Path, _: str) -> None:
    """The step `train` with `sgd`: fit, measure on train and test, log the model and its run."""
    from lifecycle import settings
    from lifecycle.tracking import client as tracking
    from lifecycle.training import train as training

    config = settings.load("dev", home=folder / "home")
    what = {"data_name": "scale", "data_version": "1", "model_name": "scale", "algorithm": "sgd"}
    anew = time.time_ns() % 2**31  # a training that there is already is not repeated
    request = training.plan(config, training.Training(**what, seed=anew))
    training.train(request)
    found = tracking.client(config.mlflow_uri).get_run(request.run_id).data.metrics
    (folder / "train.txt").write_text(f"test accuracy {found['test.accuracy']:.4f}")


STEPS = {step.__name__: step for step in (infer, bare_infer, create, bare_create, train, bare_train)}
ROWS = [
    ("infer", "table.csv"),
    ("infer", "table.parquet"),
    ("create", "table.csv"),
    ("create", "table.parquet"),
    ("train", "table.parquet"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1, help="how often each step is run, by turns with the bare one")
    parser.add_argument("--only", choices=["infer", "create", "train"], help="one step alone")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md, too")
    parser.add_argument("--check", action="store_true", help="end with 1 if a ratio is above its limit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlops-scale-") as name:
        folder, wanted = Path(name), [each for each in ROWS if options.only in (None, each[0])]
        make_table(folder, options.rows)
        prepare(folder)
        if options.only in (None, "train"):
            prepare_training(folder)
        figures = {f"{step}, {table}": compared(step, folder, table, options.rounds) for step, table in wanted}
        said = [f"{path.stem}: {path.read_text()}\n" for path in sorted(folder.glob("*train.txt"))]
    sys.stderr.write("".join(said))
    print(json.dumps({name: each._asdict() for name, each in figures.items()}, indent=2))
    if options.write:
        performance.keep("scale", options.rounds, {"rows": options.rows}, figures, beside=options.only is not None)
    above = [name for name, each in figures.items() if each.ratio > LIMITS.get(name, math.inf)]
    if options.check and above:
        sys.exit("; ".join(f"{name}: {figures[name].ratio} is above {LIMITS[name]}" for name in above))


def compared(step: str, folder: Path, table: str, rounds: int) -> Compared:
    """A step beside its plain one, by turns: medians, and of the ratios of each round their median."""
    pairs = [(step_measured(step, folder, table), step_measured(f"bare_{step}", folder, table)) for _ in range(rounds)]
    ours, bare = zip(*pairs, strict=True)
    return Compared(
        cpu=round(median(each.cpu for each in ours), 1),
        bare_cpu=round(median(each.cpu for each in bare), 1),
        ratio=round(median(one.cpu / other.cpu for one, other in pairs), 2),
        megabytes=round(median(each.megabytes for each in ours)),
        bare_megabytes=round(median(each.megabytes for each in bare)),
    )


def step_measured(step: str, folder: Path, table: str) -> Measured:
    """Run a step in a process of its own."""
    call = f"scale.STEPS[{step!r}](Path({str(folder)!r}), {table!r})"
    code = "from mlops_lifecycle import start; start.find(); from pathlib import Path; "  # as the command starts
    code += f"from benchmarks import scale; {call}"
    return measured([sys.executable, "-c", code], ROOT, CLEAR)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path, columns=columns)
    return pd.read_csv(path, dtype=str, keep_default_na=False, usecols=columns)


if __name__ == "__main__":
    main()
