"""Everything that a version of a chain is, as files: its passages, their index, its prompt and its settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from lifecycle.core.errors import ConfigError, IntegrityError, NotFoundError
from lifecycle.problems.chat.chunks import chunks
from lifecycle.problems.chat.documents import CHAT_MISSING, Document
from lifecycle.problems.chat.settings import (
    BM25,
    CHUNKS,
    CONFIG,
    NETWORK,
    PROMPT,
    REFUSAL,
    TOKENIZER,
    VECTORS,
    Settings,
)
from lifecycle.problems.chat.words import indexed, words
from lifecycle.problems.embedding import encoders
from lifecycle.problems.embedding.kept import Remembering
from lifecycle.settings.files import project
from lifecycle.storage import volumes

SIZE, OVERLAP = 800, 100
REGISTERED = "prompts:/"
USUAL_PROMPT = f"""Answer the question from the passages alone, in one to three sentences.
If they do not tell the answer, say exactly: {REFUSAL}

{{{{passages}}}}

Question: {{{{question}}}}
"""
FIELDS = ("{{question}}", "{{passages}}")


def build(
    documents: Sequence[Document],
    folder: Path,
    params: Mapping[str, Any],
    seed: int,
    encoder: encoders.Files | None = None,
    kept: Path | None = None,
) -> None:
    """Write a chain into a folder, as `model.Chain.load` reads it. Nothing of it is random.

    Args:
        documents: What is answered from.
        folder: It may not be there yet.
        params: `chunk_size`, `overlap`, `k1`, `b`, `prompt`, and what `settings.Settings` has.
        seed: Kept with the settings.
        encoder: What makes vectors of passages, if they are found by them.
        kept: Where vectors are kept that earlier trainings made.

    Raises:
        ConfigError: A prompt has not its fields, or what makes the index is not installed.
    """
    size = int(params.get("chunk_size", SIZE))
    found = chunks(documents, size, int(params.get("overlap", min(OVERLAP, size // 4))))
    named = {name: params[name] for name in Settings._fields if params.get(name) is not None}
    prompt = prompt_of(params.get("prompt"))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [chunk._asdict() for chunk in found]
    (folder / CHUNKS).write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")
    (folder / PROMPT).write_text(prompt, encoding="utf-8")
    told = {**params, **Settings(**named)._asdict(), "chunk_size": size, "seed": seed}
    told.pop("prompt", None)
    (folder / CONFIG).write_text(json.dumps(told, indent=2, sort_keys=True, default=str), encoding="utf-8")
    texts = [indexed(row) for row in rows]
    _write_index([words(text) for text in texts], folder / BM25, params)
    if encoder is not None:
        encoder.encoder()
        np.save(folder / VECTORS, Remembering(encoder, kept).vectors(texts).astype("float32"), allow_pickle=False)
        (folder / NETWORK).write_bytes(encoder.network)
        (folder / TOKENIZER).write_text(encoder.tokenizer, encoding="utf-8")


def _write_index(texts: list[list[str]], folder: Path, params: Mapping[str, Any]) -> None:
    try:
        import bm25s
    except ImportError:
        raise ConfigError("To find passages needs the package bm25s.", CHAT_MISSING) from None
    made = bm25s.BM25(k1=float(params.get("k1", 1.5)), b=float(params.get("b", 0.75)))
    made.index(texts, show_progress=False)
    made.save(folder, show_progress=False)


def prompt_of(told: str | None) -> str:
    """A prompt as text: itself, that of a file of the project, or of MLflow's registry; without one the usual one.

    Raises:
        ConfigError: There is none, or it lacks a field.
    """
    text = told or USUAL_PROMPT
    if text.startswith(REGISTERED):
        try:
            text = str(mlflow.genai.load_prompt(text).template)
        except Exception as error:
            what = f"The prompt {told} cannot be read: {error!s:.200}."
            raise ConfigError(what, "Name one that is registered: prompts:/NAME/VERSION") from None
    elif "{{" not in text:
        text = _of_file(text)
    if lacking := [field for field in FIELDS if field not in text]:
        what = f"The prompt does not say where {' and '.join(lacking)} {'goes' if len(lacking) == 1 else 'go'}."
        raise ConfigError(what, f"Write {' and '.join(FIELDS)} into it.")
    return text


def _of_file(name: str) -> str:
    path = (project() or Path.cwd()) / Path(name).expanduser()
    try:
        return volumes.read(path).decode("utf-8")
    except (OSError, UnicodeDecodeError, NotFoundError, IntegrityError):
        what = f"The prompt {name!r:.200} is no file of text, and none of {' and '.join(FIELDS)} is in it."
        fix = "Name a file, a prompt of MLflow's registry (prompts:/NAME/VERSION), or write the prompt itself."
        raise ConfigError(what, fix) from None
