"""A stored model of another flavour of MLflow's: what is told of it, and how it is opened."""

from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import ProblemName
from lifecycle.core.references import ModelRef
from lifecycle.models.external import conversing, flavours, wrapped
from lifecycle.models.external.flavours import Within
from lifecycle.models.external.wrapped import FOLDER, PROBABILITIES, SECOND, TOLD
from lifecycle.models.mlmodel import MOST_DESCRIPTION, description
from lifecycle.models.pipelines import DO_NOT_USE, said
from lifecycle.problems.chat import messages
from lifecycle.problems.tabular import model as tabular

CARRIED = {"mlops_columns.py": tabular, "mlops_messages.py": messages}
BESIDE = MappingProxyType({name: Path(module.__file__ or "").read_bytes() for name, module in CARRIED.items()})
"""What travels beside the code: how cells are brought into their canonical form, and how conversations are read."""
ANSWERS, SOURCED = "answers", "sourced answers"
"""What a model of questions gives: texts alone, or also the documents that they are from."""


class Read(Frozen):
    """One input: what the data call it, what the model calls it, and the type that MLflow names; empty for as it is."""

    input: str
    column: str
    type: Literal["", "string", "double", "float", "long", "integer", "boolean", "datetime"] = ""


class Told(Frozen):
    """What is told of a foreign model; `wrapped` reads it, also where nothing of this project is installed."""

    reads: tuple[Read, ...] = Field(min_length=1)
    shape: Literal["table", "texts", "array"] = "table"
    name: str = Field("", description="Of an array: what the model calls it.")
    dtype: str = Field("", description="Of an array: its type.")
    asks: Literal["predict", "predict_proba"] = "predict"
    gives: Literal[
        "numbers", "labels", "scored labels", "probabilities", "probability", "answers", "sourced answers"
    ] = "labels"
    classes: tuple[str, ...] = Field((), description="As the model calls them, in the order of their probabilities.")
    labels: dict[str, str] = Field({}, description="What the model answers, to what the data call it.")
    refusal: str = Field("", description="The answer that is none, where the model may give that.")

    def under_contract(
        self, model: Any, columns: wrapped.Columns | None, problem: ProblemName, within: Within
    ) -> wrapped.ExternalModel | conversing.ExternalChat:
        """A loaded model under the contract of a problem; without columns it reads one text."""
        if self.refusal:
            return conversing.ExternalChat(model, self.model_dump(), asking=messages, within=within, beside=BESIDE)
        tells_all = self.gives in {PROBABILITIES, SECOND}
        made = wrapped.ExternalClassifier if tells_all else wrapped.ExternalModel
        return made(model, self.model_dump(), columns, problem, typed=tabular.typed, within=within, beside=BESIDE)


def flavours_of(folder: Path, label: str) -> dict[str, Any]:
    """The flavours of an MLflow model.

    Raises:
        IntegrityError: It names none that can predict.
    """
    named = description(folder, label).get("flavors")
    if not isinstance(named, dict) or not isinstance(named.get("python_function"), dict):
        there = ", ".join(sorted(map(str, named))[:5]) if isinstance(named, dict) else "none"
        what = f"{label}: it has no flavour python_function (flavours: {there}), so nobody can ask it for predictions."
        raise IntegrityError(what, "Log it again by a flavour that predicts: mlflow.pyfunc.log_model")
    return named


def told_of(path: Path, label: str) -> Told:
    """Read what is told of a model.

    Raises:
        IntegrityError: It is damaged.
    """
    try:
        if path.stat().st_size > MOST_DESCRIPTION:
            raise ValueError(f"it has more than {MOST_DESCRIPTION:,} bytes")
        return Told.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{label}: its {path.name} cannot be read: {said(error)}.", DO_NOT_USE) from None


def opened(artifacts: Path, ref: ModelRef, columns: wrapped.Columns | None, problem: ProblemName) -> Any:
    """Load a stored model, if what it would run is trusted.

    Raises:
        IntegrityError: It is not, or it cannot be loaded.
    """
    folder, told = artifacts / FOLDER, told_of(artifacts / TOLD, ref.label)
    named = flavours_of(folder, ref.label)
    flavours.require_trusted(folder, named, ref, ref.label)
    model, within = flavours.loaded(folder, named, ref.label)
    return told.under_contract(model, columns, problem, within)
