"""What a dataset version is: what determines it, and what its manifest says."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, model_validator

from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION, ProblemName, Side, is_name
from lifecycle.core.parameters import Flag, Fraction, Name, OwnPath, Strata
from lifecycle.data import validation
from lifecycle.data.erased import Erased
from lifecycle.data.source import Source
from lifecycle.problems.contract import TEXT_COLUMNS, Before, Table
from lifecycle.problems.contract import Columns as Inputs
from lifecycle.problems.known import named
from lifecycle.settings.rules import DataRules

T = TypeVar("T")

LATEST = "latest"
RAW = "raw"
RESERVED = (RAW, LATEST)


class NearDuplicates(Frozen):
    """What a version holds of texts, or pairs of texts, that are nearly the same as another one of it."""

    together: bool = Field(description="Whether near twins were kept on one split.")
    similarity: float = Field(description="Share of words and pairs of words from which on two texts are near twins.")
    pairs: int = Field(
        description="Pairs of near twins when it was made, those with a text that only the parent holds included."
    )
    rows: int = Field(description="Rows with a near twin in the version.")
    beside_train: dict[str, int] = Field(description="Rows per other split that have a near twin in train.")

    @property
    def told(self) -> str:
        """One sentence for people."""
        kept = ", kept on one split where the quotas allow" if self.together else ""
        beside = ", ".join(f"{side} {count:,}" for side, count in in_order(self.beside_train).items())
        return f"{self.rows:,} rows have a near twin{kept}; with one in train: {beside}"


def departed(departures: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Phrases for people: how many rows of which input hold what the parent's train does not."""
    words = {"unseen": "of a new category", "below": "below its least value", "above": "above its greatest value"}
    words["missing"] = "missing, which it seldom was"
    return [
        f"{rows:,} rows with {name!r:.60} {words[what]}" for name, of in departures.items() for what, rows in of.items()
    ]


def in_order(by_side: Mapping[str, T]) -> dict[str, T]:
    """Values by side in the order of the sides; a manifest has them by the alphabet."""
    return {str(side): by_side[side] for side in Side if side in by_side}


