"""What `mlops doctor` finds in a damaged state, and what it repairs."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from lifecycle import doctor, settings
from lifecycle.core.errors import AliasMovedError
from lifecycle.core.names import CHAMPION
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.inference import batch
from lifecycle.inference.manifest import BatchRequest
from lifecycle.models.external import incoming
from lifecycle.models.external.contract import Asked
from lifecycle.models.external.declared import Declared
from lifecycle.registry import log, promotion, registration, store
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.storage import files
from lifecycle.storage.files import tree_digest
from lifecycle.tracking.client import client
from tests.conftest import tree
from tests.registry.conftest import State


def promote(target: Target, model: ModelRef) -> None:
    promotion.promote(promotion.intend(target, model, promotion.champion(target), reason="better"))


def examined(state: State, *, repair: bool = False) -> dict[str, tuple[str, str]]:
    """What was looked at, in which state it is, and the message."""
    return {f.what: (f.state, f.message) for f in doctor.examine([state.config], repair=repair)}


def problems(state: State) -> list[str]:
    return [f.what for f in doctor.examine([state.config], repair=False) if f.state == "problem"]


@pytest.fixture(scope="module")
def furnished(original: State, tmp_path_factory: pytest.TempPathFactory) -> State:
    """A state with two champions in a row and a published batch of predictions."""
    state = original.moved(tmp_path_factory.mktemp("furnished") / "state")
    for model in (state.weak, state.bayes):
        promote(state.target, model)
    source = state.config.state / "in.csv"
    source.write_text("text\nprofit rose\nloss widened\n")
    champion, output = promotion.champion(state.target), state.config.predictions
    batch.infer(BatchRequest(model=champion, input=Source(uri=str(source)), text_column="text", output_root=output))
    return state


@pytest.fixture
def lived_in(furnished: State, tmp_path: Path) -> State:
    """A copy of it for each test."""
    return furnished.moved(tmp_path / "state")


def damage(path: Path) -> None:
    """Flip the last byte of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def one(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found


def test_a_state_that_is_not_there_yet_is_fine_and_stays_away(tmp_path: Path) -> None:
    config = settings.load("dev", home=tmp_path / "nowhere")
    [found] = doctor.examine([config], repair=True)
    assert (found.state, found.what) == ("ok", "database")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_registry_is_fine(config: Settings) -> None:
    assert [(found.state, found.what) for found in doctor.examine([config], repair=False)] == [("ok", "database")]


def test_a_sound_state_is_examined_in_every_part_and_left_as_it_is(lived_in: State) -> None:
    before = tree(lived_in.config.state)
    findings = doctor.examine([lived_in.config], repair=True)
    assert {found.state for found in findings} == {"ok"}
    [prediction] = [found.what for found in findings if found.what.startswith("predictions")]
    assert [found.what for found in findings] == [
        "database",
        "dev.ml.sentiment",
        "dev.ml.sentiment",
        "dataset news 1.0.0",
        prediction,
    ]
    assert prediction.startswith("predictions dev.ml.sentiment/2/")
    assert tree(lived_in.config.state) == before


def test_environments_that_share_a_state_are_examined_once(lived_in: State) -> None:
    all_three = [settings.load(env, home=lived_in.config.state) for env in ("dev", "staging", "prod")]
    assert doctor.examine(all_three, repair=False) == doctor.examine([lived_in.config], repair=False)


def interrupted_promotion(target: Target, state: State) -> None:
    promotion.register(promotion.intend(target, state.regression, promotion.champion(target), reason="killed here"))


def interrupted_rollback(target: Target, state: State) -> None:  # noqa: ARG001
    promotion.register(promotion.intend_rollback(target, None, "killed here"))


def moved_by_hand(target: Target, state: State) -> None:  # noqa: ARG001
    client(target.tracking_uri).set_registered_model_alias(target.name, CHAMPION, "1")


def removed_by_hand(target: Target, state: State) -> None:  # noqa: ARG001
    client(target.tracking_uri).delete_registered_model_alias(target.name, CHAMPION)


@pytest.mark.parametrize(
    ("change", "words", "champion"),
    [
        (interrupted_promotion, "an interrupted step left the alias at 2; the log says 3", 3),
        (interrupted_rollback, "an interrupted step left the alias at 2; the log says 1", 1),
        (moved_by_hand, "moved by hand to v1; the log says v2", 2),
        (removed_by_hand, "removed by hand; the log says v2", 2),
    ],
)
def test_an_alias_that_is_not_the_logs_is_found_and_repaired_on_request(
    lived_in: State, change: Callable[[Target, State], None], words: str, champion: int
) -> None:
    target = lived_in.target
    change(target, lived_in)
    before = store.alias_version(target)
    state, message = examined(lived_in)[target.name]
    assert state == "problem"
    assert words in message
    assert "mlops doctor --repair" in message
    assert store.alias_version(target) == before

    found = [f for f in doctor.examine([lived_in.config], repair=True) if f.what == target.name]
    assert [f.state for f in found] == ["repaired", "ok"]
    assert store.alias_version(target) == promotion.read_log(target).champion == champion
    assert problems(lived_in) == []


def test_a_step_interrupted_before_its_confirmation_is_repaired(lived_in: State) -> None:
    interrupted_promotion(lived_in.target, lived_in)
    client(lived_in.target.tracking_uri).set_registered_model_alias(lived_in.target.name, CHAMPION, "3")
    assert problems(lived_in) == [lived_in.target.name]
    doctor.examine([lived_in.config], repair=True)
    assert problems(lived_in) == []
    assert not promotion.read_log(lived_in.target).unsettled


def test_an_alias_on_a_model_that_is_none_of_ours_stays(state: State) -> None:
    mlflow, target = client(state.config.mlflow_uri), state.target
    mlflow.create_registered_model(target.name)
    mlflow.create_model_version(target.name, state.bayes.uri, state.bayes.run_id)
    mlflow.set_registered_model_alias(target.name, CHAMPION, "1")
    assert [f.state for f in doctor.examine([state.config], repair=True) if f.state != "ok"] == []
    assert store.alias_version(target) == 1
    with pytest.raises(AliasMovedError) as moved:
        promotion.champion(target)
    assert "mlops model adopt" in moved.value.fix
    assert "doctor" not in moved.value.fix


def test_an_alias_on_a_model_that_never_had_a_champion_is_removed_by_repair(state: State) -> None:
    mlflow, target = client(state.config.mlflow_uri), state.target
    registration.candidate(target, state.bayes)
    mlflow.set_registered_model_alias(target.name, CHAMPION, "1")
    assert problems(state) == [target.name]
    assert "alias removed" in next(
        f.message for f in doctor.examine([state.config], repair=True) if f.state == "repaired"
    )
    assert store.alias_version(target) is None
    assert problems(state) == []


def test_unreadable_tags_of_one_model_are_a_problem_of_that_model(lived_in: State) -> None:
    mlflow, other = client(lived_in.config.mlflow_uri), "dev.ml.another"
    mlflow.create_registered_model(other)
    mlflow.create_model_version(other, lived_in.bayes.uri, tags={log.EXPECTED: "the best"})
    assert problems(lived_in) == [other]
    found = examined(lived_in)
    assert "unreadable promotion tags" in found[other][1]
    assert found[lived_in.target.name][0] == "ok"


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:200_000] = random.Random(0).randbytes(200_000 - 8192)
    path.write_bytes(content)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced(path: Path) -> None:
    path.write_text("<html>not a database</html>" * 100)


