"""The rules of the rooms other than the gate, as settings: each with its default and its meaning."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from lifecycle.core import secrets
from lifecycle.core.frozen import Rules
from lifecycle.core.names import StepName

Percentile = Literal["p50", "p95", "p99"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no path below the database, a folder of it
        raise ValueError(f"{name!r} is not a time zone: for example Europe/Helsinki") from None
    return name


class DataRules(Rules):
    """What a raw table must satisfy before a dataset version is made of it."""

    max_quarantine_fraction: float = Field(
        0.25, ge=0, le=1, description="Rows set aside beyond this share stop the ingest; repeats do not count."
    )
    min_rows: int = Field(20, ge=3, le=1_000_000_000, description="Fewer data rows than this are an error.")
    max_cell_bytes: int = Field(
        100_000, ge=100, le=1_000_000_000, description="A longer cell is an error (a lost quote, not a text)."
    )
    conflicting_labels: Literal["quarantine", "majority", "fail"] = Field(
        "quarantine",
        description="What to do with all rows of a text that carries different labels; majority keeps the label that "
        "two thirds of them have, and two more than have any other.",
    )
    rare_classes: Literal["fail", "quarantine"] = Field(
        "fail", description="What to do with the rows of a class that is too small to be on every split."
    )
    near_duplicates: Literal["together", "count", "off"] = Field(
        "together",
        description="Texts that are nearly the same: on one split of a new version, only counted, or not looked for.",
    )
    allowed_schemes: tuple[str, ...] = Field(
        ("file", "dbfs", "s3", "abfss", "gs"), description="URL schemes that a source may have; http is not among them."
    )


class DataChoice(Rules):
    """A dataset version named in the settings of an environment; empty means the one the model was trained with."""

    data_name: str | None = None
    data_version: str | None = None


class InferenceRules(Rules):
    """How a batch is scored."""

    rows_per_part: int = Field(20_000, ge=1, le=1_000_000_000, description="Rows read, scored and written at a time.")
    workers: int = Field(
        0, ge=0, le=1024, description="Processes, or tasks of Spark, that score; 0 means one per core."
    )
    engine: Literal["local", "spark"] = Field("local", description="What scores: the cores of this machine, or Spark.")
    table: Annotated[str, AfterValidator(secrets.sealed)] | None = Field(
        None, description="Delta table that gets the predictions too: a path, a URL, or catalog.schema.table."
    )
    probabilities: bool = Field(
        False, description="Whether predictions have `probability.<class>` too, of a classifier that tells them."
    )
    keep: tuple[str, ...] = Field(
        (),
        description="Columns of the table that stand beside the predictions as `source.<column>`: texts, "
        "empty where a cell is missing.",
    )

    @field_validator("keep")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(names) or len({*names}) < len(names):
            raise ValueError("a column without a name, or one twice")
        return names


class ProbationRules(Rules):
    """How a new champion is watched beside the one before it, and when it is rolled back by itself."""

    batches: int = Field(
        7,
        ge=0,
        le=10_000,
        description="First batches of a new champion that the one before scores as well; 0 for no probation.",
    )
    days: float = Field(14, gt=0, le=3650, description="A probation ends after so many days at the latest.")
    least: int = Field(
        2,
        ge=1,
        le=10_000,
        description="In so many of them the same thing must be beyond its limit, and not of the one before.",
    )


class RetrainingRules(Rules):
    """How often events may start a training of a model."""

    budget: int = Field(4, ge=0, le=10_000, description="Trainings that events may start in `days` days; 0 for none.")
    days: float = Field(30, gt=0, le=3650, description="The days that the budget is for.")
    cool_down_hours: float = Field(24, ge=0, le=8760, description="So long after one an event starts no other.")


class ServedRules(Rules):
    """Which requests to a server or endpoint are measured, and by which windows."""

    table: Annotated[str, AfterValidator(secrets.sealed)] | None = Field(
        None,
        description="Inference table of an endpoint: catalog.schema.table, a Delta table or a folder of Parquet files; "
        "default what `mlops serve` keeps on this machine.",
    )
    window: Literal["hour", "day"] = Field("day", description="Requests of one hour or day (UTC) are like a batch.")


class MonitoringRules(Rules):
    """How batches are compared with what a version was like when it was judged, and when that is an alert."""

    enabled: bool = Field(True, description="Whether every published batch is measured.")
    min_rows: int = Field(50, ge=10, le=1_000_000_000, description="Nothing is judged on fewer rows than this.")
    significance: float = Field(
        0.01, gt=0, lt=1, description="Of a batch, at most this share of what is called drift may be chance."
    )
    max_drift: float = Field(
        0.1,
        gt=0,
        le=1000,
        description="Population stability index (PSI) that is no drift yet, beyond what chance makes.",
    )
    max_missing: float = Field(0.05, gt=0, le=1, description="By so much the share of missing cells may grow.")
    max_outside: float = Field(
        0.05,
        gt=0,
        le=1,
        description="By so much the share of rows may grow that are unlike those of the baseline: numbers beyond what "
        "it reaches, unknown levels.",
    )
    max_volume: float = Field(
        5.0,
        gt=1,
        le=1_000_000_000,
        description="A batch may have so many times more or fewer rows than those before it (median).",
    )
    max_rejected: float = Field(0.05, gt=0, le=1, description="Share of a batch that may be rejected.")
    max_latency: dict[Percentile, Annotated[float, Field(gt=0, le=1_000_000_000)]] = Field(
        {}, description="Milliseconds within which so many of the requests must be answered: {p95: 250}."
    )
    max_loss: float = Field(
        0.05,
        gt=0,
        le=1000,
        description="By so much a metric may be worse than on the rows that the version was judged on; of "
        "errors in units of the target, as a share.",
    )
    window: int = Field(5, ge=1, le=10_000, description="Latest batches of a version that an alert looks at.")
    least: int = Field(3, ge=1, le=10_000, description="Of these, so many must be beyond a limit in the same thing.")
    warm_up: int = Field(0, ge=0, le=10_000, description="First batches of a version that count for no alert.")
    cool_down: int = Field(
        5, ge=0, le=10_000, description="An alert that is back within so many batches is not told again."
    )
    example_columns: tuple[str, ...] = Field(
        (),
        description="Inputs that are nobody's secret: examples of rows that an alert names show these of them that "
        "have drifted. The key of a row is shown in any case.",
    )
    served: ServedRules = ServedRules()
    probation: ProbationRules = ProbationRules()
    retraining: RetrainingRules = RetrainingRules()

    max_alerts: int = Field(
        5,
        ge=1,
        le=10_000,
        description="Alerts of a model that are told in a week; further ones wait, and `mlops status` has them.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.least > self.window:
            raise ValueError(f"least: {self.least} of the last {self.window} batches (window) there cannot be")
        return self


class DatabricksRules(Rules):
    """How heavy steps run on Databricks; of use on the platform `databricks` only."""

    credentials: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="Name of a DatabricksCredentials block of Prefect; default the DATABRICKS_ variables or a profile.",
    )
    timeout_seconds: float = Field(7200, gt=0, le=2_592_000, description="A run that takes longer is cancelled.")
    poll_seconds: float = Field(10, gt=0, le=3600, description="Seconds between two looks at a run.")
    target: str | None = Field(
        None, description="Target of the bundle whose jobs are used; default that of the environment."
    )
    jobs: dict[StepName, str] = Field({}, description="Job of a step; default <target>-mlops-<step>.")
    notebooks: dict[StepName, Annotated[str, Field(pattern="^/")]] = Field(
        {}, description="Notebook of yours in place of a step, by its workspace path; it gets the same parameters."
    )
    deployment_job: str | None = Field(
        None, description="Job that Unity Catalog starts for each new version of a model, such as prod-mlops-gate."
    )
    volume: str = Field(
        "mlops", pattern=r"^[A-Za-z0-9_-]+$", description="Volume of data, predictions and large requests."
    )

    def job(self, env: str, step: StepName) -> str:
        """The exact name of the job that runs a step."""
        return self.jobs.get(step, f"{self.target or env}-mlops-{step}")


class RequestRules(Rules):
    """What `mlops serve` keeps of requests, for monitoring."""

    enabled: bool = Field(False, description="Whether requests and answers are kept below the state folder.")
    columns: tuple[str, ...] | None = Field(None, description="Inputs that are kept; default all, [] for none.")
    buffer_rows: int = Field(
        10_000,
        ge=1,
        le=1_000_000_000,
        description="Rows that may wait to be written; what comes beyond is answered and not kept.",
    )
    seconds: float = Field(5, gt=0, le=86_400, description="Seconds between two files; who is killed loses so much.")
    days: int = Field(30, ge=1, le=3650, description="Days after which they are removed.")


class ScheduleRules(Rules):
    """When the deployments of the models that a project defines start by themselves, where `schedules` is true."""

    time_zone: Annotated[str, AfterValidator(_known_zone)] | None = Field(
        None, description="Zone of these times and of a batch's day, such as America/New_York; default Europe/Helsinki."
    )
    times: dict[
        Literal["train", "batch-inference", "monitor", "rollback"],
        Annotated[str, Field(pattern=r"^\S+( \S+){4}$")],
    ] = Field({}, description="Cron instead of the shipped time, by flow: {batch-inference: '15 6 * * 1-5'}.")


class ServingRules(Rules):
    """Which Databricks endpoint serves the champion of which model, and how."""

    endpoints: dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]] = Field(
        {}, description="Endpoint of a model, which follows its champion: {sentiment: prod-sentiment}."
    )
    workload_size: Literal["Small", "Medium", "Large"] = Field("Small", description="How much an endpoint can do.")
    workload_type: Literal["CPU", "GPU_SMALL", "GPU_MEDIUM", "GPU_LARGE", "MULTIGPU_MEDIUM"] | None = Field(
        None, description="Processor of an endpoint; where it is not said, what an operator has set stays."
    )
    scale_to_zero: bool = Field(True, description="Whether an idle endpoint stops; the next query then waits for it.")
    environment: dict[str, Annotated[str, Field(pattern=r"^\{\{secrets/[\w.@-]+/[\w.@-]+\}\}$")]] = Field(
        {}, description="Variables of an endpoint, from secret scopes: {OPENAI_API_KEY: '{{secrets/scope/key}}'}."
    )
    timeout_seconds: float = Field(
        1800, gt=0, le=86_400, description="An endpoint must serve a new version within this time."
    )
    poll_seconds: float = Field(10, gt=0, le=3600, description="Seconds between two looks at an endpoint.")
    requests: RequestRules = RequestRules()
    warm_up_rows: int = Field(20, ge=1, le=10_000, description="Stored predictions that an endpoint must repeat.")
    canary_traffic: int = Field(
        100, ge=1, le=100, description="Of a hundred requests, so many go to a new champion at first."
    )
    canary_hours: float = Field(
        24, gt=0, le=8760, description="So long, and while it has open alerts; then it gets all."
    )


class CardWords(Rules):
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
