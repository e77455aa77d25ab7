"""Everything that a version of a chain is, as files: its passages, their index, its prompt and its settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow

from lifecycle.core.errors import ConfigError
from lifecycle.problems.chat.chunks import chunks
from lifecycle.problems.chat.documents import CHAT_MISSING, Document
from lifecycle.problems.chat.model import (
    BM25,
    CHUNKS,
    CONFIG,
    PROMPT,
    REFUSAL,
    Settings,
    indexed,
    words,
)

SIZE, OVERLAP = 800, 100
REGISTERED = "prompts:/"
USUAL_PROMPT = f"""Answer the question from the passages alone, in one to three sentences.
If they do not tell the answer, say exactly: {REFUSAL}

{{{{passages}}}}

Question: {{{{question}}}}
"""
FIELDS = ("{{question}}", "{{passages}}")


def build(documents: Sequence[Document], folder: Path, params: Mapping[str, Any], seed: int) -> None:
    """Write a chain into a folder, as `model.Chain.load` reads it. Nothing of it is random.

    Args:
        documents: What is answered from.
        folder: It may not be there yet.
        params: `chunk_size`, `overlap`, `k1`, `b`, `prompt`, and what `model.Settings` has.
        seed: Kept with the settings.

    Raises:
        ConfigError: A prompt has not its fields, or what makes the index is not installed.
    """
    size = int(params.get("chunk_size", SIZE))
    found = chunks(documents, size, int(params.get("overlap", min(OVERLAP, size // 4))))
    named = {name: params[name] for name in Settings._fields if params.get(name) is not None}
    prompt = prompt_of(params.get("prompt") or USUAL_PROMPT)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [chunk._asdict() for chunk in found]
    (folder / CHUNKS).write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")
    (folder / PROMPT).write_text(prompt, encoding="utf-8")
    told = {**params, **Settings(**named)._asdict(), "chunk_size": size, "seed": seed}
    (folder / CONFIG).write_text(json.dumps(told, indent=2, sort_keys=True, default=str), encoding="utf-8")
    _write_index([words(indexed(row)) for row in rows], folder / BM25, params)


def _write_index(texts: list[list[str]], folder: Path, params: Mapping[str, Any]) -> None:
    try:
        import bm25s
    except ImportError:
        raise ConfigError("To find passages needs the package bm25s.", CHAT_MISSING) from None
    made = bm25s.BM25(k1=float(params.get("k1", 1.5)), b=float(params.get("b", 0.75)))
    made.index(texts, show_progress=False)
    made.save(folder, show_progress=False)


def prompt_of(told: str) -> str:
    """A prompt as text: itself, or the one that MLflow's registry has under `prompts:/name/version`.

    Raises:
        ConfigError: There is none, or it lacks a field.
    """
    text = told
    if told.startswith(REGISTERED):
        try:
            text = str(mlflow.genai.load_prompt(told).template)
        except Exception as error:
            what = f"The prompt {told} cannot be read: {error!s:.200}."
            raise ConfigError(what, "Name one that is registered: prompts:/NAME/VERSION") from None
    if lacking := [field for field in FIELDS if field not in text]:
        what = f"The prompt does not say where {' and '.join(lacking)} {'goes' if len(lacking) == 1 else 'go'}."
        raise ConfigError(what, f"Write {' and '.join(FIELDS)} into it.")
    return text