class CreateDataRequest(Frozen):
    """Everything that determines a dataset version. `test_size` and `holdout_size` are fractions of the whole."""

    data_root: Path
    data_name: Name
    data_version: Name
    source: Source
    problem: ProblemName = TEXT_CLASSIFICATION
    target: str = Field("label", description="Source column that is to be predicted.")
    columns: dict[str, str] = Field(
        {}, description="Source column to its kind, or `drop`; a table's other columns are inferred."
    )
    key: str | None = Field(None, description="Source column that identifies a row; default all inputs together.")
    test_size: Fraction = 0.2
    holdout: Flag = True
    holdout_size: Fraction = 0.2
    stratify: Strata = Field(
        None, description="Source columns; default the target, if it is a class; empty or false for none."
    )
    group_column: str | None = Field(None, description="No value of this source column is on two splits.")
    group_texts: Flag = Field(False, description="No text of a pair, first or second, is on two splits.")
    time_column: str | None = Field(None, description="Source column by which the newest rows are held out.")
    clean: OwnPath | None = Field(None, description="Cleaning step of one's own: package.module:function.")
    clean_code: str = Field("", description="The sha256 of its code.")
    trusted_modules: tuple[str, ...] = ()
    parent: Name | None = Field(None, description="Version whose splits are kept; default the latest one.")
    rules: DataRules = DataRules()
    suite: validation.Expectations = ()

    @model_validator(mode="before")
    @classmethod
    def _columns_of_texts(cls, values: Any) -> Any:
        """The columns of texts and labels as the workflows of the first releases name them; null is not given."""
        if not isinstance(values, dict):
            return values
        named = {name: value for name, value in values.items() if value is not None}
        if text := named.pop("text_column", None):
            named["columns"] = {**(named.get("columns") or {}), text: "text"}
        if label := named.pop("label_column", None):
            named["target"] = label
        return named

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(is_name(part) for part in (self.data_name, self.data_version)) or self.data_version in RESERVED:
            raise ValueError("data_name and data_version must not contain '..'; 'raw' and 'latest' are reserved")
        if self.test_size <= 0:
            raise ValueError("test_size must be above 0")
        if self.holdout and self.holdout_size <= 0:
            raise ValueError("holdout_size must be above 0 when holdout is true")
        if (total := sum(self.fractions.values()) - self.fractions[Side.TRAIN]) >= 1 - 1e-9:
            raise ValueError(
                f"test_size and holdout_size are fractions of the whole: their sum {total:g} must be below 1"
            )
        self.table.check(self)
        self._check_columns()
        return self

    def _check_columns(self) -> None:
        if self.group_column and self.time_column:
            raise ValueError("a split is by group_column or by time_column, not by both")
        if self.group_texts and (self.group_column or self.time_column):
            raise ValueError("a split is by the texts of pairs (group_texts) or by a column, not by both")
        if self.group_texts and self.table.texts < 2:
            raise ValueError(f"{self.problem} has no pairs of texts to be split by: leave group_texts (by: text) out")
        if self.time_column and self.stratify:
            raise ValueError("by time_column no proportions can be kept: leave stratify out")
        if not self.table.has_classes and self.target in self.strata:
            raise ValueError(f"{self.target!r} is no class whose proportions could be kept: leave it out of stratify")
        if unknown := {*self.columns.values()} - self.table.kinds:
            choice = ", ".join(sorted(self.table.kinds))
            raise ValueError(f"{min(unknown)!r} is no kind of a column of {self.problem}: choose {choice}")

    @property
    def table(self) -> Table:
        """What the problem says of rows."""
        return named(self.problem).table

    @property
    def folder(self) -> Path:
        """Where the version is or will be."""
        return self.data_root / self.data_name / self.data_version

    @property
    def fractions(self) -> dict[Side, float]:
        """The share of the whole per side; train is what remains."""
        held_out = self.holdout_size if self.holdout else 0.0
        sides = {Side.TRAIN: 1 - self.test_size - held_out, Side.TEST: self.test_size, Side.HOLDOUT: held_out}
        return {side: share for side, share in sides.items() if share > 0 or side is Side.TRAIN}

    @property
    def strata(self) -> tuple[str, ...]:
        """The source columns that the split keeps in proportion; by group, as far as groups allow."""
        by_target = (self.target,) if self.table.has_classes else ()
        return by_target if self.stratify is None else self.stratify

    @property
    def parameters(self) -> dict[str, Any]:
        """What the content depends on besides the rows."""
        values = self.model_dump(mode="json", include={"test_size", "holdout", "stratify", "suite"})
        values |= self.table.parameters(self)
        values |= {"holdout_size": self.holdout_size if self.holdout else 0.0, "stratify": list(self.strata)}
        deciding = ("group_column", "time_column", "group_texts")
        values |= {name: chosen for name in deciding if (chosen := getattr(self, name))}
        values |= {"clean": self.clean, "clean_code": self.clean_code} if self.clean else {}
        return values | {"conflicting_labels": self.rules.conflicting_labels}

    @property
    def keeps_twins(self) -> bool:
        """Whether near twins are kept on one side; where a column or what pairs share decides, it alone does."""
        return self.rules.near_duplicates == "together" and not (
            self.group_column or self.time_column or self.group_texts
        )

    def parameters_with(self, near: NearDuplicates | None) -> dict[str, Any]:
        """The parameters of a version; of one without near twins they are what they were before these were kept."""
        return self.parameters | ({"near_duplicates": "together"} if self.keeps_twins and near and near.pairs else {})


