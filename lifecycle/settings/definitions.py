"""What a model is, the same in all environments: the files `config/models/<model>.yaml`."""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Rules
from lifecycle.core.names import TEXT_CLASSIFICATION, Environment, ProblemName, is_name
from lifecycle.core.parameters import Delimiter, Format, Fraction, Location, Name, OwnPath, Params, Seed, Strata
from lifecycle.settings.files import config_dir, problems, project, read_yaml

ColumnKind = Literal["text", "numeric", "categorical", "boolean", "datetime", "drop"]
"""What a column of a table is as an input; drop: it is none."""
TABLE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){2}(@v?\d+)?")
ADDRESS = re.compile(r"~|[A-Za-z][A-Za-z0-9+.-]+:")
"""How a source begins that is not relative to any folder: in one's home, or a URL."""


class SplitDefinition(Rules):
    """How rows become train, test and holdout; sizes are fractions of the whole."""

    by: Literal["random", "group", "text", "time"] = Field(
        "random",
        description="What decides: no group of a column, or no text of a pair, is on two splits, or the newest rows "
        "are held out.",
    )
    column: str | None = Field(None, description="Column of the groups or times.")
    test_size: Fraction = Field(0.2, gt=0, description="Fraction of the whole.")
    holdout_size: Fraction = Field(0.2, description="Fraction of the whole, for the gate; 0 for none.")
    stratify: Strata = Field(None, description="Columns kept in proportion; default the target, if a class.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.by in {"random", "text"}) == bool(self.column):
            needed = f"no column decides a split by {self.by}" if self.column else f"by {self.by} needs the column"
            raise ValueError(f"{needed}: by: group or time, column: NAME")
        if self.by == "time" and self.stratify:
            raise ValueError("by time no proportions can be kept: leave stratify out")
        if (total := self.test_size + self.holdout_size) >= 1 - 1e-9:
            raise ValueError(f"test_size and holdout_size are of the whole: their sum {total:g} must be below 1")
        return self


class DataDefinition(Rules):
    """The table that a model learns from."""

    name: Name = Field(description="Name of the dataset.")
    source: Location | None = Field(
        None,
        description="Path or URL of the table, or catalog.schema.table; {version} and {logical_date} may stand in it.",
    )
    format: Format | None = Field(None, description="Default: by the suffix; delta for a Delta table at a path or URL.")
    encoding: str = Field("utf-8", description="Of CSV and JSON Lines.")
    delimiter: Delimiter = ","
    target: str = Field("label", min_length=1, description="Column that is to be predicted.")
    columns: dict[str, ColumnKind] = Field(
        {}, description="Kind of a column, or drop; of a table's columns those that are not named are inferred."
    )
    key: str | None = Field(None, description="Column that identifies a row; default all inputs together.")
    clean: OwnPath | None = Field(
        None, description="Cleaning step of one's own, package.module:function, before a dataset version is made."
    )
    documents: Location | None = Field(
        None, description="Folder of the documents that a model of questions answers from."
    )
    split: SplitDefinition = SplitDefinition()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.columns.get(self.target, "drop") != "drop":
            raise ValueError(f"columns.{self.target}: the target is no input")
        if self.target in {self.key, self.split.column}:
            raise ValueError(f"target: {self.target} is the key, or the column of the split")
        return self


class TrainingDefinition(Rules):
    """What is fitted."""

    algorithm: str | None = Field(
        None, description="Default: the problem's first one; or a factory of one's own, package.module:function."
    )
    params: Params = Field({}, description="Parameters of the estimator.")
    seed: Seed = Field(0, description="Same data, parameters and seed give the same predictions.")


class InferenceDefinition(Rules):
    """The table that is scored in each batch."""

    source: Location | None = Field(
        None, description="Path or URL of the table, or catalog.schema.table; {logical_date} may stand in it."
    )
    key: str | None = Field(None, description="Column that identifies a row to the reader; default its number.")


class ModelDefinition(Rules):
    """Everything that is true of a model in all environments."""

    problem: ProblemName = TEXT_CLASSIFICATION
    data: DataDefinition
    training: TrainingDefinition = TrainingDefinition()
    gate: dict[str, Any] = Field({}, description="Rules of the gate; of an environment: models.<model>.gate there.")
    monitoring: dict[str, Any] = Field({}, description="Rules of monitoring; of an environment: likewise.")
    inference: InferenceDefinition = InferenceDefinition()

    @property
    def row_key(self) -> str | None:
        """The column that identifies a row of what is scored."""
        return self.inference.key or self.data.key

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of its algorithm, with the documents that it reads unless these name others."""
        beside = {"documents": self.data.documents} if self.data.documents else {}
        return {**beside, **self.training.params}

    def in_project(self, folder: Path) -> "ModelDefinition":
        """The same with its sources in a folder, from wherever they are read."""
        rooms = (("data", self.data), ("inference", self.inference))
        sources = {name: room.model_copy(update={"source": placed(room.source, folder)}) for name, room in rooms}
        documents = {"documents": placed(self.data.documents, folder)}
        sources["data"] = sources["data"].model_copy(update=documents)
        return self.model_copy(update=sources)


def load(name: str) -> ModelDefinition:
    """Read the definition of one model; relative sources are those of the folder that `config/` is in.

    Raises:
        ConfigError: There is none; or it is not YAML; or a value is missing, unknown or out of range.
    """
    path = file_of(name)
    if not path.is_file():
        what = f"The model {name!r} is not defined: {path} does not exist."
        raise ConfigError(what, "Define it: mlops init TABLE --model-name " + name)
    try:
        return ModelDefinition(**read_yaml(path)).in_project(path.absolute().parents[2])
    except ValidationError as error:
        fix = "Correct it; what may stand there: mlops config schema --model"
        raise ConfigError(f"{path} is not a valid definition: {problems(error, ModelDefinition)}.", fix) from None


def every() -> dict[str, ModelDefinition]:
    """The definition of each model, by its name."""
    return {name: load(name) for name in names()}


def chosen(name: str | None) -> tuple[str, ModelDefinition | None]:
    """A model and its definition, if it has one: the model of that name, else the only one that is defined.

    Raises:
        ConfigError: No name, and none or several are defined; or the definition is not valid.
    """
    if name is not None:
        return name, load(name) if is_name(name) and file_of(name).is_file() else None
    defined = names()
    if len(defined) == 1:
        return defined[0], load(defined[0])
    if not defined:
        where = f"in {_folder()}" if project() else f"here: no folder from {Path.cwd()} upwards has config/models"
        raise ConfigError(f"No model is defined {where}.", "Define one: mlops init TABLE, or name it: --model-name")
    raise ConfigError(f"Several models are defined: {', '.join(defined)}.", "Name one of them: --model-name")


def names() -> tuple[str, ...]:
    """The names of the models that are defined."""
    stems = sorted(path.stem for path in _folder().glob("*.yaml"))
    if wrong := [stem for stem in stems if not is_name(stem)]:
        what = f"{file_of(wrong[0])}: {wrong[0]!r} is not a model name: lower-case letters, digits, `_`, `.` and `-`."
        raise ConfigError(what, "Rename the file.")
    return tuple(stems)


def unmatched() -> list[str]:
    """What the files of environments say of models that are not defined, where some are, each in a sentence."""
    defined, said = names(), list[str]()
    for env in Environment:
        path = config_dir() / f"{env}.yaml"
        models = read_yaml(path).get("models") if defined and path.is_file() else None
        for name in models if isinstance(models, dict) else ():
            if name not in defined:
                said.append(f"{path}: models.{name} is of no model that is defined: {', '.join(defined)}.")
    return said


def file_of(name: str) -> Path:
    """Where the definition of a model lies, or would."""
    return _folder() / f"{name}.yaml"


def _folder() -> Path:
    return config_dir() / "models"


def placed(source: str | None, folder: Path) -> str | None:
    """A source as an absolute path, unless it is none: a URL, or a table of a catalog."""
    if source is None or ADDRESS.match(source):
        return source
    path = folder / source
    return source if TABLE_NAME.fullmatch(source) and not path.exists() else str(path)
