"""Whether a foreign model keeps the contract of a problem: each column, type and answer that does not is named.

`columns_read`   by its signature, before anything of it is run
`answers`        by asking it about some rows of train: as often as rows come in other batches
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.types.schema import AnyType, Array, DataType, Object, TensorSpec

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.refusals import refused_by_the_library
from lifecycle.data.manifest import Manifest
from lifecycle.models.external import wrapped
from lifecycle.models.external.declared import Declared
from lifecycle.models.external.opened import ANSWERS, SOURCED, Read, Told
from lifecycle.models.external.wrapped import ARRAY, NUMBERS, PROBABILITIES, SECOND, TABLE, TEXTS
from lifecycle.problems.contract import TEXT, Column
from lifecycle.problems.known import named

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

FITS = {
    "text": {"string"},
    "categorical": {"string"},
    "numeric": {"double", "float", "long", "integer"},
    "boolean": {"boolean", "double", "float", "long", "integer"},
    "datetime": {"datetime"},
}
"""Kind of a column to the types of MLflow's in which its cells can be given."""
OF_NUMPY = {"f": "double", "i": "long", "u": "long", "b": "boolean", "O": "string", "U": "string", "M": "datetime"}
MESSAGES, MESSAGE, REFUSED = "messages", {"role", "content"}, "refused"
"""The column of conversations, what each message of one has, and what `--labels` calls an answer that is none."""
OF_AN_ARRAY = ("numeric", "boolean")
ALIKE = 1e-5
"""How far the numbers of a row may differ beside other rows: sums in another order, in 32 bits."""
REPAIR = "Have its maker repair it, or declare what differs: mlops model register-mlflow --help"


class Asked(NamedTuple):
    """A model by its name, and the dataset version whose contract it is to keep."""

    label: str
    manifest: Manifest
    declared: Declared

    @property
    def where(self) -> str:
        """The dataset version."""
        return f"{self.manifest.data_name} {self.manifest.data_version}"

    @property
    def is_of_numbers(self) -> bool:
        """Whether a number is to be predicted."""
        return named(self.manifest.problem).model_type == "regressor"

    @property
    def refusing(self) -> str:
        """The answer that is none, where questions are to be answered; else empty."""
        return named(self.manifest.problem).refusal

    def refusal(self, *problems: str) -> DataError:
        """What a model that breaks the contract ends with."""
        what = f"{self.label} does not keep the contract of {self.manifest.problem} on {self.where}"
        return DataError(f"{what}: {'; '.join(problems)}.", REPAIR)


def schema_of(signature: "ModelSignature | None") -> "Schema | None":
    """The inputs that a signature names; None where there is none, or MLflow could not tell when it wrote it."""
    specs = [*signature.inputs] if signature is not None and signature.inputs is not None else []
    is_unknown = len(specs) == 1 and not specs[0].name and isinstance(specs[0].type, AnyType)
    return None if signature is None or not specs or is_unknown else signature.inputs


def columns_read(asked: Asked, schema: "Schema | None", features: Sequence[str] = ()) -> Told:
    """What a model reads, by its signature; without one by the columns that it was fitted on, else all of them.

    Raises:
        ConfigError: What it reads must be declared, or what is declared is not there.
        DataError: It reads what the dataset does not have, or not all texts that it has.
    """
    inputs = {column.name: column for column in asked.manifest.inputs}
    if unknown := {*asked.declared.columns, *asked.declared.order} - {*inputs}:
        there = ", ".join(inputs)
        raise ConfigError(
            f"{asked.where} has no input {min(unknown)!r}; it has {there}.", "Correct --columns or --order."
        )
    specs = [*schema.inputs] if schema is not None else []
    if asked.refusing:
        return _conversation(asked, specs)
    if asked.declared.order or (len(specs) == 1 and isinstance(specs[0], TensorSpec) and not _is_column(specs[0])):
        return _array(asked, specs, inputs)
    if len(specs) == 1 and not specs[0].name and len(inputs) == 1:
        column = next(iter(inputs.values()))
        return Told(reads=(_read(asked, column, column.name, specs[0]),), shape=TEXTS)
    if specs and not all(spec.name for spec in specs):
        raise asked.refusal("the columns of its signature have no names")
    return _table(asked, specs, inputs, features)


