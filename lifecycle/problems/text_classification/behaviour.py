"""Behaviour checks: what a model must do on texts that a person chose, in the manner of CheckList.

Ribeiro et al. (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList. Three kinds of tests:

`invariance`             a text is changed in a way that must not matter: the label stays
`direction`              a text is changed in a way that must matter: the label changes as said
`minimum_functionality`  simple texts that every useful model labels rightly

They are data: suites of tests, one file each in `config/behaviour`. Texts may hold slots, as in `{who} made a loss`,
which are filled from lists in every combination.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import Annotated, Literal, NamedTuple, Self

import pandas as pd
import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.problems.findings import BehaviourLine
from lifecycle.problems.shares import wilson
from lifecycle.settings.files import located, problems

SEED = 20_240_229
EXAMPLES = 5
MAX_CASES = 5000
"""Of one test: its slots multiply."""

SLOT = re.compile(r"\{(\w+)\}")

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
Slots = Mapping[str, Sequence[str]]


class Case(NamedTuple):
    """One question to a model, and what its answer must be."""

    text: str
    before: str = ""
    """The text that it was made from, if any: it is asked too."""
    label: str = ""
    """The label in question; empty for the one that `before` gets."""
    same: bool = True
    """Whether the answer must be that label, or must not."""
    moves: bool = False
    """Whether `before` must get another label."""

    def holds(self, before: str, answer: str) -> bool:
        """Whether an answer is as it must be; `before` is the label of that text."""
        return (answer == (self.label or before)) is self.same and not (self.moves and answer == before)

    def asks(self, before: str) -> str:
        """What the answer must be, in words."""
        label = self.label or before
        return f"not {label}" if not self.same else f"{label}, from another label" if self.moves else label


def _other_digits(text: str) -> str:
    """Every digit becomes another one, and a number does not begin with 0: it keeps its length."""
    random = Random(f"{SEED} {text}")  # noqa: S311  the same text is always changed in the same way

    def other(number: re.Match[str]) -> str:
        leading, rest = number[0][0], number[0][1:]
        changed = [random.choice([each for each in "0123456789" if each != digit]) for digit in rest]
        return random.choice([each for each in "123456789" if each != leading]) + "".join(changed)

    return re.sub("[0-9]+", other, text)


def _end_differently(text: str) -> str:
    """A full stop or exclamation mark at the end goes; where there is none, a full stop comes."""
    bare = text.rstrip(" .!")
    return text if not bare else bare if bare != text else f"{text}."


CHANGES: dict[str, Callable[[str], str]] = {
    "upper_case": str.upper,
    "lower_case": str.lower,
    "whitespace": lambda text: "  " + re.sub(r"\s+", "  ", text.strip()) + "  ",
    "punctuation": _end_differently,
    "numbers": _other_digits,
}
"""What turns a text into one of the same meaning; `swap` needs names and stands in `Invariance`."""


class _Test(Frozen):
    name: Text
    max_failures: float = Field(0.0, ge=0, lt=1, description="Share of the cases that may fail.")
    slots: dict[Annotated[str, Field(pattern=r"^\w+$")], Texts] = Field(
        {}, description="Lists that fill {slots} in the texts, in every combination."
    )

    @model_validator(mode="after")
    def _slots_are_those_of_the_texts(self) -> Self:
        named = {slot for texts in self._templates() for text in texts for slot in SLOT.findall(text)}
        if unknown := sorted(named ^ set(self.slots)):
            raise ValueError(f"slots and texts do not agree on {', '.join(unknown)}")
        if (cases := sum(_combinations(texts, self.slots) for texts in self._templates())) > MAX_CASES:
            raise ValueError(f"the slots make {cases:,} cases; a test has at most {MAX_CASES:,}")
        return self

    def _templates(self) -> Iterator[tuple[str, ...]]:
        """The texts of the file, those that are filled alike together."""
        raise NotImplementedError

    def labels(self) -> Iterator[tuple[str, str]]:
        """The labels that the test names, each with its key."""
        yield from ()


class Invariance(_Test):
    """The label must stay the same when the texts are changed; a text that the change leaves as it is is no case."""

    kind: Literal["invariance"]
    change: Literal["upper_case", "lower_case", "whitespace", "punctuation", "numbers", "swap"]
    names: tuple[Text, ...] = Field((), description="With `swap`: each name that a text holds becomes each other one.")
    texts: tuple[Text, ...] = Field((), description="Texts to change.")
    rows: int | None = Field(
        None, ge=1, description="Instead of `texts`: so many of the judged rows, chosen by a seed."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.texts) == bool(self.rows):
            raise ValueError("needs either `texts` or `rows`")
        if (self.change == "swap") != (len(set(self.names)) > 1):
            raise ValueError("`swap` needs two or more `names`, and no other change has any")
        if self.texts and not any(self._changes(self._filled_texts())):
            raise ValueError(f"{self.change} changes none of the texts")
        return self

    def _templates(self) -> Iterator[tuple[str, ...]]:
        yield from ((text,) for text in self.texts)

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:
        """Each changed text beside the one that it was made from."""
        if self.rows is None:
            return self._changes(self._filled_texts())
        return self._changes(map(str, rows["text"].sample(min(self.rows, len(rows)), random_state=SEED)))

    def _filled_texts(self) -> Iterator[str]:
        yield from (text for (text,) in _filled(self._templates(), self.slots))

    def _changes(self, texts: Iterable[str]) -> Iterator[Case]:
        for text in texts:
            yield from (Case(changed, text) for changed in self._changed(text) if changed != text)

    def _changed(self, text: str) -> Iterator[str]:
        if self.change != "swap":
            yield CHANGES[self.change](text)
            return
        names = sorted(set(self.names), key=lambda name: (-len(name), name))  # the longest is looked for first
        known = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)")
        for step in range(1, len(names)):
            following = {name: names[(place + step) % len(names)] for place, name in enumerate(names)}
            yield _replaced(known, text, following)


class Pair(Frozen):
    """A text, and the one that it is changed to."""

    before: Text
    after: Text

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

    def _templates(self) -> Iterator[tuple[str, ...]]:
        yield from ((pair.before, pair.after) for pair in self.pairs)

    def labels(self) -> Iterator[tuple[str, str]]:
        """The label that the expectation names."""
        for key in ("becomes", "must_not_be"):
            if label := getattr(self, key):
                yield key, label

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:  # noqa: ARG002
        """Each pair, in every filling."""
        label = self.becomes or self.must_not_be or ""
        for before, after in _filled(self._templates(), self.slots):
            yield Case(after, before, label, same=self.becomes is not None, moves=self.becomes is not None)


class Labelled(Frozen):
    """A text, and its only right label."""

    text: Text
    label: Text


class MinimumFunctionality(_Test):
    """Simple texts that must get their label."""

    kind: Literal["minimum_functionality"]
    cases: Annotated[tuple[Labelled, ...], Field(min_length=1)]

    def _templates(self) -> Iterator[tuple[str, ...]]:
        yield from ((case.text,) for case in self.cases)

    def labels(self) -> Iterator[tuple[str, str]]:
        """The labels of the cases."""
        yield from ((f"cases.{place}.label", each.label) for place, each in enumerate(self.cases))

    def asked(self, rows: pd.DataFrame) -> Iterator[Case]:  # noqa: ARG002
        """Each case, in every filling."""
        for case in self.cases:
            yield from (Case(text, label=case.label) for (text,) in _filled([(case.text,)], self.slots))


Test = Annotated[Invariance | Direction | MinimumFunctionality, Field(discriminator="kind")]


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


def load(names: Sequence[str], folder: Path | None = None) -> tuple[Suite, ...]:
    """Read suites by their names, from a folder or by default from the settings.

    Raises:
        ConfigError: A file is missing or not YAML, or a key in it is unknown, missing or out of range.
    """
    files = [f"{name}.yaml" for name in names]
    return tuple(_read(folder / file if folder else located(f"behaviour/{file}")) for file in files)


def run(
    suites: Sequence[Suite],
    texts: pd.DataFrame,
    predict: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    confidence: float,
) -> tuple[BehaviourLine, ...]:
    """Ask a model the cases of all suites at once, and count for each test which it fails.

    A test without a case fails: nobody would notice that it asks nothing.

    Args:
        suites: What to ask.
        texts: The judged rows: `text` and `truth`.
        predict: The model: `{text} -> {label, score}`.
        confidence: Level of the interval of the share of failures.

    Raises:
        ConfigError: A suite names a label that neither the rows nor the model know.
        IntegrityError: The model does not answer each text with a label.
    """
    asked = [(suite, test, tuple(dict.fromkeys(test.asked(texts)))) for suite in suites for test in suite.tests]
    wanted = {text: None for _, _, cases in asked for case in cases for text in (case.before, case.text) if text}
    answers = _answers(tuple(wanted), predict) if wanted else {}
    _check_labels(suites, {*texts["truth"].astype(str), *answers.values()})
    return tuple(_line(suite, test, cases, answers, confidence) for suite, test, cases in asked)


def _line(
    suite: Suite, test: Test, cases: tuple[Case, ...], answers: Mapping[str, str], confidence: float
) -> BehaviourLine:
    answered = [(case, answers.get(case.before, ""), answers[case.text]) for case in cases]
    failed = [each for each in answered if not each[0].holds(*each[1:])]
    share = wilson(len(failed), len(cases), confidence) if cases else None
    return BehaviourLine(
        suite=suite.name,
        name=test.name,
        kind=test.kind,
        cases=len(cases),
        failures=len(failed),
        low=share.low if share else 0.0,
        high=share.high if share else 1.0,
        limit=test.max_failures,
        outcome="pass" if share and share.value <= test.max_failures else "fail",
        examples=tuple(_example(*each) for each in failed[:EXAMPLES]) if cases else (NO_CASE,),
    )


NO_CASE = {"given": "", "expected": "a text that the change applies to", "answered": "there is none: nothing was asked"}
"""What stands in place of examples of a test that asked nothing."""


def _example(case: Case, before: str, answer: str) -> dict[str, str]:
    example = {"given": case.text, "expected": case.asks(before), "answered": answer}
    return {"before": f"{case.before} [{before}]", **example} if case.before else example


def _answers(texts: tuple[str, ...], predict: Callable[[pd.DataFrame], pd.DataFrame]) -> dict[str, str]:
    labels = predict(pd.DataFrame({"text": pd.Series(texts, dtype=object)}))["label"]
    if len(labels) != len(texts) or labels.isna().any():
        raise IntegrityError(f"The model answered {int(labels.notna().sum()):,} labels for {len(texts):,} texts.")
    return dict(zip(texts, labels.astype(str), strict=True))


def _check_labels(suites: Sequence[Suite], known: set[str]) -> None:
    for suite in suites:
        for place, test in enumerate(suite.tests):
            for key, label in test.labels():
                if label not in known:
                    what = f"{suite.name}.yaml: tests.{place}.{key}={label!r} is no label of the model"
                    raise ConfigError(f"{what}; known are {', '.join(sorted(known))}.", "Correct config/behaviour.")


def _combinations(texts: tuple[str, ...], slots: Slots) -> int:
    return math.prod(len(slots[slot]) for slot in _used(texts, slots))


def _used(texts: tuple[str, ...], slots: Slots) -> list[str]:
    named = {slot for text in texts for slot in SLOT.findall(text)}
    return [slot for slot in slots if slot in named]


def _filled(templates: Iterable[tuple[str, ...]], slots: Slots) -> Iterator[tuple[str, ...]]:
    """Every combination of the slots that a text uses; texts that belong together are filled alike."""
    for texts in templates:
        used = _used(texts, slots)
        for values in product(*(slots[slot] for slot in used)):
            filling = dict(zip(used, values, strict=True))
            yield tuple(_replaced(SLOT, text, filling) for text in texts)


def _replaced(pattern: re.Pattern[str], text: str, by: Mapping[str, str]) -> str:
    """Replace what a pattern finds, or the group in it, by what stands for that."""
    return pattern.sub(lambda found: by[found[found.lastindex or 0]], text)


def _read(path: Path) -> Suite:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(each.stem for each in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"There is no suite {path}; there are: {there}.", "Correct gate.behaviour.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}.", "Correct the file.") from None
    if not isinstance(values, dict) or "name" in values:
        raise ConfigError(f"{path} must hold `description` and `tests`.", "Correct the file.")
    try:
        return Suite.model_validate({**values, "name": path.stem})
    except ValidationError as error:
        raise ConfigError(f"{path} is not a suite: {problems(error)}.", "Correct the file.") from None
