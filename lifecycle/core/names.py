"""The vocabulary that every floor shares: environments, problems, and the names of datasets, versions and models.

Imports nothing heavy, so that `mlops --help` stays instant.
"""

import re
from enum import StrEnum
from typing import Literal

CHAMPION = "champion"
NAME_PATTERN = r"^[a-z0-9_][a-z0-9_.-]{0,63}$"
"""One pattern for datasets and versions: it is safe as a folder, as a registry name and in a filter string."""
MODEL_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
"""Models may have capitals as well: others share the registry, and name theirs as they like."""


StepName = Literal["create-data", "train", "evaluate", "infer", "monitor", "tune"]
"""The heavy steps: what also runs as a Databricks job."""

ProblemName = Literal[
    "text-classification", "text-pair-classification", "tabular-classification", "tabular-regression", "chat"
]
"""What a model is asked; each has one folder in `lifecycle.problems`."""
TEXT_CLASSIFICATION: ProblemName = "text-classification"
"""The one that everything stored by the first releases is about, which does not say so."""


class Environment(StrEnum):
    """Where a model lives on its way to production, in the order of promotion."""

    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class Side(StrEnum):
    """The sides of a split. A model is fitted on `train` only; the gate judges on `holdout`."""

    TRAIN = "train"
    TEST = "test"
    HOLDOUT = "holdout"


SplitChoice = Literal["train", "test", "holdout", "all"]
"""Rows of a dataset version, by their split."""


def is_name(text: str) -> bool:
    """Tell whether a text may name a dataset, a dataset version or the definition of a model."""
    return bool(re.fullmatch(NAME_PATTERN, text)) and ".." not in text


def is_model_name(text: str) -> bool:
    """Tell whether a text may name a registered model, without its environment."""
    return bool(re.fullmatch(MODEL_PATTERN, text)) and ".." not in text


def natural(version: str) -> list[tuple[int, int, str]]:
    """A sort key by which 1.9 comes before 1.10."""
    parts = re.findall(r"\d+|\D+", version)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