def require_order(asked: Asked, width: int) -> None:
    """Refuse to guess which columns an estimator was fitted on that remembers no names, and has no signature.

    Raises:
        ConfigError: Nobody says it.
    """
    if width and not asked.declared.order and not all(column.is_text for column in asked.manifest.inputs):
        example = _some(asked, width)
        what = f"{asked.label} was fitted on {width} columns without names, and has no signature."
        raise ConfigError(what, f"Say which inputs they are, in their order, such as --order {example}")


def _some(asked: Asked, width: int) -> str:
    """So many inputs that an array can hold, as an example of an order."""
    return ",".join([column.name for column in asked.manifest.inputs if column.kind in OF_AN_ARRAY][: max(width, 1)])


def _is_column(spec: Any) -> bool:
    return tuple(spec.shape) in {(-1,), (-1, 1)}


def _array(asked: Asked, specs: Sequence[Any], inputs: Mapping[str, Column]) -> Told:
    """Numbers in an order, which only a person can know."""
    order, spec = asked.declared.order, specs[0] if specs else None
    shape = tuple(spec.shape) if isinstance(spec, TensorSpec) else (-1, len(order))
    if len(shape) != 2 or len(specs) > 1:
        raise asked.refusal(f"it reads a tensor of shape {shape}, and rows of a table are (-1, columns)")
    if not order:
        example = _some(asked, shape[1])
        what = f"{asked.label} reads a tensor of shape {shape} whose columns have no names."
        raise ConfigError(what, f"Say which inputs stand in it, in their order, such as --order {example}")
    if shape[1] not in {-1, len(order)}:
        raise asked.refusal(f"it reads {shape[1]} columns, and --order names {len(order)}")
    if wrong := [name for name in order if inputs[name].kind not in OF_AN_ARRAY]:
        raise asked.refusal(f"{wrong[0]!r} is {inputs[wrong[0]].kind}, and an array holds numbers")
    dtype = str(spec.type) if isinstance(spec, TensorSpec) else "float64"
    name = str(spec.name or "") if isinstance(spec, TensorSpec) else ""
    return Told(reads=tuple(Read(input=name, column=name) for name in order), shape=ARRAY, name=name, dtype=dtype)


def _conversation(asked: Asked, specs: Sequence[Any]) -> Told:
    """The one column that a model of questions reads: `messages`, or that of the question."""
    question, known = asked.declared.columns.get(TEXT, ""), {str(spec.name or ""): spec for spec in specs}
    wanted = (MESSAGES, question or TEXT, *([""] if [*known] == [""] else []))
    name = next((name for name in wanted if name in known), question or MESSAGES)
    problems = [
        f"its column {other!r}{_typed(spec)} is no part of a question"
        for other, spec in known.items()
        if other != name and getattr(spec, "required", True)
    ]
    kind = "" if name in known and _is_conversation(known[name]) else _type(known.get(name))
    if known and name not in known:
        problems.append(f"it reads neither {MESSAGES!r}, an array of {{role, content}}, nor a question, {TEXT!r}")
    elif kind not in {"", "string"}:
        problems.append(f"its column {name!r} is {kind}, and a conversation is an array of {{role, content}} or a text")
    if problems:
        raise asked.refusal(*problems)
    is_text = kind == "string" or name != MESSAGES
    read = Read(input=TEXT, column=name, type="string" if is_text else "")
    return Told(reads=(read,), shape=TABLE if name else TEXTS, refusal=asked.refusing)


def _is_conversation(spec: Any) -> bool:
    """Whether a column holds arrays of messages, which need no more than who says what."""
    held = spec.type.dtype if isinstance(spec.type, Array) else None
    return isinstance(held, Object) and {each.name for each in held.properties if each.required} <= MESSAGE


def _table(asked: Asked, specs: Sequence[Any], inputs: Mapping[str, Column], features: Sequence[str]) -> Told:
    called = {asked.declared.columns.get(name, name): column for name, column in inputs.items()}
    known = {str(spec.name): spec for spec in specs}
    wanted = [*known] or [*features] or [*called]
    problems = [
        f"its column {name!r}{_typed(known.get(name))} is no input of {asked.where}, which has {', '.join(inputs)}"
        for name in wanted
        if name not in called and getattr(known.get(name), "required", True)
    ]
    problems += [
        f"it does not read {column.name!r}" for name, column in called.items() if column.is_text and name not in wanted
    ]
    reads = []
    for name in wanted:
        if name in called:
            try:
                reads.append(_read(asked, called[name], name, known.get(name)))
            except DataError as error:
                problems.append(error.what)
    if problems or not reads:
        raise asked.refusal(*(problems or [f"it reads none of {', '.join(inputs)}"]))
    return Told(reads=tuple(reads), shape=TABLE)


