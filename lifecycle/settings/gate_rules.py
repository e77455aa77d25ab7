"""What an environment asks of a challenger: the gate's rules, as settings, each with its default and its meaning."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lifecycle.core.frozen import Rules
from lifecycle.core.parameters import LanguageEndpoint

HIGHER = frozenset(
    {
        "accuracy",
        "balanced_accuracy",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "precision_weighted",
        "recall_weighted",
        "f1_weighted",
        "roc_auc",
        "average_precision",
        "mcc",
        "r2",
        "recall_at_k",
        "mean_reciprocal_rank",
        "token_f1",
        "exact_match",
        "refusal_accuracy",
        "groundedness",
        "judged_groundedness",
    }
)
"""Metrics of which more is better."""
GROUNDED, JUDGED = "groundedness", "judged_groundedness"
"""The share of sentences that the passages support: by their words, and by what a language model says."""
LOWER = frozenset(
    {
        "log_loss",
        "brier",
        "ece",
        "cost",
        "root_mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_pinball_loss",
    }
)
"""Metrics of which less is better."""
OF_A_CLASS = ("precision.", "recall.", "f1.")
"""What these begin is a metric of one class: `recall.negative`."""
OWN_METRIC = r"^-?[A-Za-z_][\w.]*:[A-Za-z_]\w*$"

Share = Annotated[float, Field(ge=0, le=1)]
Value = Annotated[float, Field(ge=-1_000_000_000, le=1_000_000_000)]
"""Of a metric that may be in any unit, or a cost."""


class SliceRules(Rules):
    """Slices of the rows on which a challenger may not be much worse, though it be better on the whole."""

    by: tuple[str, ...] | None = Field(
        None,
        description="What makes them: label, text_length, target, a column of the dataset, or categories: all "
        "inputs that put rows into a few groups; numbers in quarters. Default label and text_length of texts, label "
        "or target, and categories, of tables.",
    )
    min_rows: int = Field(30, ge=1, le=1_000_000_000, description="A smaller part is shown but not judged.")
    max_values: int = Field(
        50,
        ge=2,
        le=10_000,
        description="A column with more values cannot make parts; smaller classes are one part together.",
    )
    max_loss: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Accuracy that a slice may lose, or share by which its mean absolute error may grow; fails if it "
        "loses more and that is no chance.",
    )
    floor: Share | None = Field(None, description="Accuracy that every judged part must reach, champion or not.")


class CalibrationRules(Rules):
    """How far a challenger's confidence may be from how often it is right."""

    max_ece: Share | None = Field(None, description="Expected calibration error that it may have at most.")
    max_ece_increase: Share | None = Field(0.1, description="How much above the champion's it may be.")


class BudgetRules(Rules):
    """What a model may cost to run."""

    max_milliseconds_per_1000: float | None = Field(
        60_000, gt=0, le=1_000_000_000, description="Time to predict 1,000 rows, measured in the fresh process."
    )
    max_megabytes: float | None = Field(None, gt=0, le=1_000_000_000, description="Size of its files.")


class CostRules(Rules):
    """What each mistake costs: `cost` is then a metric, in this currency per 1,000 rows; less is better."""

    currency: str = Field("EUR", description="What the costs are counted in.")
    matrix: dict[str, dict[str, Value]] = Field(
        {}, description="Cost by true label and predicted label; what is not named costs nothing."
    )


class LanguageJudge(Rules):
    """A language model that says which sentences of an answer the passages support: `judged_groundedness`."""

    language_model: str = Field(min_length=1, max_length=200, description="Its name.")
    endpoint: LanguageEndpoint = Field("", description="Its address, or `databricks`; default OPENAI_BASE_URL.")
    timeout: float = Field(30, gt=0, le=3600, description="Seconds that it has for an answer.")
    retries: int = Field(2, ge=0, le=20, description="How often it is asked again.")


