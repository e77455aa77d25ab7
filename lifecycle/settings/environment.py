"""Typed settings: the defaults beside their meaning, one file per environment for what differs.

Precedence, for one model: command-line flag > environment (`MLOPS_…`, nested with `__`) > `models.<model>` of
`config/<env>.yaml` > `config/models/<model>.yaml` > the rest of `config/<env>.yaml` >
`config/platforms/<platform>.yaml` > the defaults below. Relative folders in a file are those of the project.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from lifecycle.core import secrets
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment
from lifecycle.settings import definitions
from lifecycle.settings.files import located, problems, project, read_yaml
from lifecycle.settings.gate_rules import ApprovalRules, GateRules
from lifecycle.settings.rules import (
    CardRules,
    DatabricksRules,
    DataChoice,
    DataRules,
    InferenceRules,
    MonitoringRules,
    ScheduleRules,
    ServingRules,
)
from lifecycle.storage.files import check_place

ENV_PREFIX = "MLOPS_"
ENV = "{env}"
"""What stands in a name for that of the environment."""
NOT_SETTINGS = {"MLOPS_CONFIG_DIR", "MLOPS_ALERTS_URL", "MLOPS_SERVE_AUTH_STRING"}
MAY_BE_NULL = frozenset({"costs"})
"""Settings with settings of their own that may be none at all."""
FOLDERS = ("home", "data_root", "output_root")
ServerAddress = Annotated[str, AfterValidator(secrets.server)]
"""What is public of the address of a server: its credentials are kept by the process, not by the settings."""
PublicAddress = Annotated[str, AfterValidator(lambda uri: secrets.public(secrets.sealed(uri)))]
OfAModel = Literal[
    "allow_pickle",
    "trusted_modules",
    "trusted_models",
    "skip_gate",
    "data",
    "gate",
    "gate_data",
    "approval",
    "inference",
    "monitoring",
    "databricks",
    "schedule",
    "serving",
]
"""What an environment may set for one model alone; where things lie is the same for all of them."""

OF_A_MODEL = frozenset(get_args(OfAModel))
T = TypeVar("T", bound=BaseModel)


class Settings(BaseSettings):
    """All settings of one environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,  # else a key of a file in other letters counts or not by what else is set
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
    trusted_modules: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")], ...] = Field(
        (), description="Modules, or packages with all of theirs, whose code may be trained with and run in models."
    )
    trusted_models: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = Field(
        (), description="Digests of MLflow models from elsewhere whose code may run; allow_pickle trusts all of them."
    )
    aliases: tuple[str, ...] = Field(
        (), description="Aliases of your own, beside champion, challenger, shadow, canary."
    )
    skip_gate: bool = Field(False, description="Whether a promotion by hand may pass the gate by; it is recorded.")
    schedules: bool = Field(False, description="Whether `mlops deploy` activates this environment's schedules.")
    schedule: ScheduleRules = ScheduleRules()
    alerts: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="Prefect notification block that is told of refusals, promotions, rollbacks, failures and "
        "alerts, as type/name: slack-webhook/mlops-alerts.",
    )
    mlflow_ui: PublicAddress | None = Field(
        None, description="Address of a server that shows an embedded tracking database, for links."
    )
    catalog: str | None = Field(
        None, description="First level of registered names, {env} in it being the environment's; default that alone."
    )
    schema_name: str = Field("ml", description="Second level of registered names, likewise.")
    data: DataRules = DataRules()
    gate: GateRules = GateRules()
    gate_data: DataChoice = DataChoice()
    approval: ApprovalRules = ApprovalRules()
    card: CardRules = CardRules()
    inference: InferenceRules = InferenceRules()
    monitoring: MonitoringRules = MonitoringRules()
    databricks: DatabricksRules = DatabricksRules()
    serving: ServingRules = ServingRules()
    models: dict[str, dict[OfAModel, Any]] = Field(
        {}, description="Settings of single models, by their names: {sentiment: {gate: {min_rows: 200}}}."
    )

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

    @field_validator("catalog", "schema_name")
    @classmethod
    def _of_the_environment(cls, name: str | None, info: ValidationInfo) -> str | None:
        return name.replace(ENV, str(info.data.get("env", ""))) if name else name

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
    def measurements(self) -> Path:
        """The absolute folder of what is measured of batches, by registered model."""
        return (self._shared / "monitoring").expanduser().absolute()

    @property
    def requests(self) -> Path:
        """The absolute folder of what was asked of servers on this machine, by registered model."""
        return self.state / "requests"

    @property
    def shadows(self) -> Path:
        """The absolute folder of predictions that nobody reads: those of the champion before one on probation."""
        return (self._shared / "shadow").expanduser().absolute()

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