def _typed(spec: Any) -> str:
    return f" ({_type(spec)})" if spec is not None else ""


def _type(spec: Any) -> str:
    """The type of a column of a signature as MLflow calls it; empty if it takes any."""
    if isinstance(spec, TensorSpec):
        kind = "float" if str(spec.type) == "float32" else OF_NUMPY.get(np.dtype(spec.type).kind, str(spec.type))
        return kind if _is_column(spec) else f"tensor of shape {tuple(spec.shape)}"
    if spec is None or isinstance(spec.type, AnyType):
        return ""
    return str(spec.type.name) if isinstance(spec.type, DataType) else str(spec.type)


def _read(asked: Asked, column: Column, name: str, spec: Any) -> Read:
    kind = _type(spec)
    if kind and kind not in FITS[column.kind]:
        what = f"{column.name!r} is {column.kind} in {asked.where}, and the model reads {kind}"
        raise DataError(what, REPAIR)
    return Read.model_validate({"input": column.name, "column": name, "type": kind})


def unread(asked: Asked, told: Told) -> list[str]:
    """The inputs of the dataset that a model does not read."""
    read = {each.input for each in told.reads}
    return [column.name for column in asked.manifest.inputs if column.name not in read]


Opened = Callable[[Told], Any]
"""What is told of a model, to the loaded model under that contract."""


def answers(asked: Asked, told: Told, rows: pd.DataFrame, opened: Opened) -> Told:
    """What a model gives, after it was asked about rows as they come, again, in another order, and one by one.

    Args:
        asked: The model, and the dataset.
        told: What it reads.
        rows: Some rows of train, inputs alone.
        opened: The loaded model under the contract that is told of it.

    Raises:
        ConfigError: What its answers mean must be declared.
        DataError: It cannot be asked, or its answers break the contract.
    """
    if asked.refusing:
        told = told.model_copy(update={"gives": ANSWERS, "labels": _refusals(asked)})
    else:
        told, table = _first(asked, told, rows, opened)
        told = told.model_copy(update=_meaning(asked, table))
    model = opened(told)
    first = _predicted(asked, model, rows)
    if asked.refusing and (first["sources"] != "[]").any():
        told = told.model_copy(update={"gives": SOURCED})
    _require_right(asked, first)
    for how, order in _batches(len(rows)):
        again = pd.concat([_predicted(asked, model, rows.iloc[part]) for part in order], ignore_index=True)
        before = first.iloc[[place for part in order for place in part]].reset_index(drop=True)
        if (row := _differs(before, again)) is not None:
            raise asked.refusal(f"{how} it answers {_told(again, row)}, and before {_told(before, row)}")
    return told


def _first(asked: Asked, told: Told, rows: pd.DataFrame, opened: Opened) -> tuple[Told, pd.DataFrame]:
    """The first answer; a model of one text without columns in its signature may take a table or the texts alone."""
    is_text = told.shape == TABLE and len(told.reads) == 1 and asked.manifest.inputs[0].is_text
    problems: list[str] = []
    for way in (TABLE, TEXTS) if is_text else (told.shape,):
        trial = told.model_copy(update={"shape": way})
        try:
            with refused_by_the_library("", DataError, REPAIR):
                return trial, opened(trial).answer(rows)
        except DataError as error:
            problems.append(error.what.rstrip("."))
    raise asked.refusal(f"asked about {len(rows)} rows of train, {problems[0]}")


def _meaning(asked: Asked, table: pd.DataFrame) -> dict[str, Any]:
    """What answers are, and what the data call them."""
    if asked.is_of_numbers:
        with _refused(asked):
            wrapped.numbers(table)
        return {"gives": NUMBERS}
    with _refused(asked):
        kind = wrapped.gives(table)
    labels = asked.declared.labels
    if kind == SECOND:
        return {"gives": kind, "labels": labels, "classes": _two(asked, table)}
    with _refused(asked):
        said = [*table.columns] if kind == PROBABILITIES else [*dict.fromkeys(wrapped.labels_in(table))]
    _require_known(asked, said)
    return {"gives": kind, "labels": labels, "classes": tuple(said) if kind == PROBABILITIES else ()}


