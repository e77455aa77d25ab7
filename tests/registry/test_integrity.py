"""What is loaded is what was registered: every change to a model's files is noticed before anything runs.

Promise: A changed model file is refused before anything is deserialised; a planted model is run by no command and
opens no file (also `tests/registry/test_planted.py`).
"""

import io
import os
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
import skops.io
import yaml

from lifecycle.core.errors import IntegrityError
from lifecycle.core.references import ModelRef
from lifecycle.models import loading
from lifecycle.registry import log, promotion
from lifecycle.tracking.client import client
from tests.registry.conftest import State

FLIPS = 300
TEXTS = pd.DataFrame({"text": ["profit rose to a record", "loss widened"]})


class Payload:
    """Unpickling it makes a file: the canary of a test that nothing was unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def pipeline(folder: Path) -> Path:
    return folder / "artifacts" / "pipeline.skops"


def truncate(folder: Path, canary: Path) -> None:  # noqa: ARG001
    os.truncate(pipeline(folder), pipeline(folder).stat().st_size // 2)


def empty(folder: Path, canary: Path) -> None:  # noqa: ARG001
    pipeline(folder).write_bytes(b"")


def remove(folder: Path, canary: Path) -> None:  # noqa: ARG001
    pipeline(folder).unlink()


def remove_everything(folder: Path, canary: Path) -> None:  # noqa: ARG001
    shutil.rmtree(folder)


def add_a_file(folder: Path, canary: Path) -> None:  # noqa: ARG001
    (folder / "artifacts" / "more.txt").write_text("more")


def rename_a_file(folder: Path, canary: Path) -> None:  # noqa: ARG001
    (folder / "requirements.txt").rename(folder / "constraints.txt")


def become_a_pickle(folder: Path, canary: Path) -> None:
    pipeline(folder).write_bytes(pickle.dumps(Payload(canary)))


def become_another_flavour(folder: Path, canary: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(Payload(canary)))
    described = yaml.safe_load((folder / "MLmodel").read_text())
    described["flavors"] = {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(described))


def bring_code(folder: Path, canary: Path) -> None:
    """A model's own code runs wherever it is loaded as MLflow would."""
    evil = f"import os\nos.mkdir({str(canary)!r})\n"
    (folder / "model.py").write_text(evil + (folder / "model.py").read_text())


TAMPER = [truncate, empty, remove, remove_everything, add_a_file, rename_a_file]
ATTACKS = [become_a_pickle, become_another_flavour, bring_code]


def redigested(state: State, model: ModelRef) -> ModelRef:
    """A reference by someone who registered the present files, whatever they are."""
    return model.model_copy(update={"artifact_sha256": loading.artifact_digest(state.folder(model))})


@pytest.mark.parametrize("name", ["bayes", "regression", "weak"])
def test_an_untouched_model_loads_and_predicts(state: State, name: str) -> None:
    """The forest holds a type beyond skops' defaults, which is on our list."""
    model = loading.load(getattr(state, name))
    assert model.predict(None, TEXTS)["score"].between(0, 1).all()


def files_of(folder: Path) -> list[Path]:
    """What counts of a model: MLmodel, pipeline, code, requirements and the rest; not what MLflow writes beside it."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in loading.NOT_CONTENT)


def refused(model: ModelRef) -> None:
    with pytest.raises(IntegrityError, match="the files digest to") as error:
        loading.load(model)
    assert error.value.exit_code == 7


def test_every_flipped_bit_of_every_file_is_noticed(state: State) -> None:
    paths, rng = files_of(state.folder(state.bayes)), random.Random(8)
    assert {"MLmodel", "pipeline.skops", "model.py", "requirements.txt"} <= {path.name for path in paths}
    for number in range(FLIPS):
        path = paths[number % len(paths)]
        content = path.read_bytes()
        position, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
        refused(state.bayes)
        path.write_bytes(content)
    loading.load(state.bayes)


def test_a_file_that_is_gone_or_stands_in_for_another_is_noticed(state: State) -> None:
    """Each file removed, exchanged with each other file of the model, and replaced by another model's."""
    folder, other = state.folder(state.bayes), state.folder(state.regression)
    contents = {path: path.read_bytes() for path in files_of(folder)}
    foreign = {path: (other / path.relative_to(folder)).read_bytes() for path in contents}
    differing = [path for path in contents if foreign[path] != contents[path]]
    assert {"MLmodel", "pipeline.skops"} <= {path.name for path in differing}
    changes: list[dict[Path, bytes | None]] = [{path: None} for path in contents]
    changes += [{path: foreign[path]} for path in differing]
    changes += [
        {one: contents[two], two: contents[one]}
        for one, two in combinations(contents, 2)
        if contents[one] != contents[two]
    ]
    for change in changes:
        for path, content in change.items():
            path.unlink() if content is None else path.write_bytes(content)
        refused(state.bayes)
        for path in change:
            path.write_bytes(contents[path])
    loading.load(state.bayes)


