"""Fine-tuning a network and asking it, beside a plain script of transformers on the same rows, in the same run.

    python -m benchmarks.transformers --base FOLDER [--table CSV] [--text Sentence] [--label Sentiment] [--rows 1000]

Each column is a process of its own, on one thread: rows per second of CPU, and the most memory that it had. Both learn
from the same rows with the same batch size, length and precision, and answer the same rows; the plain script shuffles
and fills up each batch to its longest row, as the tutorials of transformers do. Rounds alternate; medians are shown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
BATCH, ASKED, LONGEST, RATE = 16, 32, 128, 5e-5
KINDS = ("bare", "ours")


def bare(base: Path, rows: pd.DataFrame) -> dict[str, float]:
    """What somebody writes who has transformers and an hour."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    classes = sorted(rows["label"].unique())
    truth = torch.tensor([classes.index(label) for label in rows["label"]])
    texts, tokenizer = rows["text"].tolist(), AutoTokenizer.from_pretrained(base)
    network = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(classes))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    steps = -(-len(texts) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimiser, steps // 10, steps)

    def read(some: list[str]) -> Any:
        return tokenizer(some, truncation=True, max_length=LONGEST, padding=True, return_tensors="pt")

    started = time.process_time()
    network.train()
    for places in torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).split(BATCH):
        loss = network(**read([texts[place] for place in places]), labels=truth[places]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    trained = time.process_time()
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(texts), ASKED):
            network(**read(texts[start : start + ASKED])).logits.softmax(-1).max(-1)
    return {"train": len(texts) / (trained - started), "ask": len(texts) / (time.process_time() - trained)}


def ours(base: Path, rows: pd.DataFrame) -> dict[str, float]:
    """The algorithm `transformer` as a training and a batch call it, checkpoints included."""
    from lifecycle.problems.contract import TEXT_COLUMNS
    from lifecycle.problems.known import named
    from lifecycle.problems.learning import Beside, Spec
    from lifecycle.problems.transformer.model import TransformerModel

    learning = named("text-classification").learning
    params = {"base": str(base), "epochs": 1, "batch_size": BATCH, "max_length": LONGEST, "patience": None}
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        spec = Spec("transformer", params, 0, TEXT_COLUMNS)
        fitted = learning.fit(spec, rows[["text"]], rows["label"], Beside(checkpoints=Path(folder)))
        trained = time.process_time()
    TransformerModel(fitted.encoder()).predict(None, rows[["text"]])
    return {"train": len(rows) / (trained - started), "ask": len(rows) / (time.process_time() - trained)}


def table(options: argparse.Namespace) -> pd.DataFrame:
    rows = pd.read_csv(options.table, dtype=str, keep_default_na=False).head(options.rows)
    return pd.DataFrame({"text": rows[options.text], "label": rows[options.label]})


def measured(kind: str, arguments: list[str]) -> dict[str, float]:
    """One process: what it says of itself, and its peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.transformers", *arguments, "--only", kind]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, env=os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        if process.returncode:
            sys.exit(f"{kind} ended with {process.returncode}")
        return json.loads(out.read().splitlines()[-1]) | {"megabytes": used.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", type=Path, required=True, help="folder with config.json, model.safetensors, tokenizer"
    )
    parser.add_argument("--table", type=Path, default=ROOT / "examples" / "financial_news.csv")
    parser.add_argument("--text", default="Sentence")
    parser.add_argument("--label", default="Sentiment")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps({"bare": bare, "ours": ours}[options.only](options.base, table(options))))
        return
    rounds = [{kind: measured(kind, sys.argv[1:]) for kind in KINDS} for _ in range(options.rounds)]
    print("| | bare | ours | ours / bare |\n|---|---|---|---|")
    for name, unit in (("train", "rows a second"), ("ask", "rows a second"), ("megabytes", "MB at most")):
        shown = {kind: statistics.median(each[kind][name] for each in rounds) for kind in KINDS}
        ratio = statistics.median(each["ours"][name] / each["bare"][name] for each in rounds)
        print(f"| {name}, {unit} | {shown['bare']:,.0f} | {shown['ours']:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
