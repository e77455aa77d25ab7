"""What the gate answers: the decision with everything that it rests on, as one frozen value with a published schema."""

import hashlib
import json
from typing import Literal

from pydantic import Field

from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, Environment, ProblemName
from lifecycle.problems.findings import BehaviourLine, Interval, SliceLine

Decision = Literal["promote", "worse", "no_better", "cannot_tell", "keep", "not_enough_data"]
"""`keep`: something else than the comparison speaks against it, or it could not be judged."""
Rule = Literal["first", "gain", "retraining"]
RULES: dict[Rule, str] = {
    "first": "with answers that take no model",
    "gain": "by the gain",
    "retraining": "as a retraining, which must not be worse",
}
ACCEPTED, REFUSED = "Accepted", "Refused"
"""What a decision is called wherever it is told, and the state of a flow run; which refusal it is, its reason says."""
Outcome = Literal["pass", "fail", "not_enough_data"]


class Check(Frozen):
    """One rule: what was measured, what was asked, and whether it passed."""

    name: str
    outcome: Outcome
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    detail: str = ""


class Flip(Frozen):
    """A row on which one model does worse than the other."""

    row: int
    text: str = Field(description="What the models were given, cut where it is long.")
    truth: str
    champion: str
    challenger: str
    score: float = Field(description="Confidence of the model that is wrong; of numbers, how far it is from the truth.")


class Measurements(Frozen):
    """Two models on the rows that neither has seen: what each reaches there, and where they differ."""

    problem: ProblemName = TEXT_CLASSIFICATION
    env: Environment
    challenger: str
    champion: str | None
    data_name: str
    data_version: str
    dataset_digest: str
    side: str
    rows: int
    left_out: dict[str, int] = Field({}, description="Rows that the challenger or the champion was trained on.")
    checks: tuple[Check, ...] = ()
    metrics: dict[str, Interval] = Field({}, description="What the challenger reaches on these rows.")
    champion_metrics: dict[str, Interval] = Field({}, description="The same of the champion.")
    measured_by: dict[str, str] = Field({}, description="Metrics of one's own: name to the sha256 of their code.")
    gains: dict[str, Interval] = Field({}, description="Paired differences, above 0 where the challenger is better.")
    slices: tuple[SliceLine, ...] = ()
    behaviour: tuple[BehaviourLine, ...] = ()
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = Field((), description="Rows by truth and the challenger's label.")
    champion_confusion: tuple[tuple[int, ...], ...] = ()
    change_words: tuple[str, str] = Field(
        ("repaired", "broken"), description="What rows are called on which the challenger does better, and worse."
    )
    broken_rows: int = 0
    repaired_rows: int = 0
    broken: tuple[Flip, ...] = Field((), description="Rows newly wrong, the worst first; not more than a screenful.")
    repaired: tuple[Flip, ...] = Field((), description="Rows newly right, likewise.")


class Verdict(Measurements):
    """The decision with everything it rests on."""

    schema_version: Literal[1, 2] = Field(2, description="1 knew `promote`, `keep` and `not_enough_data` alone.")
    decision: Decision
    mode: Literal["enforce", "dry_run"] = "enforce"
    reasons: tuple[str, ...] = Field(description="A plain sentence, then the numbers.")
    trained_on: dict[str, str] = Field({}, description="Of each model, how it is known which rows it has seen.")
    rule: Rule | None = Field(None, description="How the two were compared: by a gain, or as a retraining.")
    rule_reason: str = ""
    judged_before: int = Field(0, description="Other challengers that were judged on these rows, or some of them.")
    risk: float | None = Field(None, description="Of a wrong promotion, after what earlier challengers have spent.")

    @property
    def digest(self) -> str:
        """The sha256 of the verdict's content: what an approval and a promotion refer to."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def title(self) -> str:
        """What the decision is called."""
        return ACCEPTED if self.decision == "promote" else REFUSED

    @property
    def told(self) -> str:
        """The decision in a list: of a refusal that the comparison made, how it came out."""
        plain = self.decision in {"promote", "keep"}
        return self.title if plain else f"{self.title}: {self.decision.replace('_', ' ')}"

    @property
    def terms(self) -> tuple[str, ...]:
        """How the two were compared and why so, and how often these rows were asked before; empty if they were not."""
        if self.rule is None or self.risk is None:
            return ()
        others = f"{self.judged_before:,} other challenger{'s were' if self.judged_before != 1 else ' was'}"
        before = f"{others} judged on these rows before: the" if self.judged_before else "The"
        told = f"{before} risk of a wrong promotion is {self.risk:.2g}."
        return (told,) if self.rule == "first" else (f"Compared {RULES[self.rule]}: {self.rule_reason}.", told)

    @property
    def promote(self) -> bool:
        """Whether the challenger may become the champion: the gate accepted it, or protects nothing.

        A dry run lets pass what was compared and runs; a model that could not be judged or replayed it stops too.
        """
        return self.decision == "promote" or (self.mode == "dry_run" and self.proven)

    @property
    def proven(self) -> bool:
        """Whether a fresh process has loaded the challenger and reproduced its predictions."""
        return any(check.name == REPLAY and check.outcome == "pass" for check in self.checks)


REPLAY = "loads and reproduces its predictions"
"""The name of the check that a model which is not to be trusted cannot pass."""
