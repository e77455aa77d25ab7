"""What each flow is asked: one frozen request, whose fields are the flow's parameters and the options of its command.

The description of a field is what Prefect's form, the command's help and the docs say of it. None is what was not
given: the definition of the model (`config/models/<model>.yaml`) says it, else the step has a default of its own.

The module is not called `requests`: Prefect puts the folder of a flow on the path, where that is a library's name.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flows.request import Dated, Request, TableForm, required
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment, ProblemName, SplitChoice
from lifecycle.core.parameters import (
    ColumnMap,
    Flag,
    Fraction,
    Location,
    Name,
    OwnPath,
    Params,
    Seed,
    Strata,
    VersionNumber,
)
from lifecycle.data import versions
from lifecycle.data.manifest import LATEST
from lifecycle.data.source import Source
from lifecycle.problems.contract import TEXT
from lifecycle.settings import Settings, definitions
from lifecycle.settings.definitions import DataDefinition, ModelDefinition

ONE_TABLE = "Name one of them: --input TABLE, or --data-name NAME; for all runs: inference.source in its definition."
VERSION = "{version}"
"""What the address of a table may hold."""

Version = Annotated[VersionNumber | None, Field(description="Version number; default the champion.")]
GateData = Annotated[
    Name | None,
    Field(description="Dataset to judge on; default the environment's settings, else the one it was trained with."),
]
GateDataVersion = Annotated[Name | None, Field(description="Version of the dataset to judge on; likewise.")]
TextColumn = Annotated[str | None, Field(description="Column of the texts, where a model reads one; default text.")]


def _single_text(columns: Mapping[str, str]) -> dict[str, str]:
    """The column of a model's only text, which it calls `text`; where it reads two, they keep their names."""
    texts = [column for column, kind in columns.items() if kind == TEXT]
    return {texts[0]: TEXT} if len(texts) == 1 else {}


