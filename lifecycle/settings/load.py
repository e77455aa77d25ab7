"""Typed settings: the defaults beside their meaning, one file per environment for what differs.

Precedence: command-line flag > environment (`MLOPS_…`, nested with `__`) > `config/<env>.yaml` >
`config/platforms/<platform>.yaml` > the defaults below.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from lifecycle.core import secrets
from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment, StepName
from lifecycle.settings.gate_rules import ApprovalRules, GateRules
from lifecycle.storage.files import check_place

ENV_PREFIX = "MLOPS_"
NOT_SETTINGS = {"MLOPS_CONFIG_DIR", "MLOPS_ALERTS_URL", "MLOPS_SERVE_AUTH_STRING"}
ServerAddress = Annotated[str, AfterValidator(secrets.server)]
"""What is public of the address of a server: its credentials are kept by the process, not by the settings."""
PublicAddress = Annotated[str, AfterValidator(lambda uri: secrets.public(secrets.sealed(uri)))]

T = TypeVar("T", bound=BaseModel)


class DataRules(Frozen):
    """What a raw table must satisfy before a dataset version is made of it."""

    max_quarantine_fraction: float = Field(
        0.25, ge=0, le=1, description="Rows set aside beyond this share stop the ingest; repeats do not count."
    )
    min_rows: int = Field(20, ge=3, description="Fewer data rows than this are an error.")
    max_cell_bytes: int = Field(100_000, ge=100, description="A longer cell is an error (a lost quote, not a text).")
    conflicting_labels: Literal["quarantine", "majority", "fail"] = Field(
        "quarantine",
        description="What to do with all rows of a text that carries different labels; majority keeps the label that "
        "two thirds of them have, and two more than have any other.",
    )
    rare_classes: Literal["fail", "quarantine"] = Field(
        "fail", description="What to do with the rows of a class that is too small to be on every side."
    )
    near_duplicates: Literal["together", "count", "off"] = Field(
        "together",
        description="Texts that are nearly the same: on one side of a new version, only counted, or not looked for.",
    )
    allowed_schemes: tuple[str, ...] = Field(
        ("file", "dbfs", "s3", "abfss", "gs"), description="URL schemes that a source may have; http is not among them."
    )


class DataChoice(Frozen):
    """A dataset version named in the settings of an environment; empty means the one the model was trained with."""

    data_name: str | None = None
    data_version: str | None = None


class InferenceRules(Frozen):
    """How a batch is scored."""

    rows_per_part: int = Field(20_000, ge=1, description="Rows read, scored and written at a time.")
    workers: int = Field(0, ge=0, description="Processes, or tasks of Spark, that score; 0 means one per core.")
    engine: Literal["local", "spark"] = Field("local", description="What scores: the cores of this machine, or Spark.")
    table: Annotated[str, AfterValidator(secrets.sealed)] | None = Field(
        None, description="Delta table that gets the predictions too: a path, a URL, or catalog.schema.table."
    )


class DatabricksRules(Frozen):
    """How heavy steps run on Databricks; of use on the platform `databricks` only."""

    credentials: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="Name of a DatabricksCredentials block of Prefect; default the DATABRICKS_ variables or a profile.",
    )
    timeout_seconds: float = Field(7200, gt=0, description="A run that takes longer is cancelled.")
    poll_seconds: float = Field(10, gt=0, description="Seconds between two looks at a run.")
    jobs: dict[StepName, str] = Field({}, description="Job of a step; default <env>-mlops-<step>.")
    notebooks: dict[StepName, Annotated[str, Field(pattern="^/")]] = Field(
        {}, description="Notebook of yours in place of a step, by its workspace path; it gets the same parameters."
    )
    volume: str = Field(
        "mlops", pattern=r"^[A-Za-z0-9_-]+$", description="Volume of data, predictions and large requests."
    )

    def job(self, env: str, step: StepName) -> str:
        """The exact name of the job that runs a step."""
        return self.jobs.get(step, f"{env}-mlops-{step}")


class ServingRules(Frozen):
    """Which Databricks endpoint serves the champion of which model, and how."""

    endpoints: dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]] = Field(
        {}, description="Endpoint of a model, which follows its champion: {sentiment: prod-sentiment}."
    )
    workload_size: Literal["Small", "Medium", "Large"] = Field("Small", description="How much an endpoint can do.")
    scale_to_zero: bool = Field(True, description="Whether an idle endpoint stops; the next query then waits for it.")
    timeout_seconds: float = Field(1800, gt=0, description="An endpoint must serve a new version within this time.")
    poll_seconds: float = Field(10, gt=0, description="Seconds between two looks at an endpoint.")
    warm_up_rows: int = Field(20, ge=1, description="Stored predictions that an endpoint must repeat.")


class CardWords(Frozen):
    """What no run can tell about a model: it stands in the cards of its versions."""

    intended_use: str = Field("", description="What the model is for.")
    out_of_scope: tuple[str, ...] = Field((), description="Uses that it is not for.")
    limits: tuple[str, ...] = Field((), description="What it is known to do badly.")
    licence: str = Field("", description="Licence of the model.")
    owners: tuple[str, ...] = Field((), description="Who answers for it.")


class CardRules(CardWords):
    """The same for all models of an environment, and for single ones."""

    models: dict[str, CardWords] = Field({}, description="Words for one model, by its name; the rest is as above.")
    data_licences: dict[str, str] = Field({}, description="Licence of a dataset, by its name.")

    def of(self, model_name: str) -> CardWords:
        """The words for one model."""
        return self.model_copy(update=self.models.get(model_name, CardWords()).model_dump(exclude_unset=True))


class Settings(BaseSettings):
    """All settings of one environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        env_parse_none_str="null",
    )

    env: Environment = Field(description="The environment these settings belong to.")
    platform: Literal["local", "databricks"] = Field(
        "local", description="Where heavy steps run: in this process, or as Databricks jobs."
    )
    home: Path = Field(Path(".mlops"), description="Local state; elsewhere is only what may be removed at any time.")
    data_root: Path | None = Field(None, description="Dataset versions; default <home>/data, or <volume>/data.")
    output_root: Path | None = Field(None, description="Predictions; default <home>/predictions, or likewise.")
    tracking_uri: ServerAddress | None = Field(
        None, description="MLflow tracking and registry, default sqlite under <home>; without its credentials."
    )
    registry_uri: ServerAddress | None = Field(
        None, description="Registry, if not the tracking server's own: databricks-uc, databricks-uc://<profile>."
    )
    allow_pickle: bool = Field(False, description="Load models that were registered as a pickle: it runs their code.")
    aliases: tuple[str, ...] = Field(
        (), description="Aliases of your own, beside champion, challenger, shadow, canary."
    )
    skip_gate: bool = Field(False, description="Whether a promotion by hand may pass the gate by; it is recorded.")
    schedules: bool = Field(False, description="Whether `mlops deploy` activates this environment's schedules.")
    alerts: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Prefect notification block that is told of refusals, promotions, rollbacks and failures, as "
        "type/name: slack-webhook/mlops-alerts.",
    )
    mlflow_ui: PublicAddress | None = Field(
        None, description="Address of a server that shows an embedded tracking database, for links."
    )
    catalog: str | None = Field(None, description="First level of registered names; default the environment.")
    schema_name: str = Field("ml", description="Second level of registered names.")
    data: DataRules = DataRules()
    gate: GateRules = GateRules()
    gate_data: DataChoice = DataChoice()
    approval: ApprovalRules = ApprovalRules()
    card: CardRules = CardRules()
    inference: InferenceRules = InferenceRules()
    databricks: DatabricksRules = DatabricksRules()
    serving: ServingRules = ServingRules()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load` has layered already."""
        return (init_settings,)

    @property
    def state(self) -> Path:
        """The absolute folder of local state."""
        return self.home.expanduser().absolute()

    @property
    def datasets(self) -> Path:
        """The absolute folder of dataset versions."""
        return (self.data_root or self._shared / "data").expanduser().absolute()

    @property
    def predictions(self) -> Path:
        """The absolute folder of published predictions."""
        return (self.output_root or self._shared / "predictions").expanduser().absolute()

    @property
    def volume(self) -> Path:
        """The Unity Catalog volume of this environment."""
        return Path("/Volumes", self.catalog or self.env, self.schema_name, self.databricks.volume)

    @property
    def _shared(self) -> Path:
        """The folder that every process of the platform can reach."""
        return self.volume if self.platform == "databricks" else self.state

    @property
    def mlflow_uri(self) -> str:
        """The MLflow tracking and registry URI."""
        return self.tracking_uri or f"sqlite:///{self.state / 'mlflow.db'}"

    def registered_name(self, model_name: str) -> str:
        """The three-level name of a model in this environment, for example `prod.ml.sentiment`."""
        return f"{self.catalog or self.env}.{self.schema_name}.{model_name}"


CHOOSE_CONFIG = "Set MLOPS_CONFIG_DIR to the folder with dev.yaml."


def checked(model: type[T], /, **values: Any) -> T:
    """Build a request from arguments that a person gave; what is wrong with them is a `ConfigError`."""
    try:
        return model(**values)
    except ValidationError as error:
        raise ConfigError(f"{problems(error)}.", "See --help.") from None


def config_dir() -> Path:
    """The folder of the YAML files: `MLOPS_CONFIG_DIR`, else `config/` beside our packages, in a wheel too."""
    if chosen := os.environ.get("MLOPS_CONFIG_DIR"):
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:  # `~` of nobody
            raise ConfigError(f"MLOPS_CONFIG_DIR={chosen}: {error}.", CHOOSE_CONFIG) from None
    return Path(__file__).parents[2] / "config"


def load(env: Environment | str, **flags: Any) -> Settings:
    """Read the settings of one environment; `flags` win over every other layer.

    Raises:
        ConfigError: A file is missing or not YAML; a value is missing, unknown or out of range; no state can lie in
            its folder.
    """
    merged: dict[str, Any] = {}
    for _, values in reversed(list(_layers(env, flags))):
        merged = _merge(merged, values)
    try:
        found = Settings(**merged)
    except ValidationError as error:
        raise ConfigError(
            f"The settings of '{env}' are not valid: {problems(error)}.",
            f"Correct config/{env}.yaml or the MLOPS_ variable.",
        ) from None
    _check_home(found)
    return found


def _check_home(config: Settings) -> None:
    try:
        check_place(config.state / "mlflow.db")
        if config.datasets.is_file():
            raise ConfigError(f"{config.datasets}: Not a directory.", "Choose a folder for data: MLOPS_DATA_ROOT=…")
    except (RuntimeError, FileNotFoundError) as error:  # `~` of nobody; a working directory that was removed
        raise ConfigError(f"No folder for state: {config.home}: {error}.", "Choose one: MLOPS_HOME=…") from None


def origins(env: Environment | str) -> dict[str, tuple[Any, str]]:
    """Map each effective setting, dotted, to its value and the layer it came from."""
    layers = [(name, _flatten(values)) for name, values in _layers(env, {})]
    effective = _flatten(load(env).model_dump(mode="json"))
    return {
        key: (value, next((name for name, values in layers if key in values), "default"))
        for key, value in effective.items()
    }


def _layers(env: Environment | str, flags: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, values), the strongest first."""
    _refuse_unknown_variables()
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        variables = EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise ConfigError(f"A variable does not hold what its setting needs: {error}.", "Write it as JSON.") from None
    own = _read_yaml(config_dir() / f"{env}.yaml")
    platform = variables.get("platform") or own.get("platform") or "local"
    yield "flag", {"env": str(env), **given}
    yield "environment", variables
    yield f"config/{env}.yaml", own
    platform_file = config_dir() / "platforms" / f"{platform}.yaml"
    yield f"config/platforms/{platform}.yaml", _read_yaml(platform_file) if platform_file.exists() else {}


def _refuse_unknown_variables() -> None:
    known = {f"{ENV_PREFIX}{field.upper()}" for field in Settings.model_fields if field != "env"} | NOT_SETTINGS
    for variable in os.environ:
        if variable.startswith(secrets.PREFIX):
            continue
        if variable.startswith(ENV_PREFIX) and variable.split("__")[0] not in known:
            raise ConfigError(
                f"{variable} is not a setting: known are {', '.join(sorted(known))}.", f"Try: unset {variable}"
            )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No settings: {path} does not exist.", CHOOSE_CONFIG) from None
    except (NotADirectoryError, IsADirectoryError) as error:
        raise ConfigError(f"No settings: {path}: {error.strerror}.", CHOOSE_CONFIG) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date or a number that is none is a ValueError
        raise ConfigError(f"{path} is not YAML: {error}.", "Correct the file.") from None
    if not isinstance(values, dict | None) or not all(isinstance(key, str) for key in values or ()):
        raise ConfigError(f"{path} must hold `name: value` lines, not a {type(values).__name__}.", "Correct the file.")
    _require_an_end(path, values)
    return values or {}


def _require_an_end(path: Path, values: object) -> None:
    try:
        json.dumps(values, default=str, skipkeys=True)
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: a value refers to itself, or is nested too deep.", "Correct the file.") from None


def _merge(low: dict[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def problems(error: ValidationError) -> str:
    """What is wrong with given values, each with its key."""
    shown = []
    for each in error.errors()[:5]:
        where = ".".join(str(part) for part in each["loc"])
        what = each["msg"].removeprefix("Value error, ")  # pydantic's name for what a check of ours has raised
        shown.append(f"{where}={each['input']!r:.80}: {what}" if where else what)
    return "; ".join(shown)
