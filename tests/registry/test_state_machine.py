"""Whatever people, hands and kills do to a model in whatever order: the registry is what a few lines of Python say.

`TEST_EXAMPLES` sets how many stories are played (default 5).
"""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from lifecycle.core.errors import AliasMovedError, ConflictError, IntegrityError, LostRaceError, NotFoundError
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.doctor.models import examine_model
from lifecycle.registry import (
    adoption,
    aliases,
    binding,
    catalog,
    log,
    missing,
    promotion,
    registration,
    removal,
    store,
)
from lifecycle.registry.promotion import Intent
from lifecycle.registry.store import Target

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "5"))
MODELS = st.sampled_from(["a", "b", "c", "d"])
ANY = st.integers(0, 30)
"""Chooses one of what is there; a rule takes it modulo the length."""

pytestmark = pytest.mark.timeout(600 + 5 * EXAMPLES)  # a failure is shrunk for five minutes


class Expected:
    """What must be: every version ever made, who is alive, which counted, who reigned."""

    def __init__(self) -> None:
        self.name = "dev.ml.machine"
        self.kinds: list[str] = []
        self.models: list[str] = []
        self.keys: dict[tuple[Any, ...], int] = {}
        self.live: set[int] = set()
        self.retired: set[int] = set()
        self.records: set[int] = set()
        self.applied: list[tuple[int, str, int]] = []
        self.confirmed: set[int] = set()
        self.line: list[int] = []
        self.aliases: dict[str, int] = {}
        self.taken: set[int] = set()
        """Deleted by a hand: what others told of them before, nobody knows any more."""
        self.falls: set[int] = set()
        """Records after which somebody else is champion."""

    @property
    def champion(self) -> int | None:
        return self.line[-1] if self.line else None

    @property
    def previous(self) -> int | None:
        return self.line[-2] if len(self.line) > 1 else None

    @property
    def head(self) -> int:
        return self.applied[-1][0] if self.applied else 0

    @property
    def changes(self) -> list[tuple[int, str, int]]:
        return [entry for entry in self.applied if entry[1] != "retire" or entry[0] in self.falls]

    @property
    def unsettled(self) -> list[str]:
        return [kind for number, kind, _ in self.applied if number not in self.confirmed]

    def explained(self) -> set[int | None]:
        """Where an interrupted step may have left the alias."""
        reigns = self.changes
        for place, (number, _, _) in enumerate(reigns):
            if number not in self.confirmed:
                before = reigns[place - 1][2] if place else None
                return {before, *(made for _, _, made in reigns[place:])}
        return set()

    def candidates(self) -> list[int]:
        return [n for n, kind in enumerate(self.kinds, 1) if kind == "candidate" and n in self.live]

    def needed(self, keep: int | None = None) -> set[int]:
        earlier = self.line[:-1]
        targets = earlier if keep is None else earlier[max(0, len(earlier) - keep) :]
        left = self.explained()
        pointed = {number for alias, number in self.aliases.items() if alias.lower() != CHAMPION or number not in left}
        return {*targets, *pointed, *self.line[-1:]} | (self.records & self.live)

    def enter(self, kind: str, model: str, key: tuple[Any, ...], *, makes: int = 0, counts: bool = True) -> int:
        """Make a version, unless one of the same key is alive."""
        if key in self.keys:
            return self.keys[key]
        self.kinds.append(kind)
        self.models.append(model)
        number = len(self.kinds)
        self.keys[key] = number
        self.live.add(number)
        target = makes or number
        if kind in {"promotion", "rollback", "adopt"} and counts and target not in self.retired:
            self.applied.append((number, kind, target))
            if kind == "rollback" and target in self.line:
                while self.line[-1] != target:
                    self.line.pop()
            else:
                self.line.append(target)
        return number

    def retire(self, numbers: set[int]) -> int:
        number = self.enter("retire", "", ("retire", len(self.kinds)))
        self.records.add(number)
        self.applied.append((number, "retire", 0))
        self.retired |= numbers
        left = [each for each in self.line if each not in numbers]
        self.line = [each for place, each in enumerate(left) if not place or left[place - 1] != each]
        return number

    def retire_missing(self, number: int) -> None:
        """A hand has deleted a version, and a person records it."""
        self.taken.add(number)
        self.live.discard(number)
        self.keys = {key: each for key, each in self.keys.items() if each != number}
        self.aliases = {alias: each for alias, each in self.aliases.items() if each != number}
        was = self.champion
        if (entry := self.retire({number})) and was == number:
            self.falls.add(entry)
            self.applied[-1] = (entry, "retire", self.champion or 0)

    def settle(self) -> None:
        if self.champion is None:
            self.aliases.pop(CHAMPION, None)
        else:
            self.aliases[CHAMPION] = self.champion
        self.confirmed |= {number for number, _, _ in self.applied}

    def finish(self) -> None:
        gone = self.live & self.retired
        self.live -= gone
        self.keys = {key: number for key, number in self.keys.items() if number not in gone}
        self.aliases = {alias: number for alias, number in self.aliases.items() if number not in gone}


