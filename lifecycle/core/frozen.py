"""The base of every request, rule and result."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Frozen(BaseModel):
    """Immutable, and strict about unknown keys: a typo is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rules(Frozen, allow_inf_nan=False):
    """The base of what people write in files: a number is one, and has an end (`max_loss: true` was a loss of all)."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        flags = [each for each in _leaves(value) if isinstance(each, bool)]
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation) if flags else set()
        if kinds & {int, float} and not kinds & {bool, Any}:
            raise ValueError(f"{str(flags[0]).lower()} is not a number")
        return value


def _leaves(value: Any) -> list[Any]:
    return [leaf for each in value.values() for leaf in _leaves(each)] if isinstance(value, dict) else [value]


def _kinds(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return set().union(*map(_kinds, parts)) if parts else {annotation}
