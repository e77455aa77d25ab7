"""What a registered model remembers of its log in tags of its own, whatever becomes of its versions.

The run of each champion remembers it too (`recall`), for whatever becomes of the model and its tags.
"""

from collections.abc import Iterator, Mapping

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.frozen import Frozen
from lifecycle.registry import store
from lifecycle.registry.store import RegisteredModel, Target
from lifecycle.tracking import champions

MARK, UNFINISHED, ANEW, UNBOUND = "promotion.mark", "promotion.unfinished", "promotion.anew", "promotion.unbound"
WRITTEN = (UNFINISHED, UNBOUND, ANEW, MARK)
HIGHEST = 1_000_000
"""Versions that a mark may speak of; one that says more was not written here."""


class Mark(Frozen):
    """How far the numbers went, and who was champion when all up to there had been read; 0 for nobody.

    `name` is what the model was called then, `made` when it was made, in milliseconds: the runs of its champions know
    it by both.
    """

    through: int = Field(0, ge=0, le=HIGHEST)
    champion: int = Field(0, ge=0, le=HIGHEST)
    name: str = ""
    made: int = 0


class Anew(Frozen):
    """A person recorded that no version was left: what comes after a number begins anew."""

    after: int = Field(0, ge=0, le=HIGHEST)
    champion: int = Field(0, ge=0, le=HIGHEST)
    reason: str = ""
    by: str = ""
    at: int = 0
    made: int = 0


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
                unfinished=frozenset(map(int, tags.get(UNFINISHED, "").split())),
            )
        except ValueError as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            what = f"The tags {MARK}, {ANEW} or {UNFINISHED} of a registered model are unreadable: {said}."
            fix = "Restore them in MLflow; without them the next command that settles the alias writes the mark again."
            raise IntegrityError(what, fix) from None


def model(target: Target) -> RegisteredModel | None:
    """A registered model with the tags that are its own; None if it is not there."""
    found = store.model(target)
    return own(found) if found else None


def own(found: RegisteredModel) -> RegisteredModel:
    """A registered model without the tags of the log of another one, which an export or a copy brought along."""
    if _made(found.tags) in {0, found.created_at}:
        return found
    return found.model_copy(update={"tags": {tag: value for tag, value in found.tags.items() if tag not in WRITTEN}})


def disown(target: Target) -> None:
    """Take the tags of another model's log off, or they would be believed as soon as the model's own stand beside them.

    The one that says whose they are goes last.
    """
    if found := store.model(target):
        for tag in WRITTEN:
            if tag in found.tags.keys() - own(found).tags.keys():
                store.untag(target, None, tag)


def recall(target: Target, found: RegisteredModel | None) -> tuple[Memory, str]:
    """What a model remembers, and the champion that a run speaks of where the model remembers none: `v3 (run 1f…)`.

    A model whose mark somebody deleted is given it back from the run of its last champion.
    """
    memory = Memory.of(found.tags if found else {})
    if memory.mark.champion:
        return memory, ""
    said, after = list(_witnesses(target)), max(memory.mark.through, memory.anew.after)
    if found and (of_it := [mark for mark, _ in said if mark.made == found.created_at and mark.through > after]):
        return memory.model_copy(update={"mark": max(of_it, key=lambda mark: mark.through)}), ""
    if memory.anew.at or not said:
        return memory, ""
    last, run_id = max(said, key=lambda each: (each[0].made, each[0].through))
    return memory, f"v{last.champion} (run {run_id})"


def unfinished_of(tags: Mapping[str, str]) -> frozenset[int]:
    """Versions that this project deleted because their files never arrived; what is no number is passed over."""
    return frozenset(int(number) for number in tags.get(UNFINISHED, "").split() if number.isdecimal())


def _made(tags: Mapping[str, str]) -> int:
    """When the model was made that the tags of a log were written for; 0 if they do not say, or cannot be read."""
    try:
        memory = Memory.of(tags)
    except IntegrityError:
        return 0
    return memory.mark.made or memory.anew.made


def _witnesses(target: Target) -> Iterator[tuple[Mark, str]]:
    """What runs say of the champions that were made of them; one that was changed by hand says nothing."""
    for run_id, text in champions.notes(target.tracking_uri, target.name).items():
        try:
            yield Mark.model_validate_json(text), run_id
        except ValidationError:
            continue
