"""Which parameters a search tries: values by name, a range between two numbers, and the order of the candidates.

The same space and seed give the same candidates in the same order, and a larger budget only more of them: what was
tried before is not tried again.
"""

import ast
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator
from sklearn.model_selection import ParameterGrid, ParameterSampler

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.settings import checked, yaml_files

Search = Literal["random", "grid", "halving"]
MOST = 10_000
"""Candidates of one search; whoever has the time for more searches in a smaller space."""
EXAMPLE = "Write --param C=0.1,1,10, or a file for --space: {C: [0.1, 1, 10], alpha: {from: 0.001, to: 1, scale: log}}"


class Range(Frozen, allow_inf_nan=False):
    """Numbers between two; whole ones if both are whole."""

    low: int | float = Field(alias="from")
    high: int | float = Field(alias="to")
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"from {self.low:g} to {self.high:g} is no range")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a range by logarithms begins above 0, not at {self.low:g}")
        return self

    def rvs(self, random_state: Any) -> float | int:
        """One of the numbers, as scikit-learn's sampler asks for it."""
        low, high = (math.log(end) if self.scale == "log" else end for end in (self.low, self.high))
        drawn = random_state.uniform(low, high)
        value = min(max(math.exp(drawn) if self.scale == "log" else drawn, self.low), self.high)
        return round(value) if isinstance(self.low, int) and isinstance(self.high, int) else float(f"{value:.6g}")


Space = Mapping[str, "list[Any] | Range"]


def read(path: Path) -> dict[str, Any]:
    """A space as a file of YAML or JSON holds it.

    Raises:
        ConfigError: It cannot be read, or is no mapping.
    """
    try:
        content = yaml_files.load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"{path}: {said:.200}", EXAMPLE) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no parameters by name.", EXAMPLE)
    return content


def written(texts: Sequence[str]) -> dict[str, list[Any]]:
    """A space as a command line has it: `C=0.1,1,10`, `tfidf__ngram_range=[1,1],[1,2]`.

    Raises:
        ConfigError: One is not of this form, or named twice.
    """
    space: dict[str, list[Any]] = {}
    for text in texts:
        name, has_values, values = text.partition("=")
        if name in space or not has_values:
            what = (
                f"--param {text!r:.80}: {name!r:.80} is named twice." if has_values else f"--param {text!r:.80}: no =."
            )
            raise ConfigError(what, EXAMPLE)
        try:
            space[name.strip()] = [_number(value) for value in yaml.safe_load(f"[{values}]")]
        except yaml.YAMLError:
            raise ConfigError(f"--param {text!r:.80}: these are no values.", EXAMPLE) from None
    return space


def parsed(given: Mapping[str, Any]) -> dict[str, "list[Any] | Range"]:
    """A space whose values are lists that are not empty, or ranges; a value by itself is a list of one.

    Raises:
        ConfigError: There is nothing to search, or a range is none.
    """
    space: dict[str, list[Any] | Range] = {}
    for name, values in given.items():
        if isinstance(values, Mapping):
            space[str(name)] = _range(str(name), values)
            continue
        space[str(name)] = [_number(value) for value in (values if isinstance(values, list | tuple) else [values])]
        if not space[str(name)]:
            raise ConfigError(f"{name}: there is no value to try.", EXAMPLE)
    if not space:
        raise ConfigError("There is no parameter to search.", EXAMPLE)
    return space


def _range(name: str, ends: Mapping[Any, Any]) -> Range:
    try:
        return checked(Range, **{str(key): value for key, value in ends.items()})
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.what}", EXAMPLE) from None


def ends(space: Space) -> Iterator[tuple[str, Any]]:
    """Each value of each parameter, of a range both ends: what is wrong with one by itself is found before a trial."""
    for name, values in space.items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            yield name, value


def candidates(space: Space, search: Search, trials: int | None, seed: int) -> list[dict[str, Any]]:
    """What is tried, in order; without a number of trials all, of a space of ranges so many as there can be.

    Raises:
        ConfigError: A grid has a range, or more points than can be tried.
    """
    ranges = [name for name, values in space.items() if isinstance(values, Range)]
    size = math.prod(len(values) for values in space.values() if not isinstance(values, Range))
    if search == "grid":
        if ranges:
            raise ConfigError(f"{ranges[0]}: a grid has no ranges.", "Give values, or --search random.")
        if trials is None and size > MOST:
            raise ConfigError(
                f"The grid has {size:,} points; {MOST:,} can be tried.", "Give fewer values, or --trials."
            )
        drawn: Any = ParameterGrid(space)
    else:  # as many are drawn whatever the budget: the first ones are then the same
        drawn = ParameterSampler(space, MOST if ranges else min(size, MOST), random_state=seed)
    return list(itertools.islice(_distinct(drawn), trials or MOST))


def rungs(count: int, rows: int, least: int) -> list[tuple[int, int]]:
    """How many candidates are tried on how many rows: from rung to rung a third of them on three times the rows."""
    steps = 0
    while 3 ** (steps + 1) <= count and rows // 3 ** (steps + 1) >= least:
        steps += 1
    return [(math.ceil(count / 3**step), rows // 3 ** (steps - step)) for step in range(steps + 1)]


def require_known(space: Space, build: Callable[[Mapping[str, Any]], Any], fixed: Mapping[str, Any]) -> None:
    """Refuse a space with a parameter that there is not, one that is fixed, or a value that it cannot have.

    Raises:
        ConfigError: It is one.
    """
    if both := [name for name in space if name in fixed]:
        raise ConfigError(f"{both[0]} is fixed by --params and searched.", "Leave it out of one of them.")
    for name, value in ends(space):
        build({name: value})


def _distinct(drawn: Any) -> Iterator[dict[str, Any]]:
    seen = set[str]()
    for params in drawn:
        if (told := repr(sorted(params.items()))) not in seen:
            seen.add(told)
            yield dict(params)


def _number(value: Any) -> Any:
    """A text that is a number or None to Python, as `1e-4` is, which YAML takes for a text."""
    if not isinstance(value, str):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return literal if isinstance(literal, int | float | None) else value