class TableRequest(Request, TableForm, Dated):
    """What determines a dataset version."""

    data_name: Name | None = Field(None, description="Name of the dataset.")
    data_version: Name | None = Field(
        None,
        description="Name of the version, which never changes once made; default the one of the same table and "
        "parameters, else the next number.",
    )
    source: Location | None = Field(
        None, description="Path or URL of the table: CSV, JSON Lines, Parquet, Delta; or catalog.schema.table."
    )
    problem: ProblemName | None = Field(None, description="What is predicted; default text-classification.")
    target: str | None = Field(None, description="Column that is to be predicted; default label.")
    columns: ColumnMap | None = Field(
        None, description="Kind of a column, or drop, as \"{'age': 'numeric'}\"; a table's other columns are inferred."
    )
    key_column: str | None = Field(None, description="Column that identifies a row; default all inputs together.")
    text_column: TextColumn = None
    label_column: str | None = Field(None, description="Column of the labels: the target of texts.")
    test_size: Fraction | None = Field(None, description="Fraction of the whole; default 0.2.")
    holdout: Flag | None = Field(None, description="Whether to keep a holdout for the gate; default yes.")
    holdout_size: Fraction | None = Field(None, description="Fraction of the whole; default 0.2.")
    stratify: Strata = Field(
        None,
        description="Columns that every split keeps in proportion, as \"['label']\"; true, the default: the label.",
    )
    group_column: str | None = Field(None, description="Column of which no value, as a customer, is on two splits.")
    group_texts: Flag | None = Field(None, description="Whether no text of a pair is on two splits; default no.")
    time_column: str | None = Field(None, description="Column of ISO dates or numbers: the newest rows are held out.")
    clean: OwnPath | None = Field(None, description="Cleaning step of your own, as package.module:function.")
    parent: Name | None = Field(None, description="Version whose splits are kept; default the latest.")
    sha256: str | None = Field(None, description="Expected digest of the file.")

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.target and self.label_column and self.target != self.label_column:
            raise ValueError("target and label_column are one parameter: give one of them")
        return self

    def defined_by(self, definition: ModelDefinition) -> dict[str, Any]:
        """The table, its columns and its split; nothing of another dataset than the definition's."""
        data = definition.data
        if self.data_name not in {None, data.name}:
            return {}
        return {
            "data_name": data.name,
            "source": data.source,
            "source_format": None if self.source else data.format,
            "encoding": None if self.source else data.encoding,
            "delimiter": None if self.source else data.delimiter,
            "problem": definition.problem,
            "target": None if self.label_column else data.target,
            "columns": None if self.text_column else data.columns,
            "key_column": data.key,
            "clean": data.clean,
        } | self._split_by(data)

    def _split_by(self, data: DataDefinition) -> dict[str, Any]:
        split = data.split
        sizes = {"test_size": split.test_size, "holdout_size": split.holdout_size or None}
        sizes["holdout"] = (self.holdout_size or split.holdout_size) > 0
        if self.group_column or self.time_column or self.group_texts is not None:
            return sizes
        by = {f"{split.by}_column": split.column} if split.column else {"group_texts": split.by == "text" or None}
        return sizes | by | {"stratify": split.stratify}

    @property
    def address(self) -> str:
        """Where the table is; `{version}` in it stands for the version of the dataset, `{logical_date}` for the day."""
        address = self.dated(required(self.source, "--source"))
        if VERSION not in address:
            return address
        return address.replace(VERSION, required(self.data_version, "--data-version"))

    def source_of(self) -> Source:
        """The table."""
        return self.at(self.address, self.sha256)

    def versioned(self, config: Settings, choose: Callable[..., str] = versions.chosen) -> Self:
        """The same request with a version: the one that holds the same table already, else the next one."""
        if self.data_version:
            return self
        if VERSION in required(self.source, "--source"):
            version = versions.following(config.datasets, required(self.data_name, "--data-name"))
        else:
            version = choose(config, self.source_of(), **self.arguments)
        return self.model_copy(update={"data_version": version})

    @property
    def texts(self) -> dict[str, str]:
        """The column that holds the model's input `text`, where one does."""
        return {self.text_column: TEXT} if self.text_column else _single_text(self.columns or {})

    @property
    def arguments(self) -> dict[str, Any]:
        """What `lifecycle.data.dataset.state` is told besides the table."""
        columns = TableRequest.model_fields.keys() - TableForm.model_fields.keys() - Dated.model_fields.keys()
        given = self.model_dump(exclude_none=True, include=columns - {"model_name", "source", "sha256", "key_column"})
        needed = {"data_name": required(self.data_name, "--data-name")}
        return given | needed | ({"key": self.key_column} if self.key_column else {})


class DatasetRequest(TableRequest):
    """Of the flow create-data."""

    first = ("data_name", "data_version", "source")

    env: Environment = Field(Environment.DEV, description="Environment whose settings and data root are used.")

    def completed(self) -> Self:
        """The same request with what the definition of its dataset or model says, if there is one."""
        if self.model_name or not self.data_name:
            return super().completed() if self.model_name or not self.source else self
        own = [model for model in definitions.every().values() if model.data.name == self.data_name]
        return self.filled(own[0]) if len(own) == 1 else self


class Fitting(Request):
    """What is fitted."""

    algorithm: str | None = Field(
        None,
        description="What to train, such as naive_bayes, random_forest or logistic_regression, or a factory of your "
        "own, as package.module:function; default the problem's first one.",
    )
    params: Params | None = Field(
        None, description="Parameters of the algorithm, as \"{'alpha': 1.0, 'tfidf__min_df': 2}\"."
    )
    seed: Seed | None = Field(None, description="Same data, parameters and seed give the same predictions; default 0.")

    def fitted_by(self, definition: ModelDefinition) -> dict[str, Any]:
        """What a definition says of them; parameters belong to their algorithm."""
        training = definition.training
        own = self.algorithm in {None, training.algorithm}
        return {"algorithm": training.algorithm, "params": training.params if own else None, "seed": training.seed}

    def filled(self, definition: ModelDefinition) -> Self:
        """As every request; the documents of a definition are those of any parameters that do not name others."""
        filled, documents = super().filled(definition), definition.data.documents
        if documents is None:
            return filled
        return filled.model_copy(update={"params": {"documents": documents, **(filled.params or {})}})


