"""What a fine-tuning begins with: a pretrained network and its tokenizer, from files alone, none of them code."""

import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lifecycle.core.errors import ConfigError
from lifecycle.problems.transformer.model import CONFIG, TOKENIZER, WEIGHTS, Reader

if TYPE_CHECKING:
    from lifecycle.problems.transformer.estimator import Transformer

logger = logging.getLogger(__name__)

VOCABULARIES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
TAKEN = (CONFIG, WEIGHTS, "special_tokens_map.json", "added_tokens.json", *VOCABULARIES)
"""What is fetched of a model on the hub: no pickles, no code."""
ARRAYS = ("input_ids", "attention_mask", "token_type_ids")


class Start(NamedTuple):
    """A network with a number for each class, what reads its texts, and the classes in the order of the numbers."""

    network: Any
    reader: Reader
    classes: tuple[str, ...]


def from_hub(name: str, params: Mapping[str, Any]) -> Path:
    """The folder of a model of the hub that is on this machine; it is fetched only where `allow_download` says so.

    Raises:
        ConfigError: It is not there.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    allowed = bool(params.get("allow_download"))
    try:
        return Path(snapshot_download(name, local_files_only=not allowed, allow_patterns=[*TAKEN]))
    except HFValidationError:
        what = f"base={name!r:.200} is no folder, no URI of MLflow and no name of the hub."
        raise ConfigError(what, "Name a folder with config.json, model.safetensors and a tokenizer.") from None
    except Exception as error:  # the hub's client raises whatever its network does
        what = f"base={name!r:.200} is no folder, and as a model of the hub it is not on this machine"
        fix = "Name a folder, models:/… or runs:/…; to let it be fetched, add 'allow_download': True."
        raise ConfigError(f"{what} ({type(error).__name__}).", fix) from None


def begun(estimator: "Transformer", folder: Path | None, classes: Sequence[str]) -> Start:
    """Read the base: a head that knows these classes stays as it is, else a new one is drawn by the seed.

    Raises:
        ConfigError: The folder holds no such model, or its head knows other classes and nothing is to be trained.
    """
    root = folder or Path(estimator.base or "")
    weights = _holding(root, WEIGHTS, str(estimator.base))
    described = json.loads((weights / CONFIG).read_text(encoding="utf-8"))
    names = described.get("id2label") or {}
    known = tuple(str(names[place]) for place in sorted(names, key=int))
    keeps = {*known} == {*classes} and len(known) == len(classes)
    if not keeps and not estimator.epochs:
        what = f"transformer: base knows the classes {', '.join(known) or 'none'}, the data has {', '.join(classes)}."
        raise ConfigError(what, "With epochs=0 they must be the same.")
    order = known if keeps else tuple(classes)
    network = _network(weights, order, estimator.random_state or 0)
    tokenizer = tokenizer_of(_holding(root, VOCABULARIES, str(estimator.base)))
    longest = min(estimator.max_length, _positions(network.config))
    return Start(network, reader_of(tokenizer, network, longest), order)


def reader_of(tokenizer: Any, network: Any, max_length: int) -> Reader:
    """What reads texts for a network."""
    taken = inspect.signature(network.forward).parameters
    arrays = [name for name in ARRAYS if name in taken]
    return Reader(tokenizer, max_length, arrays, getattr(network.config, "pad_token_id", None) or 0)


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a folder, also of one that holds a vocabulary alone.

    Raises:
        ConfigError: There is none that can be read.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    if (folder / TOKENIZER).is_file():
        return Tokenizer.from_file(str(folder / TOKENIZER))
    made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not getattr(made, "is_fast", False):
        raise ConfigError(f"{folder}: its tokenizer cannot be stored as one file.", f"Store it with {TOKENIZER}.")
    return made.backend_tokenizer


def _network(folder: Path, classes: tuple[str, ...], seed: int) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as of_transformers

    of_transformers.set_verbosity_error()  # type: ignore[no-untyped-call]
    of_transformers.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(seed)  # draws the head where the base has none
    return AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=len(classes),
        id2label=dict(enumerate(classes)),
        label2id={name: place for place, name in enumerate(classes)},
        ignore_mismatched_sizes=True,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
    )


def _holding(root: Path, names: str | Sequence[str], base: str) -> Path:
    """The folder at or below a root that holds one of these files; of several the highest.

    Raises:
        ConfigError: None does.
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    found = [path.parent for name in wanted for path in root.rglob(name)] if root.is_dir() else []
    if not found:
        what = f"base={base!r:.200} holds no {wanted[0]}."
        fix = f"It must hold {CONFIG}, {WEIGHTS} (no pickle) and {TOKENIZER}, as save_pretrained writes them."
        raise ConfigError(what, fix)
    return min(found, key=lambda path: (len(path.parts), str(path)))


def _positions(config: Any) -> int:
    """How many tokens a network can read; RoBERTa and its like number them from behind the padding."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 512)
    return positions - (config.pad_token_id or 0) - 1 if "roberta" in str(config.model_type) else positions
