"""What a registered model remembers of its log in tags of its own, whatever becomes of its versions."""

from collections.abc import Mapping

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen

MARK, UNFINISHED, ANEW = "promotion.mark", "promotion.unfinished", "promotion.anew"
HIGHEST = 1_000_000
"""Versions that a mark may speak of; one that says more was not written here."""


class Mark(Frozen):
    """How far the numbers went, and who was champion when all up to there had been read; 0 for nobody.

    `name` is what the model was called then: the runs of its champions know it by that.
    """

    through: int = Field(0, ge=0, le=HIGHEST)
    champion: int = Field(0, ge=0, le=HIGHEST)
    name: str = ""


class Anew(Frozen):
    """A person recorded that no version was left: what comes after a number begins anew."""

    after: int = Field(0, ge=0, le=HIGHEST)
    champion: int = Field(0, ge=0, le=HIGHEST)
    reason: str = ""
    by: str = ""
    at: int = 0


class Memory(Frozen):
    """What the model itself remembers, whatever becomes of its versions."""

    mark: Mark = Mark()
    anew: Anew = Anew()
    unfinished: frozenset[int] = frozenset()

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever remembered, not even that nothing is left."""
        return self == Memory()

    @property
    def highest(self) -> int:
        """The highest number that is known to have been given."""
        return max(self.mark.through, self.anew.after, *self.unfinished, 0)

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Memory":
        """Read a model's tags.

        Raises:
            IntegrityError: They are not those that were written here.
        """
        try:
            return cls(
                mark=Mark.model_validate_json(tags.get(MARK, "{}")),
                anew=Anew.model_validate_json(tags.get(ANEW, "{}")),
                unfinished=unfinished_of(tags),
            )
        except ValueError as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            what = f"The tags {MARK}, {ANEW} or {UNFINISHED} of a registered model are unreadable: {said}."
            fix = "Restore them in MLflow; without them the next command that settles the alias writes the mark again."
            raise IntegrityError(what, fix) from None


def unfinished_of(tags: Mapping[str, str]) -> frozenset[int]:
    """Versions that this project deleted because their files never arrived."""
    return frozenset(int(number) for number in tags.get(UNFINISHED, "").split())
