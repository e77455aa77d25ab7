"""What is counted of a text."""

import pandas as pd
import pytest

from lifecycle.problems import distributions
from lifecycle.problems.contract import Column

KNOWN = distributions.vocabulary(["one two", "two one", "ısı İstanbul", "İstanbul one"])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("one two", (7, 3.0, 0.0, 0.0, 0.0)),
        ("One one, three!", (15, 11 / 3, 1 / 3, 0.0, 1 / 3)),
        ("héé", (3, 3.0, 0.0, 2 / 3, 1.0)),
        ("", (0, 0.0, 0.0, 0.0, 0.0)),
        ("?!", (2, 0.0, 0.0, 0.0, 0.0)),
        (
            "İstanbul one",
            (12, 6.0, 0.0, 1 / 12, 0.0),
        ),  # made small, its first letter is two signs
        (None, (0.0,) * 5),
    ],
)
def test_a_text_tells_its_length_its_words_and_what_is_new(text: str | None, numbers: tuple[float, ...]) -> None:
    rows = pd.DataFrame({"text": pd.Series(["two", text], index=[3, 9], dtype=object)})
    found = list(distributions.of_inputs(rows, (Column(name="text", kind="text"),), {"text": KNOWN}))
    assert [each.name.removesuffix(" of text") for each in found] == [*distributions.TOLD]
    assert [each.values.index.tolist() for each in found] == [[3, 9]] * 5
    expected = [float("nan") if text is None else number for number in numbers]
    assert [each.values[9] for each in found] == pytest.approx(expected, nan_ok=True)


def test_without_a_vocabulary_nothing_is_told_of_new_words() -> None:
    rows = pd.DataFrame({"text": ["one two"]})
    names = [each.name for each in distributions.of_inputs(rows, (Column(name="text", kind="text"),), {})]
    assert names == [f"{what} of text" for what in distributions.TOLD[:-1]]