@pytest.mark.parametrize("change", [overwritten, truncated, replaced])
def test_a_damaged_database_is_a_problem_and_ends_the_examination_of_the_registry(
    lived_in: State, change: Callable[[Path], None]
) -> None:
    change(lived_in.config.state / "mlflow.db")
    found = examined(lived_in, repair=True)
    assert found["database"][0] == "problem"
    assert "Restore it from a copy" in found["database"][1]
    assert lived_in.target.name not in found
    assert found["dataset news 1.0.0"][0] == "ok"


def rows_of_a_dataset(state: State) -> Path:
    return state.config.datasets / "news" / "1.0.0" / "split.parquet"


def quarantine_of_a_dataset(state: State) -> Path:
    return state.config.datasets / "news" / "1.0.0" / "quarantine.parquet"


def a_published_part(state: State) -> Path:
    return one(state.config.predictions, "*/*/*/part-00000.parquet")


def the_champions_files(state: State) -> Path:
    return state.folder(state.bayes) / "artifacts" / "pipeline.skops"


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (rows_of_a_dataset, "dataset news 1.0.0"),
        (quarantine_of_a_dataset, "dataset news 1.0.0"),
        (a_published_part, "predictions dev.ml.sentiment/2/"),
        (the_champions_files, "dev.ml.sentiment"),
    ],
)
@pytest.mark.parametrize("change", [damage, Path.unlink])
def test_a_file_that_is_not_what_was_published_is_the_only_problem(
    lived_in: State, place: Callable[[State], Path], what: str, change: Callable[[Path], None]
) -> None:
    change(place(lived_in))
    [found] = problems(lived_in)
    assert found.startswith(what)