def checked(model: type[T], /, **values: Any) -> T:
    """Build a request from arguments that a person gave; what is wrong with them is a `ConfigError`."""
    try:
        return model(**values)
    except ValidationError as error:
        raise ConfigError(f"{problems(error)}.", "See --help.") from None


def load(env: Environment | str, model_name: str | None = None, **flags: Any) -> Settings:
    """Read the settings of one environment, for one model if it is named; `flags` win over every other layer.

    Raises:
        ConfigError: A file is missing or not YAML; a value is missing, unknown or out of range; no state can lie in
            its folder.
    """
    merged: dict[str, Any] = {}
    for _, values in reversed(list(_layers(env, model_name, flags))):
        merged = _merge(merged, values)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        files = f"config/{env}.yaml" + (f", config/models/{model_name}.yaml" if model_name else "")
        raise ConfigError(
            f"The settings of '{env}' are not valid: {problems(error, Settings)}.",
            f"Correct {files} or the MLOPS_ variable.",
        ) from None
    _check_home(settings)
    return settings


def _check_home(config: Settings) -> None:
    try:
        check_place(config.state / "mlflow.db")
        if config.datasets.is_file():
            raise ConfigError(f"{config.datasets}: Not a directory.", "Choose a folder for data: MLOPS_DATA_ROOT=…")
    except (RuntimeError, FileNotFoundError) as error:  # `~` of nobody; a working directory that was removed
        raise ConfigError(f"No folder for state: {config.home}: {error}.", "Choose one: MLOPS_HOME=…") from None


def origins(env: Environment | str, model_name: str | None = None) -> dict[str, tuple[Any, str]]:
    """Map each effective setting, dotted, to its value and the layer it came from."""
    layers = [(name, _flatten(values)) for name, values in _layers(env, model_name, {})]
    effective = _flatten(load(env, model_name).model_dump(mode="json"))
    return {
        key: (value, next((name for name, values in layers if key in values), "default"))
        for key, value in effective.items()
    }


def _layers(
    env: Environment | str, model_name: str | None, flags: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, values), the strongest first."""
    _refuse_unknown_variables()
    try:
        variables = EnvSettingsSource(Settings, case_sensitive=False)()
    except SettingsError as error:
        raise ConfigError(f"A variable does not hold what its setting needs: {error}.", "Write it as JSON.") from None
    own = _placed(read_yaml(located(f"{env}.yaml")))
    platform = variables.get("platform") or own.get("platform") or "local"
    yield "flag", {"env": str(env), **{key: value for key, value in flags.items() if value is not None}}
    yield "environment", variables
    if model_name:
        yield f"config/{env}.yaml, models.{model_name}", _of_model(own, model_name)
        definition = definitions.chosen(model_name)[1]
        yield f"config/models/{model_name}.yaml", _defined(definition)
    yield f"config/{env}.yaml", own
    platform_file = located(f"platforms/{platform}.yaml")
    yield f"config/platforms/{platform}.yaml", _placed(read_yaml(platform_file)) if platform_file.exists() else {}
    yield "default", _placed({"home": ".mlops"})


def _defined(definition: definitions.ModelDefinition | None) -> dict[str, Any]:
    """What the definition of a model says of settings, in all environments."""
    return {"gate": definition.gate, "monitoring": definition.monitoring} if definition else {}


def _of_model(own: Mapping[str, Any], model_name: str) -> dict[str, Any]:
    """What the file of an environment says of one model; a key that is none of a model's is an error of that file."""
    models = own.get("models")
    values = models.get(model_name) if isinstance(models, Mapping) else None
    return dict(values) if isinstance(values, Mapping) and set(values) <= set(OF_A_MODEL) else {}


def _placed(values: dict[str, Any]) -> dict[str, Any]:
    """Values of a file with its folders in the project, from wherever in it they are read."""
    folder = project()
    if folder is None or folder == Path.cwd():
        return values
    relative = {name: values[name] for name in FOLDERS if isinstance(values.get(name), str)}
    return values | {name: str(folder / value) for name, value in relative.items() if not value.startswith("~")}


def _refuse_unknown_variables() -> None:
    fields = Settings.model_fields.keys() - {"env", "models"}
    known = {f"{ENV_PREFIX}{field.upper()}" for field in fields} | NOT_SETTINGS
    for variable in os.environ:
        if variable.startswith(secrets.PREFIX):
            continue
        if variable.startswith(ENV_PREFIX) and variable.split("__")[0] not in known:
            raise ConfigError(
                f"{variable} is not a setting: known are {', '.join(sorted(known))}.", f"Try: unset {variable}"
            )


def _merge(low: dict[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        if value == {} and key in merged:
            continue  # it says nothing, and hides nothing that is wrong below it
        if isinstance(value, Mapping) and not isinstance(merged.get(key, {}), Mapping) and key not in MAY_BE_NULL:
            continue  # `gate: null` below a single rule would have taken all others away
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
