"""What a stored model of texts consists of."""

from collections.abc import Mapping
from pathlib import Path

from lifecycle.problems.contract import CLASS
from lifecycle.problems.learning import StoredModel

MODEL = Path(__file__).with_name("model.py")
EXAMPLE = (
    "Profit rose to a record and orders grew by 12 %",
    "Sales fell on weak demand; the loss widened to EUR 3.4m",
)


def stored_model(code: Path, artifacts: Mapping[str, Path]) -> StoredModel:
    """Files and the code that reads them under the contract of all text models."""
    import pandas as pd

    example = pd.DataFrame({"text": list(EXAMPLE)})
    return StoredModel(code, artifacts, {"text": "string"}, CLASS, example)