EARLIER = {"algorithm": "model_type", "params": "model_params"}


class TrainingRequest(Fitting):
    """Of the flow train."""

    earlier_names = EARLIER
    first = ("data_name", "data_version", "model_name")

    data_name: Name | None = Field(None, description="Name of the dataset.")
    data_version: Name | None = Field(None, description="Version to train on; default the latest.")
    env: Environment = Field(Environment.DEV, description="Environment to train and promote in.")
    as_candidate: bool = Field(
        False, description="Register it as a candidate first, with the alias challenger, whatever the gate then says."
    )

    def defined_by(self, definition: ModelDefinition) -> dict[str, Any]:
        """The dataset, and what is fitted."""
        return {"data_name": definition.data.name} | self.fitted_by(definition)

    @property
    def dataset(self) -> tuple[str, str]:
        """Name and version of the dataset."""
        return required(self.data_name, "--data-name"), self.data_version or LATEST


class PromotionRequest(Request):
    """Of the flow promote."""

    source_env: Environment = Field(Environment.DEV, description="Environment where the challenger is registered.")
    target_env: Environment = Field(
        Environment.STAGING,
        description="Environment that judges and receives it; the same environment, if a version is named.",
    )
    version: Version = None
    data_name: GateData = None
    data_version: GateDataVersion = None
    reason: str = Field("", description="Recorded in the promotion log.")
    skip_gate: bool = Field(
        False,
        description="Promote by hand, without comparison; only where the target's settings allow it, and with a "
        "reason.",
    )


class CheckRequest(Request):
    """Of the flow check."""

    env: Environment = Field(Environment.PROD, description="Environment whose champion, data and rules judge.")
    source_env: Environment | None = Field(
        None, description="Environment where the model to judge is registered; default the one that judges."
    )
    version: VersionNumber | None = Field(
        None,
        description="Its version there; default the champion of another environment, the alias challenger of the "
        "same one.",
    )
    run_id: str | None = Field(
        None, description="Training run, instead of a version; what the gate refused has only that."
    )
    against: VersionNumber | None = Field(
        None, description="Version of the judging environment to compare with, instead of its champion."
    )
    data_name: GateData = None
    data_version: GateDataVersion = None


class RollbackRequest(Request):
    """Of the flow rollback."""

    asked = ("env",)

    env: Environment = Field(Environment.PROD, description="Environment to roll back in; default prod, after a yes.")
    to_version: VersionNumber | None = Field(
        None, description="Version that was champion; default the one before the present one."
    )
    reason: str = Field("", description="Recorded in the promotion log.")
    rehearse: bool = Field(
        False,
        description="Do everything but move the alias, in a process that is fresh in any case, and mark the version "
        "rollback_ready.",
    )