@pytest.mark.parametrize("root", ["datasets", "predictions"])
def test_a_damaged_manifest_is_a_problem(lived_in: State, root: str) -> None:
    one(getattr(lived_in.config, root), "**/manifest.json").write_text("{}")
    [found] = problems(lived_in)
    assert found.startswith({"datasets": "dataset news 1.0.0", "predictions": "predictions dev.ml."}[root])


def test_what_an_interrupted_step_left_is_named_and_is_no_problem(lived_in: State) -> None:
    manifest = lived_in.config.datasets / "news" / "1.0.0" / "manifest.json"
    left = lived_in.config.datasets / "news" / f"{files.TEMPORARY}0123"
    left.mkdir()
    (left / "manifest.json").write_bytes(manifest.read_bytes())
    unfinished = a_published_part(lived_in).parents[1] / ".partial-0123-20000"
    unfinished.mkdir()
    (unfinished / "manifest.json").write_text("{}")
    assert problems(lived_in) == []
    state, message = examined(lived_in)["leftover"]
    assert state == "ok"
    assert str(left) in message


@pytest.mark.parametrize(
    ("problem", "training", "said"),
    [
        ("text-classification", "{algorithm: embedding, params: {encoder: minilm}}", "is no folder and no installed"),
        ("text-classification", "{algorithm: transformer, params: {base: /nowhere}}", "there is no such folder"),
        ("chat", "{}", "papers"),
        ("text-pair-classification", "{algorithm: 'ours:made'}", "trusted_modules"),
        ("text-pair-classification", "{params: {'C': 3.0}}", ""),
    ],
)
def test_a_definition_that_cannot_be_trained_here_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, training: str, said: str
) -> None:
    """The files and the trust that a training would ask for, before somebody waits for one."""
    monkeypatch.chdir(tmp_path)
    Path("config/models").mkdir(parents=True)
    data = "{name: nli, documents: papers}" if problem == "chat" else "{name: nli, columns: {said: text, asked: text}}"
    Path("config/models/nli.yaml").write_text(f"problem: {problem}\ndata: {data}\ntraining: {training}\n")
    found = {finding.what: finding for finding in doctor.examine([settings.load("dev")], repair=False)}
    assert (found["definition nli"].state, said in found["definition nli"].message) == (
        "problem" if said else "ok",
        True,
    )


class Bullish(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Somebody's own code."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        return ["positive"] * len(model_input)


@pytest.mark.filterwarnings("ignore")
def test_a_champion_that_cannot_be_loaded_here_is_a_problem(state: State, tmp_path: Path) -> None:
    """Code that is trusted where it was registered, and no longer by these settings."""
    signature = mlflow.models.infer_signature(pd.DataFrame({"text": ["a"]}), ["positive"])
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=Bullish(), signature=signature, pip_requirements=[])
    digest = tree_digest(tmp_path / "m")
    trusting = state.config.model_copy(update={"trusted_models": (digest,)})
    asked = Asked("news", dataset.load(state.config.datasets, "news", "1.0.0"), Declared())
    trust = state.bayes.model_copy(update={"trusted_models": (digest,)})
    model = incoming.register(trusting, "sentiment", incoming.Incoming(tmp_path / "m", "m", trust), asked, None)
    promote(store.target_of(trusting, "sentiment"), model.model_copy(update={"trusted_models": (digest,)}))
    assert {finding.state for finding in doctor.examine([trusting], repair=False)} == {"ok"}
    [problem] = [finding for finding in doctor.examine([state.config], repair=False) if finding.state == "problem"]
    assert problem.what == state.target.name
    assert f"trusted_models: [{digest}]" in problem.message
