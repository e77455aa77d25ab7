"""A network that was fine-tuned elsewhere, as a model of ours."""

import json
from pathlib import Path

from lifecycle.core.errors import ConfigError
from lifecycle.core.names import TEXT_CLASSIFICATION
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.problems.contract import TEXT_COLUMNS
from lifecycle.problems.learning import StoredModel
from lifecycle.problems.transformer import files
from lifecycle.problems.transformer.base import begun
from lifecycle.problems.transformer.estimator import LONGEST, Transformer, require_installed
from lifecycle.problems.transformer.learning import NAME, stored_model
from lifecycle.problems.transformer.model import CONFIG

FIX = "Name a folder of save_pretrained with config.json, model.safetensors (no pickle) and a tokenizer."


def imported(folder: Path, into: Path) -> StoredModel:
    """The files of a network that tells classes of texts, by the names that its config gives them.

    Raises:
        ConfigError: The folder holds no such network, or its classes have no names.
    """
    require_installed()
    classes = _classes(folder)
    with refused_by_the_library(f"{folder}: ", ConfigError, FIX):
        start = begun(Transformer(base=str(folder), epochs=0, max_length=LONGEST), folder, classes)
        files.write(start.network, start.reader, into / NAME)
    return stored_model(TEXT_CLASSIFICATION, TEXT_COLUMNS, into / NAME)


def _classes(folder: Path) -> list[str]:
    try:
        described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        is_fitted = any("ForSequenceClassification" in name for name in described.get("architectures") or ())
        names = [str(name) for name in (described.get("id2label") or {}).values()]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{folder}: its {CONFIG} cannot be read: {error}.", FIX) from None
    if not is_fitted:
        what = f"{folder}: {CONFIG} tells of no network that was fine-tuned for classes."
        raise ConfigError(what, "Fine-tune it first: mlops train --algorithm transformer")
    if any(name.startswith("LABEL_") for name in names) or len({*names}) < max(2, len(names)):
        what = f"{folder}: its classes are called {', '.join(names) or 'nothing'}."
        raise ConfigError(what, f"Give them the names of the data's labels: id2label in {CONFIG}.")
    return names
