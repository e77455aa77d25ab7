"""What a model is, the same in all environments: the files `config/models/<model>.yaml`."""

from typing import Any, Literal

from pydantic import Field

from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, ProblemName
from lifecycle.core.parameters import Columns, Delimiter, Format, Fraction, Location, Name, Params


class SplitDefinition(Frozen):
    """How rows become train, test and holdout; sizes are fractions of the whole."""

    by: Literal["random", "group", "time"] = Field(
        "random", description="Whether a column decides: no group is on two splits, or the newest rows are held out."
    )
    column: str | None = Field(None, description="Column of the groups or times.")
    test_size: Fraction = Field(0.2, description="Fraction of the whole.")
    holdout_size: Fraction = Field(0.2, description="Fraction of the whole, for the gate; 0 for none.")
    stratify: Columns | None = Field(None, description="Columns kept in proportion; default the target, if a class.")


class DataDefinition(Frozen):
    """The table that a model learns from."""

    name: Name = Field(description="Name of the dataset.")
    source: Location | None = Field(
        None,
        description="Path or URL of the table, or catalog.schema.table; {version} and {logical_date} may stand in it.",
    )
    format: Format | None = Field(None, description="Default: by the suffix; delta for a Delta table at a path or URL.")
    encoding: str = Field("utf-8", description="Of CSV and JSON Lines.")
    delimiter: Delimiter = ","
    target: str = Field("label", description="Column that is to be predicted.")
    columns: dict[str, str] = Field(
        {}, description="Kind of a column, or drop; of a table's columns those that are not named are inferred."
    )
    key: str | None = Field(None, description="Column that identifies a row; default all inputs together.")
    split: SplitDefinition = SplitDefinition()


class TrainingDefinition(Frozen):
    """What is fitted."""

    algorithm: str | None = Field(None, description="Default: the problem's first one.")
    params: Params = Field({}, description="Parameters of the estimator.")
    seed: int = Field(0, description="Same data, parameters and seed give the same predictions.")


class InferenceDefinition(Frozen):
    """The table that is scored in each batch."""

    source: Location | None = Field(
        None, description="Path or URL of the table, or catalog.schema.table; {logical_date} may stand in it."
    )
    key: str | None = Field(None, description="Column that identifies a row to the reader; default its number.")


class ModelDefinition(Frozen):
    """Everything that is true of a model in all environments."""

    problem: ProblemName = TEXT_CLASSIFICATION
    data: DataDefinition
    training: TrainingDefinition = TrainingDefinition()
    gate: dict[str, Any] = Field({}, description="Rules of the gate; of an environment: models.<model>.gate there.")
    inference: InferenceDefinition = InferenceDefinition()
