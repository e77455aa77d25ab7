"""A model is asked the cases of suites, and what it fails is counted."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.problems.behaviour.suites import Case, Question, Suite, Test
from lifecycle.problems.contract import Columns, inputs_of
from lifecycle.problems.findings import BehaviourLine
from lifecycle.problems.shares import wilson

EXAMPLES = 5
NO_CASE = {"given": "", "expected": "a text that the change applies to", "answered": "there is none: nothing was asked"}
"""What stands in place of examples of a test that asked nothing."""


def run(
    suites: Sequence[Suite],
    rows: pd.DataFrame,
    inputs: Columns,
    predict: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    confidence: float,
) -> tuple[BehaviourLine, ...]:
    """Ask a model the cases of all suites at once, and count for each test which it fails.

    A test without a case fails: nobody would notice that it asks nothing.

    Args:
        suites: What to ask.
        rows: The judged rows: texts and `truth`.
        inputs: The texts that the model reads, in their order.
        predict: The model: texts by the names of `inputs` -> `{label, score}`.
        confidence: Level of the interval of the share of failures.

    Raises:
        ConfigError: A suite names a label that neither the rows nor the model know.
        IntegrityError: The model does not answer each question with a label.
    """
    if not suites:
        return ()
    names = [column.name for column in inputs]
    texts = inputs_of(rows, inputs)
    asked = [(suite, test, tuple(dict.fromkeys(test.asked(texts)))) for suite in suites for test in suite.tests]
    wanted = {question: None for *_, cases in asked for case in cases for question in (case.before, case.question)}
    answers = _answers([question for question in wanted if question], names, predict)
    spelt = _spelt(suites, {*rows["truth"].astype(str), *answers.values()})
    lines = _Lines(names, answers, confidence)
    return tuple(
        lines.of(suite, test, tuple(case._replace(label=spelt.get(case.label, "")) for case in cases))
        for suite, test, cases in asked
    )


class _Lines:
    """What comes of tests, of the answers to all of them."""

    def __init__(self, names: Sequence[str], answers: Mapping[Question, str], confidence: float) -> None:
        self._names, self._answers, self._confidence = names, answers, confidence

    def of(self, suite: Suite, test: Test, cases: tuple[Case, ...]) -> BehaviourLine:
        answered = [(case, self._answers.get(case.before, ""), self._answers[case.question]) for case in cases]
        failed = [each for each in answered if not each[0].holds(*each[1:])]
        share = wilson(len(failed), len(cases), self._confidence) if cases else None
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
            examples=tuple(self._example(*each) for each in failed[:EXAMPLES]) if cases else (NO_CASE,),
        )

    def _example(self, case: Case, before: str, answer: str) -> dict[str, str]:
        example = {"given": self._shown(case.question), "expected": case.asks(before), "answered": answer}
        return {"before": f"{self._shown(case.before)} [{before}]", **example} if case.before else example

    def _shown(self, question: Question) -> str:
        """One text as it is, two with their names: as a verdict shows rows."""
        if len(question) == 1:
            return question[0]
        return ", ".join(f"{name}={text}" for name, text in zip(self._names, question, strict=True))


def _answers(
    questions: list[Question], names: Sequence[str], predict: Callable[[pd.DataFrame], pd.DataFrame]
) -> dict[Question, str]:
    if not questions:
        return {}
    labels = predict(pd.DataFrame(questions, columns=[*names], dtype=object))["label"]
    if len(labels) != len(questions) or labels.isna().any():
        raise IntegrityError(f"The model answered {int(labels.notna().sum()):,} labels for {len(questions):,} texts.")
    return dict(zip(questions, labels.astype(str), strict=True))


def _spelt(suites: Sequence[Suite], known: set[str]) -> dict[str, str]:
    """The labels of suites as the model writes them: `entailment` is also `ENTAILMENT`, where there is no other."""
    spelt = {label.casefold(): label for label in sorted(known)} | {label: label for label in known}
    named = [
        (f"{suite.name}.yaml: tests.{place}.{key}={label!r}", label)
        for suite in suites
        for place, test in enumerate(suite.tests)
        for key, label in test.labels()
    ]
    for where, label in named:
        if label not in spelt and label.casefold() not in spelt:
            what = f"{where} is no label of the model; known are {', '.join(sorted(known))}."
            raise ConfigError(what, "Correct config/behaviour.")
    return {label: spelt.get(label) or spelt[label.casefold()] for _, label in named}
