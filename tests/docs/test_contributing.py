"""The algorithm that CONTRIBUTING.md adds can be made, fitted, stored and read again with the types that it names."""

import re
from typing import Any

import numpy as np
import skops.io

from lifecycle.problems.contract import Estimator
from tests.conftest import ROOT

(PROGRAM,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)


def _entry() -> Estimator:
    names: dict[str, Any] = {}
    exec(compile(PROGRAM, "CONTRIBUTING.md", "exec"), names)  # noqa: S102  our own page
    entry = names["LINEAR_SVM"]
    assert isinstance(entry, Estimator)
    return entry


def test_the_parameters_that_a_person_may_set_are_those_of_the_estimator_within_too() -> None:
    entry = _entry()
    assert {*entry.defaults, "estimator__C", "estimator__random_state"} <= set(
        entry.make(**entry.defaults).get_params()
    )


def test_it_tells_probabilities_and_is_stored_with_the_types_that_it_names() -> None:
    entry, generator = _entry(), np.random.default_rng(0)
    rows = generator.normal(size=(100, 3))
    model = entry.make(**entry.defaults).fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
    assert model.get_params().items() >= entry.defaults.items()
    stored = skops.io.dumps(model)
    assert set(skops.io.get_untrusted_types(data=stored)) == set(entry.trusted_types)
    read = skops.io.loads(stored, trusted=[*entry.trusted_types])
    assert np.array_equal(read.predict_proba(rows), model.predict_proba(rows))
