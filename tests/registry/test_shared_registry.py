"""The registry is shared: what plain MLflow does to it opens no gate, moves no champion unseen, and is told truly.

Each row of `shared_calls` against each command that reads or moves a champion; the same table stands in the docs.
"""

import re
import shlex
from collections.abc import Callable

import pytest
from _pytest.mark.structures import ParameterSet
from typer.testing import CliRunner

from cli import main
from lifecycle import doctor
from lifecycle.core.errors import AliasMovedError, IntegrityError, LostRaceError, MlopsError
from lifecycle.core.references import ModelRef
from lifecycle.models import loading
from lifecycle.registry import catalog, promotion, removal, store
from lifecycle.registry.store import Target
from tests.conftest import ROOT, exhaustive
from tests.registry.conftest import State, enter_by_hand, set_by_hand
from tests.registry.shared_calls import ROWS, Row, client


@pytest.fixture(autouse=True)
def _no_slower_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes beside these commands: an alias that a hand moved need not be looked at for seconds."""
    monkeypatch.setattr(promotion, "LASTING_SECONDS", 0.1)
    monkeypatch.setattr(promotion, "LASTING_SECONDS_REMOTE", 0.1)


def named(value: object) -> str:
    return f"{value.call} {value.does}" if isinstance(value, Row) else str(value)


def first_of_each(rows: list[Row]) -> list[Row]:
    """A row for each call: what a server answers differs by the call, not by what it was given."""
    return list({row.call: row for row in reversed(rows)}.values())


def on_a_server(row: Row, *way: object) -> ParameterSet:
    """Once more on a server."""
    return pytest.param("server", row, *way, marks=exhaustive)


CASES = [("sqlite", row) for row in ROWS] + [on_a_server(row) for row in first_of_each(ROWS)]
WAYS = [("sqlite", row, *way) for row in ROWS for way in row.ways]
WAYS += [on_a_server(row, *row.ways[0]) for row in first_of_each([row for row in ROWS if row.ways])]
ASKED: dict[str, Callable[[Target], object]] = {
    "the champion (infer, predict, serve, train, promote, gate check)": promotion.champion,
    "rollback --rehearse": lambda target: promotion.intend_rollback(target, None, "", rehearse=True),
    "model cleanup --dry-run": lambda target: removal.plan_cleanup(target, 0),
    "history": catalog.history,
    "model list": lambda target: catalog.models(target.tracking_uri, target.registry_uri),
    "model show": catalog.show,
}
LOOKING = ("history", "model list", "model show", "model cleanup --dry-run")


def run(state: State, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main.app, arguments, env={"MLOPS_TRACKING_URI": state.config.mlflow_uri})
    ended = done.exception.exit_code if isinstance(done.exception, MlopsError) else done.exit_code
    assert ended == code, (arguments, done.output, done.exception)
    return done.output


def pasted(text: str, command: str) -> list[str]:
    """A command as a message names it, with what only a person can say."""
    found = re.search(rf"{re.escape(command)}(?: --[a-z-]+ (?:'[^']*'|[^\s']+))*", text)
    assert found, (command, text)
    words = shlex.split(found[0].rstrip(".").replace("…", "it is as it should be"))[1:]
    return [*words, "--yes"] if "retire-missing" in words else words


def others(target: Target) -> dict[str, object]:
    """Everything about the models that are not ours."""
    found = {}
    for name in store.names(target.tracking_uri):
        if not name.endswith(("ml.sentiment", "ml.tone")):
            other = target.named(name)
            found[name] = (store.model(other), store.versions(other))
    return found


def make_others(state: State, target: Target) -> None:
    """A model of another team: its own champion, a gap, an alias in capitals, and a copy of an entry of ours."""
    other = target.named("example-model")
    for _ in range(3):
        enter_by_hand(state, state.bayes, other)
    client(target).copy_model_version(f"models:/{target.name}/2", other.name)
    set_by_hand(other, 3)
    set_by_hand(other, 1, "Shadow")
    client(target).delete_model_version(other.name, "2")


def outcome(ask: Callable[[Target], object], target: Target) -> object:
    """What a step answers, or the error of ours that it ends with; any other error ends the test."""
    try:
        return ask(target)
    except MlopsError as error:
        return error


@pytest.mark.parametrize(("backend", "row"), CASES, indirect=["backend"], ids=named)
def test_no_call_opens_the_gate_or_moves_a_champion_unseen(backend: State, three: Target, row: Row) -> None:
    make_others(backend, three)
    row.do(backend, three)
    before = others(three)
    for name, ask in ASKED.items():
        answer = outcome(ask, three)
        if row.told and name not in LOOKING:
            assert isinstance(answer, IntegrityError | AliasMovedError), (name, answer)
            assert re.search(row.told, str(answer)), (name, answer)
        if not row.told:
            assert not isinstance(answer, MlopsError), (name, answer)
        if isinstance(answer, removal.Removal):
            assert not {3, store.alias_version(three)} & set(answer.deleted)
    if not row.told:
        found = promotion.champion(three)
        assert (found and found.version, store.alias_version(three)) == (row.champion, row.champion)
    with pytest.raises((LostRaceError, IntegrityError)):
        promotion.intend(three, backend.weak, None, reason="as if there were no champion")
    for repair in (False, True):
        doctor.examine([backend.config], repair=repair)
    after = outcome(promotion.champion, three)
    assert isinstance(after, IntegrityError) or (isinstance(after, ModelRef) and after.version == 3)
    assert others(three) == before


@pytest.mark.parametrize(("backend", "row", "command", "champion"), WAYS, indirect=["backend"], ids=named)
def test_the_way_out_that_a_message_names_works_when_it_is_pasted(
    backend: State, three: Target, row: Row, command: str, champion: int | None
) -> None:
    row.do(backend, three)
    words = [str(finding.message) for finding in doctor.examine([backend.config], repair=False)]
    words.append(str(outcome(promotion.champion, three)))
    run(backend, *pasted(next(text for text in words if command in text), command))
    found = promotion.champion(three)
    assert ((found and found.version), store.alias_version(three)) == (champion, champion)
    if found:
        loading.verify(found)


def test_a_model_with_capitals_is_addressed_by_its_name(in_sqlite: State) -> None:
    target = in_sqlite.target.named("dev.ml.Tone-Detector")
    enter_by_hand(in_sqlite, in_sqlite.bayes, target)
    set_by_hand(target, 1)
    named = ("--model-name", "Tone-Detector", "--env", "dev")
    run(in_sqlite, "model", "adopt", *named, "--reason", "it is ours now", code=7)
    run(in_sqlite, "model", "register", *named, "--source", "models:/dev.ml.Tone-Detector/1")
    set_by_hand(target, 2)
    run(in_sqlite, "model", "adopt", *named, "--reason", "it is ours now")
    assert "Tone-Detector" in run(in_sqlite, "history", *named)
    assert "positive" in run(in_sqlite, "model", "predict", *named, "--text", "profit rose")


def test_the_documentation_says_of_every_call_whether_it_is_noticed() -> None:
    page = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
    section = page.split("## What plain MLflow does to it")[1].split("\n## ")[0]
    unmoved, noticed = section.split("- Unmoved")[1].split("- Noticed")
    for call in {row.call for row in ROWS}:
        told = [bool(row.told) for row in ROWS if row.call == call]
        assert f"`{call}`" in (noticed if any(told) and call != "copy_model_version" else unmoved), call
