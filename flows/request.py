"""What all requests of flows have in common; those of the flows are in `flow_requests`."""

import inspect
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from lifecycle.core.errors import ConfigError
from lifecycle.core.frozen import Frozen
from lifecycle.core.parameters import Delimiter, Format, ModelName
from lifecycle.data.source import Source
from lifecycle.settings import checked, definitions
from lifecycle.settings.definitions import ModelDefinition

T = TypeVar("T")
LOGICAL_DATE = "{logical_date}"
"""What the address of a table may hold: it stands for the day."""


def required(value: T | None, option: str) -> T:
    """What was given, or what a definition says.

    Raises:
        ConfigError: Neither.
    """
    if value is None:
        defined = f" Defined are: {', '.join(names)}." if (names := definitions.names()) else ""
        fix = f"Give it, or name a model that is defined in config/models/<model>.yaml.{defined}"
        raise ConfigError(f"Missing option {option}.", fix)
    return value


class Parameter(NamedTuple):
    """A field of a request as a flow and a command take it."""

    name: str
    annotation: Any
    default: Any
    description: str
    earlier: bool = False
    metadata: Sequence[Any] = ()
    asked: bool = False


def _default(field: FieldInfo) -> Any:
    return inspect.Parameter.empty if field.is_required() else field.default


class Form(Frozen):
    """The base of what a person is asked in a form or by a command's options; null is what was not given."""

    earlier_names: ClassVar[Mapping[str, str]] = {}
    """What the first releases called some of the parameters; those names are still accepted."""
    first: ClassVar[tuple[str, ...]] = ()
    """The parameters that a form and a help show before the others."""
    asked: ClassVar[tuple[str, ...]] = ()
    """Parameters whose default no command takes in silence: `model_fields_set` has them only if they were given."""

    @model_validator(mode="before")
    @classmethod
    def _by_present_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        named = {name: value for name, value in values.items() if value is not None}
        for present, earlier in cls.earlier_names.items():
            if earlier in named and present in named:
                raise ValueError(f"{present} and {earlier} are one parameter: give one of them")
            if earlier in named:
                named[present] = named.pop(earlier)
        return named

    @classmethod
    def listed(cls) -> list[Parameter]:
        """The parameters in the order of a form: how a table is written comes after what it is, earlier names last."""
        rank = {name: place for place, name in enumerate(cls.first)}
        fields = cls.model_fields
        order = sorted(fields, key=lambda name: (rank.get(name, len(rank)), name in TableForm.model_fields))
        present = [
            Parameter(
                name,
                each.annotation,
                _default(each),
                each.description or "",
                metadata=each.metadata,
                asked=name in cls.asked,
            )
            for name, each in ((name, fields[name]) for name in order)
        ]
        earlier = [
            Parameter(old, fields[new].annotation, None, f"Earlier name of {new}.", earlier=True)
            for new, old in cls.earlier_names.items()
        ]
        return present + earlier


class Request(Form):
    """The base of requests about one model, of which a definition may say what was not given."""

    first: ClassVar[tuple[str, ...]] = ("model_name",)

    model_name: ModelName | None = Field(
        None, description="Name of the model, without environment; default the only one that is defined."
    )

    @property
    def model(self) -> str:
        """The name of the model, once it is known."""
        return required(self.model_name, "--model-name")

    @property
    def parameters(self) -> dict[str, Any]:
        """What is known, as parameters of the flow."""
        return self.model_dump(mode="json", exclude_none=True)

    def completed(self) -> Self:
        """The same request with what the definition of its model says.

        Raises:
            ConfigError: No model is named, and not exactly one is defined.
        """
        model_name, definition = definitions.chosen(self.model_name)
        named = self.model_copy(update={"model_name": model_name})
        return named.filled(definition) if definition else named

    def filled(self, definition: ModelDefinition) -> Self:
        """The same request with what a definition says, where nothing was given."""
        defaults = self.defined_by(definition)
        return self.model_copy(update={name: value for name, value in defaults.items() if getattr(self, name) is None})

    def defined_by(self, definition: ModelDefinition) -> dict[str, Any]:  # noqa: ARG002  many need the name alone
        """What a definition says of the fields, whether given or not."""
        return {}


class TableForm(Frozen):
    """How a table is written."""

    source_format: Format | None = Field(
        None, description="Form of the table; default by the suffix; delta for a Delta table at a path or URL."
    )
    encoding: str | None = Field(
        None, description="Encoding of CSV and JSON Lines, which is never guessed; default utf-8."
    )
    delimiter: Delimiter | None = Field(None, description="Delimiter of CSV: one character, or tab; default a comma.")

    def at(self, uri: str, sha256: str | None = None) -> Source:
        """The table of this form at a path, a URL or by name."""
        form = {"format": self.source_format, "encoding": self.encoding, "delimiter": self.delimiter, "sha256": sha256}
        return checked(Source, uri=uri, **{name: value for name, value in form.items() if value is not None})


class Dated(Frozen):
    """A table that may be one of a day."""

    logical_date: date | None = Field(
        None, description="Day that it is for; {logical_date} in the table's address stands for it."
    )
    time_zone: str | None = Field(
        None,
        description="Without a logical date, the day is that of the scheduled start in this zone; without both, none.",
    )

    def dated(self, address: str) -> str:
        """An address, with the day in place of `{logical_date}`.

        Raises:
            ConfigError: It needs a day, and there is none.
        """
        if LOGICAL_DATE in address and self.logical_date is None:
            what = f"The table {address} needs a day."
            raise ConfigError(what, "Give a logical date: --logical-date 2026-11-21")
        return address.replace(LOGICAL_DATE, str(self.logical_date))