def _refusals(asked: Asked) -> dict[str, str]:
    """Answers of a model that are none, in words of its own.

    Raises:
        ConfigError: Something else is declared of an answer.
    """
    if wrong := [meaning for meaning in asked.declared.labels.values() if meaning != REFUSED]:
        what = f"--labels: {wrong[0]!r} is nothing that an answer of {asked.where} can mean; there is {REFUSED}."
        raise ConfigError(what, f"Name the answers that refuse: --labels \"{{'I do not know.': '{REFUSED}'}}\"")
    return asked.declared.labels


def _two(asked: Asked, table: pd.DataFrame) -> tuple[str, ...]:
    if len(asked.declared.labels) != 2:
        shown = f"{asked.label} answers with one number a row, such as {table.iloc[:, 0].iloc[0]:.4g}"
        what = f"{shown}: of which class it is the probability it does not say."
        raise ConfigError(what, f"Name the other class first: {_example(asked, ('0', '1'))}")
    _require_known(asked, [*asked.declared.labels])
    return tuple(asked.declared.labels)


def _require_known(asked: Asked, said: Sequence[str]) -> None:
    known, labels = asked.manifest.classes, asked.declared.labels
    if foreign := [label for label in labels.values() if label not in known]:
        raise ConfigError(f"--labels: {foreign[0]!r} is no label of {asked.where}: {', '.join(known)}.", "Correct it.")
    if strange := [answer for answer in said if labels.get(answer, answer) not in known]:
        what = (
            f"{asked.label} answers {', '.join(strange[:5])}, and the labels of {asked.where} are {', '.join(known)}."
        )
        raise ConfigError(what, f"Say which is which, for example: {_example(asked, said)}")
    called = [labels.get(answer, answer) for answer in said]
    if repeated := [label for label in called if called.count(label) > 1]:
        raise ConfigError(f"--labels: two answers are {repeated[0]!r}.", "Correct it.")


def _example(asked: Asked, said: Sequence[str]) -> str:
    pairs = ", ".join(f"'{answer}': '{label}'" for answer, label in zip(said, asked.manifest.classes, strict=False))
    return f'--labels "{{{pairs}}}"'


def _refused(asked: Asked) -> Any:
    return refused_by_the_library(f"{asked.label} does not keep the contract on {asked.where}: ", DataError, REPAIR)


def _predicted(asked: Asked, model: Any, rows: pd.DataFrame) -> pd.DataFrame:
    with _refused(asked):
        told: pd.DataFrame = model.predict(None, rows)
        return told


def _require_right(asked: Asked, answered: pd.DataFrame) -> None:
    for name in answered.columns:
        values = answered[name]
        if values.dtype.kind not in "fiu":
            continue
        wrong = ~np.isfinite(values) | ((values < 0) | (values > 1) if name == "score" else False)
        if wrong.any():
            limit = "a score from 0 to 1" if name == "score" else "a number"
            raise asked.refusal(
                f"of row {int(wrong.to_numpy().argmax())} it predicts {values[wrong].iloc[0]}, which is not {limit}"
            )


def _batches(count: int) -> Iterator[tuple[str, list[list[int]]]]:
    """The rows once more, backwards, and the first of them each by itself."""
    yield "asked again", [[*range(count)]]
    yield "asked in another order", [[*range(count)][::-1]]
    yield "asked row by row", [[place] for place in range(min(count, 6))]


def _differs(before: pd.DataFrame, again: pd.DataFrame) -> int | None:
    """The first row whose answers are others."""
    same = np.ones(len(before), dtype=bool)
    for name in before.columns:
        if before[name].dtype.kind not in "fiu":
            same &= (before[name].astype(str) == again[name].astype(str)).to_numpy()
        else:
            one, other = before[name].to_numpy("float64"), again[name].to_numpy("float64")
            same &= np.abs(one - other) <= ALIKE * np.maximum(1, np.abs(one))
    return None if same.all() else int((~same).argmax())


def _told(answered: pd.DataFrame, row: int) -> str:
    return " ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in answered.iloc[row])