class Manifest(Frozen):
    """What a dataset version is: its source, digests, counts and origin."""

    data_name: str
    data_version: str
    problem: ProblemName = TEXT_CLASSIFICATION
    inputs: Inputs = Field(TEXT_COLUMNS, description="What a model is given, with the kinds that were inferred.")
    digest: str = Field(description="sha256 over the source's rows, the parameters and the parent's digest.")
    source: str
    source_sha256: str
    parameters: dict[str, Any]
    rows_in: int
    rows_split: int
    rows_quarantined: int
    quarantined: dict[str, int] = Field(description="Rows per reason.")
    trimmed: int = Field(description="Cells of text and label with blanks around them, which were removed.")
    counts: dict[str, dict[str, int]] = Field(description="Rows per split and class.")
    classes: tuple[str, ...]
    validation: tuple[dict[str, Any], ...]
    parent: str | None
    parent_digest: str | None
    code_version: str
    files: dict[str, str] = Field(description="sha256 per file.")
    rows_erased: int = Field(0, description="Rows of the source that are in no file: erased, now or before.")
    erased: tuple[Erased, ...] = Field((), description="What was erased since the version was made.")
    near_duplicates: NearDuplicates | None = Field(None, description="None where they were not looked for.")
    starts: dict[str, str] = Field({}, description="By time: the moment at which each split after train begins.")
    target_range: dict[str, dict[str, float]] = Field(
        {}, description="Of a number that is to be predicted: its least, greatest and mean value per split."
    )
    learnt: dict[str, dict[str, Any]] = Field(
        {}, description="What the inputs of a table hold in train, against which later versions are checked."
    )
    departures: dict[str, dict[str, int]] = Field(
        {}, description="Rows per input with a value that the parent's train does not hold, by what it is."
    )

    @property
    def before(self) -> Before:
        """What a later version keeps."""
        return Before(self.classes, self.inputs)

    @property
    def told(self) -> list[str]:
        """Sentences for people: by what the rows were divided, if not by their texts, and what is nearly the same."""
        group, time = (self.parameters.get(option) for option in ("group_column", "time_column"))
        said = [f"No value of {group!r} is on two splits"] if group else []
        said += ["No text of a pair is on two splits"] if self.parameters.get("group_texts") else []
        said += (
            [f"By {time!r}: " + ", ".join(f"{k} from {v}" for k, v in in_order(self.starts).items())] if time else []
        )
        said += [
            f"{self.parameters['target']!r} in {split}: {of['min']:g} to {of['max']:g}, mean {of['mean']:.4g}"
            for split, of in in_order(self.target_range).items()
        ]
        said += [f"Unlike the parent: {sentence}" for sentence in departed(self.departures)]
        near = self.near_duplicates
        return [*said, f"Near duplicates: {near.told}"] if near and near.rows else said

    @property
    def fitted_classes(self) -> list[str]:
        """The classes of train in the order in which an algorithm knows them; none of numbers."""
        return sorted(name for name, rows in self.counts[Side.TRAIN].items() if rows and name in self.classes)

    def largest(self, most: int) -> list[str]:
        """The classes with the most rows, those first."""
        rows = {name: sum(counts.get(name, 0) for counts in self.counts.values()) for name in self.classes}
        return sorted(rows, key=lambda name: -rows[name])[:most]


def version_digest(rows_digest: str, parameters: dict[str, Any], parent_digest: str | None) -> str:
    """What a version holds, in one digest: its source's rows, its parameters and its parent."""
    content = {"rows": rows_digest, "parameters": parameters, "parent": parent_digest}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def difference(request: CreateDataRequest, stored: Manifest, rows_digest: str) -> str:
    """In what a version that is there differs from what was asked for: in its parent, its parameters or its rows."""
    if request.parent not in (None, stored.parent):
        return f"the splits of {stored.parent or 'no parent'}, not those of {request.parent}"
    parameters = request.parameters_with(stored.near_duplicates)
    if version_digest(rows_digest, stored.parameters, stored.parent_digest) == stored.digest:
        names = sorted(stored.parameters.keys() | parameters.keys())
        pairs = ((name, stored.parameters.get(name), parameters.get(name)) for name in names)
        told = [f"{name} is {_set(before)} there, {_set(now)} here" for name, before, now in pairs if before != now]
        return f"the same rows and other parameters: {'; '.join(told)}"
    return f"other content: stored {stored.digest}, new {version_digest(rows_digest, parameters, stored.parent_digest)}"


def _set(value: Any) -> str:
    return "not set" if value is None else f"{value!r:.80}"