class InfrastructureRules(Rules):
    """What it takes for a model to count as one that runs."""

    max_load_seconds: float = Field(60, gt=0, le=86_400, description="Time to load it in a fresh process.")
    requirements: Literal["report", "enforce"] = Field(
        "report", description="Whether a pinned requirement that is not installed here is only named or refused."
    )
    scoring_server: bool = Field(False, description="Whether MLflow's scoring server must repeat the predictions too.")


class RetrainingRules(Rules):
    """What is asked of the champion's own definition, trained again on a newer version of its dataset."""

    rule: Literal["non_inferiority", "gain"] = Field(
        "non_inferiority", description="Whether it must not be worse by more than `margin`, or better as any other."
    )
    margin: float | None = Field(
        None, gt=0, le=1_000_000_000, description="Loss that is no matter; default `worthwhile_gain`."
    )
    champions: int = Field(
        3, ge=0, le=100, description="It must not be worse than the best of so many earlier champions either."
    )


class GateRules(Rules):
    """What a challenger must achieve on rows that neither model was trained on."""

    mode: Literal["enforce", "dry_run"] = Field(
        "enforce", description="dry_run judges and tells, and then promotes all the same: nothing is protected."
    )
    metric: str = Field(
        "",
        description="Metric that challenger and champion are compared by; default f1_macro, of numbers "
        "root_mean_squared_error.",
    )
    min_gain: float = Field(
        0.0,
        ge=-1_000_000_000,
        le=1_000_000_000,
        description="The interval of the gain must lie above this; below 0 it is a tolerated loss. This and the other "
        "gains are shares of the champion's value where the metric is in units of the target.",
    )
    floors: dict[str, Value] = Field({}, description="Least values, of metrics of which more is better.")
    ceilings: dict[str, Value] = Field({}, description="Largest values, of metrics of which less is better.")
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Level of every interval; (1 - confidence) / 2 is the risk of a wrong promotion.",
    )
    resamples: int = Field(2000, ge=200, le=1_000_000, description="Bootstrap resamples.")
    power: float = Field(0.8, gt=0.5, lt=1, description="Chance of seeing a true gain of `worthwhile_gain`.")
    worthwhile_gain: float = Field(
        0.02, gt=0, le=1_000_000_000, description="Least gain that is worth having; tells how many rows."
    )
    retraining: RetrainingRules = RetrainingRules()
    reuse: Literal["spend", "count"] = Field(
        "spend",
        description="What earlier challengers on the same rows cost: a part of the risk, or they are only told.",
    )
    doubts: Literal["refuse", "report"] = Field(
        "refuse", description="What becomes of a model whose declared training rows its own answers contradict."
    )
    lost_classes: Literal["refuse", "allow"] = Field(
        "refuse", description="Whether a challenger may not know a class that the champion knows."
    )
    min_rows: int = Field(
        50, ge=1, le=1_000_000_000, description="Fewer comparable rows than this give `not_enough_data`."
    )
    min_rows_per_class: int = Field(5, ge=1, le=1_000_000_000, description="Likewise for the rarest class.")
    missed_class_rows: int | None = Field(
        30,
        ge=1,
        le=1_000_000_000,
        description="A class of so many comparable rows of which a first champion finds none is a refusal.",
    )
    max_churn: Share | None = Field(None, description="Share of predictions that may differ from the champion's.")
    slices: SliceRules = SliceRules()
    calibration: CalibrationRules = CalibrationRules()
    budget: BudgetRules = BudgetRules()
    costs: CostRules | None = Field(None, description="What mistakes cost, in money.")
    language_judge: LanguageJudge | None = Field(
        None, description="Of chat: who says besides how well answers are grounded; it never decides alone."
    )
    own_metrics: dict[str, Annotated[str, Field(pattern=OWN_METRIC)]] = Field(
        {}, description="Metrics of yours: name to `module:function`, more is better; `-module:function`, less is."
    )
    behaviour: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")], ...] = Field(
        (), description="Suites of behaviour checks: names of files in config/behaviour."
    )
    infrastructure: InfrastructureRules = InfrastructureRules()
    selftest: bool = Field(
        False,
        description="Whether the gate must refuse planted challengers before a promotion: mlops gate selftest.",
    )

    @model_validator(mode="after")
    def _metrics_exist(self) -> Self:
        """A rule about a metric that there is not would never be asked: that is an error at the start.

        One of one's own under the name of another would be asked in its place.
        """
        if taken := sorted(self.own_metrics.keys() & (HIGHER | LOWER)):
            raise ValueError(f"own_metrics.{taken[0]}: there is a metric of this name: choose another")
        for place, names, wanted in (
            ("floors", self.floors, True),
            ("ceilings", self.ceilings, False),
            ("metric", filter(None, (self.metric,)), None),
        ):
            for name in names:
                higher = self.more_is_better(name)
                if wanted is not None and higher != wanted:
                    other = "ceilings" if wanted else "floors"
                    raise ValueError(f"{place}: of {name} {'more' if higher else 'less'} is better: it goes to {other}")
        return self

    @model_validator(mode="after")
    def _no_judge_decides_alone(self) -> Self:
        """What a language model says is told beside what is measured; by itself it opens no gate."""
        if self.metric == JUDGED:
            raise ValueError(f"metric: {JUDGED} is what a language model says, and decides nothing alone: {GROUNDED}")
        if JUDGED in self.floors and GROUNDED not in self.floors:
            raise ValueError(
                f"floors: {JUDGED} is what a language model says: it needs a floor of {GROUNDED} beside it"
            )
        if JUDGED in self.floors and self.language_judge is None:
            raise ValueError(f"floors: {JUDGED} needs `language_judge`")
        return self

    @model_validator(mode="after")
    def _limits_can_be_reached(self) -> Self:
        """A floor above what a metric can reach refuses everything, a loss of all of it nothing: that is a typo."""
        for name, limit in self.floors.items():
            if name not in self.own_metrics and not -1 <= limit <= 1:
                raise ValueError(f"floors.{name}={limit:g}: the metric lies between -1 and 1")
        gains = {"min_gain": self.min_gain, "worthwhile_gain": self.worthwhile_gain, "retraining.margin": self.margin}
        for name, gain in gains.items():
            if self.metric not in {*self.own_metrics, "cost"} and not -1 < gain < 1:
                raise ValueError(f"{name}={gain:g}: a gain that means anything lies between -1 and 1")
        return self

    def in_units(self, unit: float) -> "GateRules":
        """The same rules with every gain in units of the target, of which so many are the champion's value."""
        margin = self.retraining.model_copy(update={"margin": self.margin * unit})
        gains = {"min_gain": self.min_gain * unit, "worthwhile_gain": self.worthwhile_gain * unit}
        return self.model_copy(update={**gains, "retraining": margin})

    @property
    def risk(self) -> float:
        """The risk of promoting a model that is not better: what an interval leaves out at either end."""
        return (1 - self.confidence) / 2

    @property
    def margin(self) -> float:
        """The loss that does not matter where the champion's own definition was trained again."""
        return self.retraining.margin or self.worthwhile_gain

    def more_is_better(self, metric: str) -> bool:
        """Whether more of a metric is better.

        Raises:
            ValueError: There is no such metric.
        """
        if metric in self.own_metrics:
            return not self.own_metrics[metric].startswith("-")
        if metric == "cost" and self.costs is None:
            raise ValueError("`cost` needs `costs`")
        if metric in HIGHER or (metric.startswith(OF_A_CLASS) and re.search(r"\..", metric)):
            return True
        if metric in LOWER:
            return False
        known = sorted(HIGHER | LOWER | set(self.own_metrics))
        raise ValueError(
            f"{metric!r} is not a metric: there are {', '.join(known)}, and precision., recall., f1.<class>"
        )


class ApprovalRules(Rules):
    """Whether a person must agree before an accepted challenger becomes champion."""

    required: bool = Field(False, description="Whether a promotion waits for a person.")
    timeout_hours: float = Field(72, gt=0, le=8760, description="Without an answer by then it is not approved.")
