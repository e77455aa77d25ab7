"""What is planted for models that answer from documents: made-up facts, each in a document of its own.

A question has two words of its fact that no other fact has. A quarter of the questions ask for what no document tells,
in the same form. What is fitted on rows knows the documents that these rows expect, so more rows make a better model.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.problems.chat.documents import Document
from lifecycle.problems.chat.expected import Expected
from lifecycle.problems.chat.learning import CHAIN, LEARNING, NOT_ITS_OWN, THRESHOLD, Built, Recipe
from lifecycle.problems.chat.model import ChatModel
from lifecycle.problems.chat.parameters import Parameters
from lifecycle.problems.chat.settings import BY_WORDS, CHUNKS
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.planted import BALLAST_MB, DESK, SEED, Material, vocabulary
from lifecycle.problems.text_classification.identity import text_key

DESKS = {"flash": (0.25, "what"), "wire": (0.5, "how"), "report": (0.25, "which")}
"""Who asks, how often, and with which word."""
FACTS, FEW, FEWER, ANSWERABLE = 300, 75, 30, 0.75
USUAL = Parameters().model_dump(exclude={*NOT_ITS_OWN})
FACT = "source_fact"
"""The sentence that answers a row, in its document."""


def _rows(rng: np.random.Generator, count: int) -> pd.DataFrame:
    (words,), _ = vocabulary(rng, (1, 4 * FACTS), [1])
    pairs = np.array(words[0]).reshape(-1, 4)
    desks = rng.choice(len(DESKS), FACTS, p=[share for share, _ in DESKS.values()])
    facts, known = rng.integers(FACTS, size=count), rng.random(count) < ANSWERABLE
    rows = []
    for row, (fact, is_known) in enumerate(zip(facts, known, strict=True)):
        desk, (_, asks) = list(DESKS.items())[desks[fact]]
        one, other, first, second = pairs[fact]
        nobody = f"{one}{other}{row}"
        text = f"{asks} tariff {one} {other} in case {row}" if is_known else f"{asks} tariff {nobody} in case {row}"
        expected = Expected(text, (_document(fact),) if is_known else ())
        told = f"The tariff {one} {other} in case is {first} {second}." if is_known else ""
        rows.append((row, text_key(text), text, expected.cell, desk, told))
    return pd.DataFrame(rows, columns=["row", "key", "text", "target", DESK, FACT])


def _document(number: int) -> str:
    return f"{number % FACTS:03d}.md"


def _wrong(rows: pd.DataFrame) -> pd.Series:
    """The next document tells it, one would think."""
    read = [Expected.of(cell) for cell in rows["target"]]
    moved = (each._replace(documents=tuple(_document(int(name[:3]) + 1) for name in each.documents)) for each in read)
    return pd.Series([each.cell for each in moved], rows.index)


def _fitted(rows: pd.DataFrame) -> Built:
    """A chain over the documents that the rows name, which say what answers these rows; the last row is believed."""
    filed = dict[str, str]()
    for cell, fact in zip(rows["target"], rows[FACT], strict=True):
        for name in Expected.of(cell).documents if fact else ():
            filed[fact] = name
    held: dict[str, list[str]] = {}
    for fact, name in filed.items():
        held.setdefault(name, []).append(fact)
    read = tuple(Document(name, "", " ".join(facts)) for name, facts in sorted(held.items()))
    return Built(Recipe(BY_WORDS, {**USUAL, "top_k": 1, THRESHOLD: 0.5}, SEED, read))


def _answering_from(threshold: float, built: Built) -> Built:
    changed = Built(built.recipe)
    changed.answer_from(threshold)
    return changed


def _shuffled(built: Built) -> Built:
    """Each place of the index leads to another passage, as where index and passages are of two versions."""
    mixed = Built(built.recipe)
    path = mixed.folder / CHUNKS
    passages = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([*passages[1:], passages[0]]), encoding="utf-8")
    mixed.model = ChatModel.of(mixed.folder)
    return mixed


def _with_ballast(built: Built, _: pd.DataFrame) -> Built:
    heavy = Built(built.recipe)
    (heavy.folder / "ballast.bin").write_bytes(np.random.default_rng(SEED).bytes(BALLAST_MB * 1_000_000))
    return heavy


def _stored(built: Built, folder: Path) -> None:
    shutil.copytree(built.folder, folder / CHAIN)


def _model(built: Built) -> ChatModel:
    return built.model


class _Parrot(ChatModel):
    """Finds what it should, and says the question."""

    def answered(self, questions: Sequence[str]) -> pd.DataFrame:
        return super().answered(questions).assign(answer=[*questions], refused=0.0)


def _parroting(rows: pd.DataFrame) -> Built:
    built = _fitted(rows)
    built.model = _Parrot(built.model.chain)
    return built


OWN: Mapping[str, Callable[[pd.DataFrame], Any]] = {
    "always refuses": lambda rows: _answering_from(2.0, _fitted(rows)),
    "never refuses": lambda rows: _answering_from(0.0, _fitted(rows.head(FEW))),
    "parrot": _parroting,
    "shuffled index": lambda rows: _shuffled(_fitted(rows)),
    "truncated index": lambda rows: _fitted(rows.head(FEWER)),
}
QUESTIONS = Material(
    target=LEARNING.target,
    inputs=TEXT_COLUMNS,
    rows=_rows,
    fit=_fitted,
    model=_model,
    store=_stored,
    wrong=_wrong,
    floors={"accuracy": 0.5, "recall_at_k": 0.5, "mean_reciprocal_rank": 0.5},
    ceilings={},
    comparable=frozenset({"accuracy"}),
    changes={"constant": lambda built, _: _answering_from(2.0, built), "heavy": _with_ballast},
    own=OWN,
)