class RegistryMachine(RuleBasedStateMachine):
    """Each rule does something to a real registry and to what must be; then both are compared."""

    def __init__(self, migrated: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        shutil.copy(migrated, self.folder / "mlflow.db")
        self.must = Expected()
        self.history: list[dict[str, Any]] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def target(self) -> Target:
        return Target(tracking_uri=f"sqlite:///{self.folder / 'mlflow.db'}", name=self.must.name)

    def model(self, name: str) -> ModelRef:
        """A model of which the registry needs no more than where it lies."""
        uri = f"file:///models/{name}"
        return ModelRef(tracking_uri=self.target.tracking_uri, uri=uri, run_id="", artifact_sha256=name)

    def intent(self, kind: str, model: ModelRef, version: int | None, expected: int | None, head: int) -> Intent:
        return Intent(
            target=self.target,
            model=model,
            kind=kind,
            version=version,
            expected=expected,
            head=head,
            reason=f"{kind} of {model.artifact_sha256}",
        )

    def entered(self, kind: str, model: str, version: int | None, expected: int | None, head: int) -> int:
        """What entering such an intent must lead to."""
        key = (kind, self.must.name, model, version, expected, head)
        return self.must.enter(kind, model, key, makes=version or 0, counts=expected == self.must.champion)

    def raw_alias(self, alias: str, number: int) -> None:
        """Past everything of ours, as a hand or a slow writer would."""
        store.mlflow_of(self.target).set_registered_model_alias(self.target.name, alias, str(number))
        self.must.aliases[alias] = number

    @rule(name=MODELS)
    def register(self, name: str) -> None:
        number = registration.candidate(self.target, self.model(name))
        assert number == self.must.enter("candidate", name, ("candidate", self.must.name, name))

    @rule(name=MODELS)
    def promote_a_model(self, name: str) -> None:
        champion = self.must.champion
        expected = promotion.reference(self.target, champion) if champion else None
        done = promotion.promote(promotion.intend(self.target, self.model(name), expected, reason="better"))
        number = self.entered("promotion", name, None, champion, self.must.head)
        self.must.settle()
        assert (done.champion, done.entry, done.changed) == (number, number, True)

    @precondition(lambda self: self.must.candidates())
    @rule(which=ANY)
    def promote_a_candidate(self, which: int) -> None:
        """One that a deletion was interrupted on loses."""
        found, champion, head = self.must.candidates(), self.must.champion, self.must.head
        number = found[which % len(found)]
        assume(number != champion)
        model = promotion.reference(self.target, number)
        intent = self.intent("promotion", model, number, champion, head)
        self.entered("promotion", model.artifact_sha256, number, champion, head)
        if number in self.must.retired:
            with pytest.raises(LostRaceError):
                promotion.promote(intent)
        else:
            assert promotion.promote(intent).champion == number
        self.must.settle()

    @rule(name=MODELS, which=ANY, back=st.integers(0, 3))
    def promote_against_a_former_champion(self, name: str, which: int, back: int) -> None:
        """Unless it is the same promotion once more, which is told what has become of it."""
        others = [n or None for n in range(len(self.must.kinds) + 1) if (n or None) != self.must.champion]
        assume(others)
        expected, head = others[which % len(others)], max(0, self.must.head - back)
        number = self.entered("promotion", name, None, expected, head)
        intent = self.intent("promotion", self.model(name), None, expected, head)
        if number in {entry for entry, _, _ in self.must.applied}:
            assert promotion.promote(intent).champion == self.must.champion
        else:
            with pytest.raises(LostRaceError):
                promotion.promote(intent)
        self.must.settle()

    @rule(to=st.one_of(st.none(), ANY))
    def roll_back(self, to: int | None) -> None:
        to_version = None if to is None else 1 + to % (len(self.must.kinds) + 1)
        before = self.must.unsettled
        stated: Any = None
        refusal: type[Exception] | None = None
        try:
            stated = promotion.intend_rollback(self.target, to_version, "rollback")
        except (NotFoundError, ConflictError) as error:
            refusal = type(error)
        self.must.settle()
        goal = to_version or self.must.previous
        if self.must.champion is None:
            assert refusal is NotFoundError
        elif (before and before[-1] == "rollback") or to_version == self.must.champion:
            assert stated.champion == self.must.champion
        elif goal not in {made for _, _, made in self.must.changes} - self.must.retired:
            assert refusal is ConflictError
        else:
            champion, head = self.must.champion, self.must.head
            assert promotion.promote(stated).champion == goal
            self.entered("rollback", stated.model.artifact_sha256, goal, champion, head)
            self.must.settle()

    @precondition(lambda self: self.must.kinds)
    @rule(which=ANY)
    def delete_version(self, which: int) -> None:
        number = 1 + which % len(self.must.kinds)
        if number not in self.must.retired and number in self.must.needed():
            with pytest.raises(ConflictError, match="stays"):
                removal.delete_version(self.target, number, reason="delete")
            return
        assert number in removal.delete_version(self.target, number, reason="delete").deleted
        if number not in self.must.retired:
            self.must.retire({number})
        self.must.settle()
        self.must.finish()

    @precondition(lambda self: len(self.must.live - self.must.records) > 1)
    @rule(which=ANY, ask=st.booleans())
    def delete_by_hand_and_record(self, which: int, ask: bool) -> None:
        """What others need to be told of it is known; of an alias that was moved by hand only that it was moved."""
        promotion.settle(self.target)
        self.must.settle()
        moved = {number for number, kind, _ in self.must.applied if kind == "adopt"}
        found = sorted(self.must.live - self.must.records - self.must.retired - moved)
        assume(found)
        number = found[which % len(found)]
        store.mlflow_of(self.target).delete_model_version(self.target.name, str(number))
        if ask:
            with pytest.raises(IntegrityError, match=f"v{number} is missing"):
                promotion.champion(self.target)
            assert promotion.read_log(self.target).champion == self.must.champion
        recorded = missing.retire(self.target, number, reason="by hand")
        self.must.retire_missing(number)
        self.must.settle()
        assert (recorded.champion, recorded.left) == (self.must.champion, ())

    @precondition(lambda self: self.must.live)
    @rule(keep=st.integers(0, 3))
    def clean_up(self, keep: int) -> None:
        since = max((number for number, _, _ in self.must.changes), default=0)
        newer = {number for number in self.must.candidates() if number > since}
        planned = self.must.live - self.must.needed(keep) - newer
        done = removal.cleanup(self.target, keep, reason="cleanup")
        assert set(done.deleted) == planned | (self.must.live & self.must.retired)
        if planned - self.must.retired:
            self.must.retire(planned - self.must.retired)
        self.must.settle()
        self.must.finish()

    @rule(suffix=st.sampled_from(["", "2", "3"]))
    def rename(self, suffix: str) -> None:
        name = f"dev.ml.machine{suffix}"
        if not self.must.kinds:
            with pytest.raises(NotFoundError):
                removal.rename(self.target, name)
        elif self.must.champion or name == self.must.name:
            with pytest.raises(ConflictError):
                removal.rename(self.target, name)
        else:
            removal.rename(self.target, name)
            self.must.name = name

    @precondition(lambda self: self.must.live)
    @rule(which=ANY, then=st.sampled_from(["adopt", "adopt", "repair", "read"]))
    def move_the_champion_by_hand(self, which: int, then: str) -> None:
        """Nothing goes on until it is either recorded or undone."""
        found, before = sorted(self.must.live), dict(self.must.aliases)
        number = found[which % len(found)]
        assume(number != self.must.champion and number not in self.must.explained())
        self.raw_alias(CHAMPION, number)
        if then == "adopt" and number not in self.must.retired:
            champion, head = self.must.champion, self.must.head
            intent = adoption.intend_adoption(self.target, "adopt")
            assert adoption.enter_adoption(intent).champion == number
            model = promotion.reference(self.target, number).artifact_sha256
            self.entered("adopt", model, number, champion, head)
            self.must.settle()
            return
        if then == "read":
            with pytest.raises(AliasMovedError):
                promotion.champion(self.target)
        promotion.settle(self.target, override_hand=True)
        self.must.settle()
        assert {a: n for a, n in before.items() if a != CHAMPION}.items() <= self.must.aliases.items()

    @precondition(lambda self: self.must.live)
    @rule(which=ANY, alias=st.sampled_from(["Champion", "CHALLENGER", "Shadow"]))
    def set_an_alias_by_hand_in_another_case(self, which: int, alias: str) -> None:
        found = sorted(self.must.live)
        self.raw_alias(alias, found[which % len(found)])

    @precondition(lambda self: self.must.live)
    @rule(which=ANY)
    def name_a_challenger(self, which: int) -> None:
        found = sorted(self.must.live)
        number = found[which % len(found)]
        aliases.put(self.target, "challenger", number)
        self.must.aliases.pop("CHALLENGER", None)
        self.must.aliases["challenger"] = number

    @rule(name=MODELS, left=st.sampled_from(["entered", "alias set", "slow writer"]), which=ANY)
    def kill_a_promotion(self, name: str, left: str, which: int) -> None:
        champion, head = self.must.champion, self.must.head
        number = promotion.register(self.intent("promotion", self.model(name), None, champion, head))
        assert number == self.entered("promotion", name, None, champion, head)
        if left == "alias set":
            self.raw_alias(CHAMPION, number)
        if left == "slow writer":
            older = sorted(each for each in self.must.explained() if each in self.must.live)
            self.raw_alias(CHAMPION, older[which % len(older)])

    @precondition(lambda self: self.must.previous)
    @rule()
    def kill_a_rollback(self) -> None:
        champion, head, goal = self.must.champion, self.must.head, self.must.previous
        assert goal
        model = promotion.reference(self.target, goal)
        number = promotion.register(self.intent("rollback", model, goal, champion, head))
        assert number == self.entered("rollback", model.artifact_sha256, goal, champion, head)

    @precondition(lambda self: self.must.live - self.must.needed() - self.must.retired)
    @rule(which=ANY, confirmed=st.booleans())
    def kill_a_deletion(self, which: int, confirmed: bool) -> None:
        found = sorted(self.must.live - self.must.needed() - self.must.retired)
        number = found[which % len(found)]
        champion = promotion.read_log(self.target).champion
        removal._retire(self.target, champion, [number], "delete")
        entry = self.must.retire({number})
        self.must.settle()
        if not confirmed:
            store.untag(self.target, entry, log.OUTCOME)
            self.must.confirmed.remove(entry)

    @rule()
    def read_the_champion(self) -> None:
        found = promotion.champion(self.target)
        self.must.settle()
        assert (found.version if found else None) == self.must.champion

    @precondition(lambda self: self.must.live)
    @rule(which=ANY, elsewhere=st.booleans())
    def copy_with_mlflow(self, which: int, elsewhere: bool) -> None:
        """The tags come along, also those of the first champion of another model."""
        found = sorted(self.must.live)
        source = f"models:/{self.target.name}/{found[which % len(found)]}"
        if elsewhere:
            other = self.target.named("staging.ml.machine")
            intent = self.intent("promotion", self.model("a"), None, None, 0)
            promotion.promote(intent.model_copy(update={"target": other}))
            source = f"models:/{other.name}/1"
        before = promotion.read_log(self.target).champion
        store.mlflow_of(self.target).copy_model_version(source, self.target.name)
        self.must.enter("candidate", source, ("copy", len(self.must.kinds)))
        assert promotion.read_log(self.target).champion == before == self.must.champion

    @precondition(lambda self: self.must.champion)
    @rule(which=ANY, then=st.sampled_from(["outcome", "expected", "expected", "place"]))
    def change_the_tags_of_an_entry_by_hand(self, which: int, then: str) -> None:
        """It is told, or has no bearing on who is champion; then they are restored."""
        promotion.settle(self.target)
        self.must.settle()
        entries = [number for number, _, _ in self.must.applied if number in self.must.live]
        assume(entries)
        number = entries[which % len(entries)]
        tag = {"outcome": log.OUTCOME, "expected": log.EXPECTED, "place": log.PLACE}[then]
        value = store.version(self.target, number).tags[tag]
        if then == "expected":
            store.tag(self.target, number, tag, "77")
        else:
            store.untag(self.target, number, tag)
        try:
            assert promotion.champion(self.target).version == self.must.champion
        except IntegrityError:
            assert then != "outcome"
        store.tag(self.target, number, tag, value)

    @precondition(lambda self: self.must.kinds)
    @rule()
    def repair(self) -> None:
        """Afterwards nothing but the files, which were never there, is left to complain about."""
        list(examine_model(self.target, repair=True))
        self.must.settle()
        for alias in [each for each in self.must.aliases if each != each.lower()]:
            number = self.must.aliases.pop(alias)
            if alias.lower() != CHAMPION:
                self.must.aliases.setdefault(alias.lower(), number)
        self.must.finish()
        left = [found.message for found in examine_model(self.target, repair=False) if found.state != "ok"]
        assert all("artifacts" in message for message in left), left

    @invariant()
    def the_registry_is_what_it_must_be(self) -> None:
        must, found, live = self.must, store.model(self.target), store.versions(self.target)
        now, numbers = promotion.read_log(self.target), {each.version for each in live}
        assert numbers == must.live
        assert (now.champion, now.line, now.retired) == (must.champion, tuple(must.line), must.retired)
        assert [e.number for e in now.applied] == [number for number, _, _ in must.applied]
        kinds = {number: kind for number, kind, _ in must.applied if number not in must.taken}
        assert {e.number: e.kind for e in now.applied if e.number in kinds} == kinds, (
            "of one that a hand took it is guessed"
        )
        assert {entry.number for entry in now.unsettled} == {n for n, _, _ in must.applied} - must.confirmed
        assert (found.aliases if found else {}) == must.aliases
        assert {*now.line, *([now.champion] if now.champion else [])} <= numbers, "a champion is not there"
        assert now.previous is None or now.previous != now.champion
        keys = [each.tags[log.KEY] for each in binding.versions(self.target) if not each.copy_of]
        assert len(keys) == len(set(keys))

    @invariant()
    def history_only_grows(self) -> None:
        """What was told of a version is told again, deleted or not."""
        if not self.must.kinds:
            return
        told = [line.model_dump() for line in catalog.history(self.target)]
        kinds = [line["kind"] for line in told]
        known = [kind for number, kind in enumerate(kinds, 1) if number not in self.must.taken]
        assert [line["version"] for line in told] == list(range(1, len(self.must.kinds) + 1))
        assert known == [kind for number, kind in enumerate(self.must.kinds, 1) if number not in self.must.taken]
        for before, line in zip(self.history, told, strict=False):
            if line["version"] in self.must.taken:
                assert line["deleted"]
                continue
            assert line == before | {"deleted": line["deleted"]}
            assert line["deleted"] >= before["deleted"]
        self.history = told


def test_a_clean_up_after_an_interrupted_rollback_leaves_a_log_that_can_be_read(migrated: Path) -> None:
    """It deletes the rollback's entry, of which nobody had confirmed yet that it counts."""
    machine = RegistryMachine(migrated)
    machine.promote_a_model("a")
    machine.promote_a_model("b")
    machine.kill_a_rollback()
    for step in (partial(machine.clean_up, 0), machine.read_the_champion, partial(machine.roll_back, None)):
        step()
        machine.the_registry_is_what_it_must_be()
    machine.teardown()


def test_whatever_happens_in_whatever_order_the_registry_is_what_it_must_be(migrated: Path) -> None:
    run_state_machine_as_test(
        partial(RegistryMachine, migrated),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=15,
            deadline=None,
            derandomize=False,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
