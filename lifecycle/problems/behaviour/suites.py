"""Suites of behaviour checks: data, one file each in `config/behaviour`.

There are four kinds of tests:

`invariance`             a text is changed in a way that must not matter: the label stays
`direction`              a text is changed in a way that must matter: the label changes as said
`minimum_functionality`  simple texts that every useful model labels rightly
`relation`               of a text and what is made of it: the label that such a pair has

Texts may hold slots, as in `{who} made a loss`, which are filled from lists in every combination. A pair is written as
a list of two texts wherever one text could stand.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

import pandas as pd
import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.problems.behaviour.changes import CHANGES, SECOND, SEED, replaced, swapped
from lifecycle.settings import yaml_files
from lifecycle.settings.files import listed, located, problems

MAX_CASES = 5000
"""Of one test: its slots multiply."""

SLOT = re.compile(r"\{(\w+)\}")

Question = tuple[str, ...]
"""What a model is asked: one text, or two in their order."""
Text = Annotated[str, Field(min_length=1)]
Asked = Annotated[
    tuple[Text, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value, json_schema_input_type=Text | tuple[Text, Text]
    ),
    Field(min_length=1, max_length=2),
]
"""A question as a file writes it: a text, or a list of two."""
SIZES = {0: "no text", 1: "one text", 2: "pairs of texts"}
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
Slots = Mapping[str, Sequence[str]]


class Case(NamedTuple):
    """One question to a model, and what its answer must be."""

    question: Question
    before: Question = ()
    """The question that it was made from, if any: it is asked too."""
    label: str = ""
    """The label in question; empty for the one that `before` gets."""
    same: bool = True
    """Whether the answer must be that label, or must not."""
    moves: bool = False
    """Whether `before` must get another label."""

    def holds(self, before: str, answer: str) -> bool:
        """Whether an answer is as it must be; `before` is the label of that question."""
        return (answer == (self.label or before)) is self.same and not (self.moves and answer == before)

    def asks(self, before: str) -> str:
        """What the answer must be, in words."""
        label = self.label or before
        return f"not {label}" if not self.same else f"{label}, from another label" if self.moves else label


class _Test(Frozen):
    name: Text
    max_failures: float = Field(0.0, ge=0, lt=1, description="Share of the cases that may fail.")
    slots: dict[Annotated[str, Field(pattern=r"^\w+$")], Texts] = Field(
        {}, description="Lists that fill {slots} in the texts, in every combination."
    )

    @model_validator(mode="after")
    def _slots_are_those_of_the_texts(self) -> Self:
        named = {slot for template in self._templates() for slot in _slots_of(template)}
        if unknown := sorted(named ^ set(self.slots)):
            raise ValueError(f"slots and texts do not agree on {', '.join(unknown)}")
        if (cases := sum(_combinations(template, self.slots) for template in self._templates())) > MAX_CASES:
            raise ValueError(f"the slots make {cases:,} cases; a test has at most {MAX_CASES:,}")
        return self

    def _templates(self) -> Iterator[tuple[Question, ...]]:
        """The questions of the file, those that are filled alike together."""
        raise NotImplementedError

    def _filled(self) -> Iterator[tuple[Question, ...]]:
        """The same with slots filled, in every combination."""
        for template in self._templates():
            used = _used(template, self.slots)
            for values in product(*(self.slots[slot] for slot in used)):
                filling = dict(zip(used, values, strict=True))
                yield tuple(tuple(replaced(SLOT, text, filling) for text in question) for question in template)

    def sizes(self) -> set[int]:
        """Of how many texts a question of the test is; empty if of as many as the model reads."""
        return {len(question) for template in self._templates() for question in template}

    def labels(self) -> Iterator[tuple[str, str]]:
        """The labels that the test names, each with its key."""
        yield from ()


class _OfRows(_Test):
    """A test of texts of its own, or of judged rows."""

    rows: int | None = Field(
        None, ge=1, description="Instead of `texts`: so many of the judged rows, chosen by a seed."
    )

    def _drawn(self, rows: pd.DataFrame) -> Iterator[Question]:
        """The questions of the file, or rows: the same ones each time."""
        if self.rows is None:
            yield from (question for (question,) in self._filled())
            return
        drawn = rows.sample(min(self.rows, len(rows)), random_state=SEED)
        yield from (tuple(map(str, texts)) for texts in drawn.itertuples(index=False, name=None))


class Invariance(_OfRows):
    """The label must stay the same when the texts are changed; what the change leaves as it is is no case."""

    kind: Literal["invariance"]
    change: Literal["upper_case", "lower_case", "whitespace", "punctuation", "numbers", "swap", "exchange"]
    names: tuple[Text, ...] = Field((), description="With `swap`: each name that a text holds becomes each other one.")
    texts: tuple[Asked, ...] = Field((), description="Texts to change.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.texts) == bool(self.rows):
            raise ValueError("needs either `texts` or `rows`")
        if (self.change == "swap") != (len(set(self.names)) > 1):
            raise ValueError("`swap` needs two or more `names`, and no other change has any")
        if self.change == "exchange" and self.sizes() != {2}:
            raise ValueError("`exchange` needs pairs: a list of two texts each")
        if self.texts and not any(self._changes(question for (question,) in self._filled())):
            raise ValueError(f"{self.change} changes none of the texts")
        return self

    def sizes(self) -> set[int]:
        """Two, where the texts of a pair are exchanged."""
        return super().sizes() | ({2} if self.change == "exchange" else set())

    def _templates(self) -> Iterator[tuple[Question, ...]]:
        yield from ((question,) for question in self.texts)

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:
        """Each changed question beside the one that it was made from."""
        return self._changes(self._drawn(rows))

    def _changes(self, questions: Iterable[Question]) -> Iterator[Case]:
        for question in questions:
            yield from (Case(changed, question) for changed in self._changed(question) if changed != question)

    def _changed(self, question: Question) -> Iterator[Question]:
        if self.change == "swap":
            yield from swapped(question, self.names)
        elif self.change == "exchange":
            yield question[::-1]
        else:
            yield tuple(map(CHANGES[self.change], question))


class Pair(Frozen):
    """A question, and the one that it is changed to."""

    before: Asked
    after: Asked

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.before == self.after:
            raise ValueError("`before` and `after` are the same text")
        return self


class Direction(_Test):
    """The label must change as said when a text is changed: exactly one of `becomes`, `must_not_be`, `must_differ`."""

    kind: Literal["direction"]
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]
    becomes: Text | None = Field(None, description="The label of `after`, and not the label of `before`.")
    must_not_be: Text | None = Field(None, description="A label that `after` must not have.")
    must_differ: Literal[True] | None = Field(None, description="The two labels must be different.")

    @model_validator(mode="after")
    def _one_expectation(self) -> Self:
        if sum(each is not None for each in (self.becomes, self.must_not_be, self.must_differ)) != 1:
            raise ValueError("needs exactly one of `becomes`, `must_not_be` and `must_differ`")
        return self

    def _templates(self) -> Iterator[tuple[Question, ...]]:
        yield from ((pair.before, pair.after) for pair in self.pairs)

    def labels(self) -> Iterator[tuple[str, str]]:
        """The label that the expectation names."""
        for key in ("becomes", "must_not_be"):
            if label := getattr(self, key):
                yield key, label

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:  # noqa: ARG002
        """Each pair, in every filling."""
        label = self.becomes or self.must_not_be or ""
        for before, after in self._filled():
            yield Case(after, before, label, same=self.becomes is not None, moves=self.becomes is not None)


class Labelled(Frozen):
    """A question, and its only right label."""

    text: Asked
    label: Text


class MinimumFunctionality(_Test):
    """Simple texts that must get their label."""

    kind: Literal["minimum_functionality"]
    cases: Annotated[tuple[Labelled, ...], Field(min_length=1)]

    def _templates(self) -> Iterator[tuple[Question, ...]]:
        yield from ((case.text,) for case in self.cases)

    def labels(self) -> Iterator[tuple[str, str]]:
        """The labels of the cases."""
        yield from ((f"cases.{place}.label", each.label) for place, each in enumerate(self.cases))

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:  # noqa: ARG002
        """Each case, in every filling."""
        for case in self.cases:
            alone = self.model_copy(update={"cases": (case,)})
            yield from (Case(question, label=case.label) for (question,) in alone._filled())


class Relation(_OfRows):
    """A text and what is made of it: exactly one of `label` and `must_not_be`; where nothing is made is no case."""

    kind: Literal["relation"]
    second: Literal["same", "negated"] = Field(
        description="What the second text is: the first once more, or the first with `not` (English)."
    )
    label: Text | None = Field(None, description="The label that the pair must get.")
    must_not_be: Text | None = Field(None, description="A label that the pair must not get.")
    texts: tuple[Text, ...] = Field((), description="First texts.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.texts) == bool(self.rows):
            raise ValueError("needs either `texts` or `rows`")
        if (self.label is None) == (self.must_not_be is None):
            raise ValueError("needs exactly one of `label` and `must_not_be`")
        return self

    def sizes(self) -> set[int]:
        """Two: it makes pairs."""
        return {2}

    def _templates(self) -> Iterator[tuple[Question, ...]]:
        yield from (((text,),) for text in self.texts)

    def labels(self) -> Iterator[tuple[str, str]]:
        """The label of the pairs."""
        for key in ("label", "must_not_be"):
            if label := getattr(self, key):
                yield key, label

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:
        """Each first text with what is made of it."""
        for first, *_ in self._drawn(rows):
            if second := SECOND[self.second](first):
                yield Case((first, second), label=self.label or self.must_not_be or "", same=self.label is not None)


Test = Annotated[Invariance | Direction | MinimumFunctionality | Relation, Field(discriminator="kind")]


class Suite(Frozen):
    """The tests of one file."""

    name: SkipJsonSchema[str] = Field(description="The name of the file: it does not stand in it.")
    description: str = ""
    tests: Annotated[tuple[Test, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [test.name for test in self.tests]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tests are called {twice[0]!r}")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if len(self.sizes()) > 1:
            raise ValueError("single texts and pairs stand in one suite")
        return self

    def sizes(self) -> set[int]:
        """Of how many texts its questions are; empty if of as many as the model reads."""
        return {size for test in self.tests for size in test.sizes()}


def load(names: Sequence[str], texts: int, folder: Path | None = None) -> tuple[Suite, ...]:
    """Read suites by their names, from a folder or by default from the settings.

    Args:
        names: Of their files.
        texts: How many texts the model reads.
        folder: Where the files are.

    Raises:
        ConfigError: A file is missing or not YAML, a key in it is unknown, missing or out of range, or its questions
            are not of so many texts.
    """
    files = [f"{name}.yaml" for name in names]
    suites = tuple(_read(folder / file if folder else located(f"behaviour/{file}")) for file in files)
    for suite in suites:
        if other := suite.sizes() - {texts}:
            asks, reads = (SIZES[size] for size in (other.pop(), texts))
            raise ConfigError(
                f"{suite.name}.yaml asks about {asks}; the model reads {reads}.", "Correct gate.behaviour."
            )
    return suites


def _slots_of(template: Iterable[Question]) -> set[str]:
    return {slot for question in template for text in question for slot in SLOT.findall(text)}


def _combinations(template: tuple[Question, ...], slots: Slots) -> int:
    return math.prod(len(slots[slot]) for slot in _used(template, slots))


def _used(template: tuple[Question, ...], slots: Slots) -> list[str]:
    named = _slots_of(template)
    return [slot for slot in slots if slot in named]


def _read(path: Path) -> Suite:
    try:
        values = yaml_files.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(listed("behaviour/*.yaml")) or "none"
        raise ConfigError(f"There is no suite {path}; there are: {there}.", "Correct gate.behaviour.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {said}.", "Correct the file.") from None
    if not isinstance(values, dict) or "name" in values:
        raise ConfigError(f"{path} must hold `description` and `tests`.", "Correct the file.")
    try:
        return Suite.model_validate({**values, "name": path.stem})
    except ValidationError as error:
        raise ConfigError(f"{path} is not a suite: {problems(error)}.", "Correct the file.") from None