@pytest.mark.parametrize("change", [*TAMPER, *ATTACKS])
def test_changed_files_are_refused_before_anything_of_them_runs(
    state: State, canary: Path, change: Callable[[Path, Path], None]
) -> None:
    change(state.folder(state.bayes), canary)
    for step in (loading.load, loading.verify):
        with pytest.raises(IntegrityError) as refused:
            step(state.bayes)
        assert refused.value.exit_code == 7
    assert not canary.exists()


@pytest.mark.parametrize("change", [truncate, empty, remove, become_a_pickle, become_another_flavour])
def test_a_foreign_form_is_refused_even_with_its_own_digest(
    state: State, canary: Path, change: Callable[[Path, Path], None]
) -> None:
    change(state.folder(state.bayes), canary)
    with pytest.raises(IntegrityError):
        loading.load(redigested(state, state.bayes))
    assert not canary.exists()


def test_code_that_travels_with_a_model_is_not_run(state: State, canary: Path) -> None:
    bring_code(state.folder(state.bayes), canary)
    loading.load(redigested(state, state.bayes)).predict(None, TEXTS)
    assert not canary.exists()


@pytest.mark.parametrize("declared", [False, True])
def test_a_type_that_is_not_on_our_list_is_refused_whatever_the_model_declares(
    state: State, canary: Path, declared: bool
) -> None:
    folder = state.folder(state.bayes)
    skops.io.dump({"pipeline": partial(os.mkdir, str(canary))}, pipeline(folder))
    if declared:
        untrusted = skops.io.get_untrusted_types(file=pipeline(folder))
        described = yaml.safe_load((folder / "MLmodel").read_text())
        described["flavors"]["python_function"]["skops_trusted_types"] = untrusted
        (folder / "MLmodel").write_text(yaml.safe_dump(described))
    with pytest.raises(IntegrityError, match=r"types that are not trusted: .*mkdir"):
        loading.load(redigested(state, state.bayes))
    assert not canary.exists()


def test_a_swapped_description_is_refused(state: State) -> None:
    """The same pipeline under the description of another model is not what was registered."""
    shutil.copy(state.folder(state.regression) / "MLmodel", state.folder(state.bayes) / "MLmodel")
    with pytest.raises(IntegrityError, match="the files digest to"):
        loading.load(state.bayes)


def test_a_model_without_a_recorded_digest_is_refused(state: State) -> None:
    target = state.target
    mlflow = client(target.tracking_uri)
    mlflow.create_registered_model(target.name)
    mlflow.create_model_version(target.name, state.bayes.uri, state.bayes.run_id, tags={log.EXPECTED: log.NONE})
    with pytest.raises(IntegrityError, match="has no digest"):
        loading.load(promotion.champion(target))


def test_a_version_whose_files_never_were_there_is_refused(state: State) -> None:
    """MLflow enters such a version and calls it READY."""
    mlflow, target = client(state.config.mlflow_uri), state.target
    mlflow.create_registered_model(target.name)
    tags = {log.ARTIFACT: state.bayes.artifact_sha256}
    mlflow.create_model_version(target.name, "file:///does/not/exist", tags=tags)
    with pytest.raises(IntegrityError, match=r"artifacts (cannot be read|are missing)"):
        loading.load(promotion.reference(target, 1))


def test_the_private_copy_is_what_was_verified(state: State) -> None:
    """Between the check and the use nobody can change the files: what is used is a copy, gone afterwards."""
    with loading.private_copy(state.bayes) as folder:
        pipeline(state.folder(state.bayes)).write_bytes(b"changed meanwhile")
        assert loading.artifact_digest(folder) == state.bayes.artifact_sha256
        loading.load_verified(folder, state.bayes).predict(None, TEXTS)
        assert folder.resolve() != state.folder(state.bayes).resolve()
    assert not folder.exists()


def test_the_canary_of_these_tests_sings(canary: Path) -> None:
    pickle.load(io.BytesIO(pickle.dumps(Payload(canary))))  # noqa: S301
    assert canary.exists()