class InferenceRequest(Request, TableForm, Dated):
    """Of the flow batch-inference."""

    env: Environment = Field(Environment.PROD, description="Environment of the model.")
    alias: str | None = Field(None, description="Default champion, read from the promotion log.")
    version: VersionNumber | None = Field(None, description="Version number, instead of an alias.")
    run_id: str | None = Field(None, description="Training run, instead of a registered version.")
    input: Location | None = Field(None, description="Path or URL of the table to score, or catalog.schema.table.")
    data_name: Name | None = Field(None, description="Dataset to score, instead of a table.")
    data_version: Name | None = Field(None, description="Version of that dataset; default the latest.")
    split: SplitChoice | None = Field(
        None, description="Split of that dataset whose rows are scored; default every one but train."
    )
    text_column: TextColumn = None
    columns: ColumnMap | None = Field(
        None, description="Column of the table to input of the model, as \"{'Age': 'age'}\", where they differ."
    )
    key_column: str | None = Field(None, description="Column that identifies a row to the reader; default its number.")
    output: Location | None = Field(None, description="Folder of predictions; default the environment's.")
    engine: Literal["local", "spark"] | None = Field(
        None, description="What scores: the cores of this machine, or Spark; default the environment's."
    )
    table: Location | None = Field(
        None, description="Delta table that gets the predictions too: a path, a URL, or catalog.schema.table."
    )

    def defined_by(self, definition: ModelDefinition) -> dict[str, Any]:
        """The table of each batch, and which of its columns is which input; nothing for a dataset."""
        if self.data_name:
            return {}
        data, usual = definition.data, self.input is None
        texts = _single_text(data.columns)
        return {
            "input": definition.inference.source,
            "encoding": data.encoding if usual else None,
            "delimiter": data.delimiter if usual else None,
            "columns": None if self.text_column or not texts else texts,
            "key_column": definition.row_key,
        }

    def require_one_table(self) -> None:
        """Refuse what names no table to score, or two.

        Raises:
            ConfigError: It does.
        """
        if (self.input is None) == (self.data_name is None):
            raise ConfigError("Give either an input table or the name of a dataset.", ONE_TABLE)
        if self.data_name is None and (self.data_version or self.split):
            raise ConfigError("A version and a split are those of a dataset.", "Name it: --data-name")

    def source_of(self) -> Source:
        """The table."""
        return self.at(self.dated(required(self.input, "--input")))

    @property
    def inputs(self) -> dict[str, str]:
        """Input of the model by the column of the table that holds it; the others are called alike."""
        return (self.columns or {}) | ({self.text_column: TEXT} if self.text_column else {})


class MonitorRequest(Request):
    """Of the flow monitor."""

    env: Environment = Field(Environment.PROD, description="Environment whose champion is looked at.")
    end_canary: bool = Field(False, description="Let a champion with a share of the requests have all of them now.")


class RetrainingRequest(Request, Dated):
    """Of the flow retrain."""

    env: Environment = Field(Environment.DEV, description="Environment to train and promote in.")
    data_name: Name | None = Field(None, description="Name of the dataset; default that of the model's definition.")
    data_version: Name | None = Field(
        None, description="Version to train on; default the model's table as it is now, else the latest."
    )


class ReleaseRequest(TableRequest, Fitting):
    """Of the flow release."""

    earlier_names = EARLIER
    first = ("source", "data_name", "data_version", "model_name")

    target_env: Environment = Field(Environment.PROD, description="Where it ends; prod also predicts.")

    def defined_by(self, definition: ModelDefinition) -> dict[str, Any]:
        """The table, and what is fitted."""
        return super().defined_by(definition) | self.fitted_by(definition)

    @property
    def environments(self) -> tuple[Environment, ...]:
        """Where it goes, in this order."""
        return tuple(Environment)[: list(Environment).index(self.target_env) + 1]

    @property
    def is_in_catalog(self) -> bool:
        """Whether the table is one of a catalog."""
        return self.at(required(self.source, "--source")).is_in_catalog

    def for_data(self) -> DatasetRequest:
        """What the flow create-data is asked."""
        return DatasetRequest(**self.model_dump(include={*TableRequest.model_fields}))

    def for_training(self, data_name: str, data_version: str) -> TrainingRequest:
        """What the flow train is asked."""
        fitting = self.model_dump(include={*Fitting.model_fields})
        named = {"model_name": self.model, "data_name": data_name, "data_version": data_version}
        return TrainingRequest(**{**fitting, **named})

    def for_inference(self, data_version: str) -> InferenceRequest:
        """What the flow batch-inference is asked: to score the table itself."""
        address = self.model_copy(update={"data_version": data_version}).address
        form = self.model_dump(include={*TableForm.model_fields, *Dated.model_fields})
        key, texts = self.key_column, self.texts or None
        return InferenceRequest(model_name=self.model, input=address, columns=texts, key_column=key, **form)
