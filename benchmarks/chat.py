"""How well passages are found and questions answered, over this project's own pages.

    python -m benchmarks.chat [--documents docs] [--questions examples/docs_questions.csv] [--encoder FOLDER]

Each way to find passages answers every question. From which score on it answers is learnt on the other folds, as a
training learns it; what measures is the product's own code. With an encoder the ways by vectors are measured too.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lifecycle.evaluation.statistics import measure
from lifecycle.problems.chat.expected import Expected, documents_of
from lifecycle.problems.chat.learning import LEARNING, Built, learnt_threshold
from lifecycle.problems.chat.metrics import STANDARD
from lifecycle.problems.chat.scores import ChatScores, scores_of
from lifecycle.problems.chat.settings import BY_BOTH, BY_VECTORS, BY_WORDS
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.learning import Spec

ROOT = Path(__file__).parents[1]
FOLDS = 5
SHOWN = ("recall_at_k", "mean_reciprocal_rank", "refusal_accuracy", "groundedness", "token_f1", "accuracy")


def questions(path: Path) -> pd.DataFrame:
    """The evaluation set: what is asked, and what is expected."""
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    cells = zip(rows["question"], rows["documents"], rows["answer"], strict=True)
    expected = [Expected(asked, documents_of(named), answer).cell for asked, named, answer in cells]
    return pd.DataFrame({"text": rows["question"], "target": expected})


def answered(built: Built, rows: pd.DataFrame) -> ChatScores:
    """The scores of all questions, each refused or not by what the other folds teach."""
    told = built.refusing_nothing().predict(None, rows[["text"]])
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    for held in range(FOLDS):
        others = fold != held
        threshold = learnt_threshold(rows["target"][others], told[others])
        told.loc[fold == held, "refused"] = (told["score"][fold == held] < threshold).astype(float)
    return scores_of(rows["target"], {"": told})[""]


def ways(documents: Path, encoder: str | None) -> Iterator[tuple[str, Built]]:
    """Each way to find passages, with its usual parameters."""
    for name in (BY_WORDS, *((BY_VECTORS, BY_BOTH) if encoder else ())):
        params = {"documents": str(documents), **({"encoder": encoder} if encoder and name != BY_WORDS else {})}
        yield name, Built(LEARNING.build(Spec(name, params, 0, TEXT_COLUMNS)))


def main() -> None:
    """Print a table, and the gain of each way over the first one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, default=ROOT / "docs")
    parser.add_argument("--questions", type=Path, default=ROOT / "examples" / "docs_questions.csv")
    parser.add_argument("--encoder", help="folder with model.onnx and tokenizer.json")
    chosen = parser.parse_args()
    rows = questions(chosen.questions)
    known = sum(Expected.of(cell).is_answerable for cell in rows["target"])
    print(f"{len(rows)} questions, {known} of them answerable\n")
    print("| | " + " | ".join(SHOWN) + " |\n" + "|---" * (len(SHOWN) + 1) + "|")
    metrics, first, gains = [STANDARD[name] for name in SHOWN], None, []
    for name, built in ways(chosen.documents, chosen.encoder):
        scores = answered(built, rows)
        found = measure(metrics, scores, first, confidence=0.95, resamples=2000)
        cells = [found.challenger[metric] for metric in SHOWN]
        print(f"| {name} | " + " | ".join(f"{c.value:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in cells) + " |")
        if first is not None:
            gain = found.gain["accuracy"]
            gains.append(f"{name} over {BY_WORDS}, accuracy: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
        first = first or scores
    print("\n" + "\n".join(gains))


if __name__ == "__main__":
    main()
