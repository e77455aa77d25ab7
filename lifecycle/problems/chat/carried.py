"""The code of a chain in one file, as MLflow takes a model's code, so that it needs nothing of this project."""

import inspect
import re
from pathlib import Path

from lifecycle.problems.chat import endpoint, messages, model, settings, words
from lifecycle.problems.text_pair_classification.model import SHORTEST, Encoder

OURS = re.compile(r"^from lifecycle\.\S+ import (?:\([^)]*\)|[^(\n]*)\n", re.MULTILINE)
"""An import of what stands further up in the file."""
FILE = "chain.py"


def written(folder: Path) -> Path:
    """Write the file into a folder."""
    encoder = f"from collections.abc import Sequence\nfrom typing import Any\n\nimport numpy as np\n\n\
SHORTEST = {SHORTEST!r}\n\n\n{inspect.getsource(Encoder)}"
    modules = [inspect.getsource(module) for module in (words, settings, messages, endpoint)]
    path = folder / FILE
    path.write_text("\n\n".join(OURS.sub("", text) for text in (*modules, encoder, inspect.getsource(model))), "utf-8")
    return path
