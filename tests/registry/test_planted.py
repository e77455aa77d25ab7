"""A version that somebody entered past every check, with a good version's tags and the champion alias: nothing runs it.

Each plant is a copy of a good model, changed, with the digest that it then has. Whatever is done with it ends in one
line, no code of it runs, and it takes neither time nor memory that it asks for.
"""

import io
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest
import skops.io
import yaml

from lifecycle.core.errors import ConfigError, ConflictError, IntegrityError, MlopsError
from lifecycle.core.references import ModelRef
from lifecycle.models import loading
from lifecycle.problems.text_classification.model import TRUSTED_TYPES
from lifecycle.registry import catalog, log, promotion, registration, store
from lifecycle.tracking.client import client
from tests.registry.conftest import State
from tests.registry.test_integrity import Payload, pipeline

Plant = Callable[[Path, Path], None]
"""Changes the folder of a model, so that a canary is made should anything in it be run."""


def described(folder: Path, **flavour: object) -> None:
    """Give the one flavour of a model other fields."""
    found = yaml.safe_load((folder / "MLmodel").read_text())
    found["flavors"]["python_function"] |= flavour
    (folder / "MLmodel").write_text(yaml.safe_dump(found))


def evil_module(folder: Path, canary: Path) -> str:
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "planted.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    return "planted"


def loader_module(folder: Path, canary: Path) -> None:
    described(folder, loader_module=evil_module(folder, canary), code="code")


def loader_of_mlflow(folder: Path, canary: Path) -> None:
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Payload(canary)))
    described(folder, loader_module="mlflow.pyfunc.model", python_model="python_model.pkl")


def sklearn_flavour(folder: Path, canary: Path) -> None:
    joblib.dump(Payload(canary), folder / "model.pkl")
    found = yaml.safe_load((folder / "MLmodel").read_text())
    found["flavors"] = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}
    (folder / "MLmodel").write_text(yaml.safe_dump(found))


def pickle_as_pipeline(folder: Path, canary: Path) -> None:
    pipeline(folder).unlink()
    pipeline(folder).with_suffix(".pkl").write_bytes(pickle.dumps(Payload(canary)))


def pickle_beside(folder: Path, canary: Path) -> None:
    (folder / "artifacts" / "more.pkl").write_bytes(pickle.dumps(Payload(canary)))


def pickle_named_skops(folder: Path, canary: Path) -> None:
    pipeline(folder).write_bytes(pickle.dumps(Payload(canary)))


def pickled_array(folder: Path, canary: Path) -> None:
    """An array of objects is a pickle to numpy."""
    replace_in_skops(folder, ".npy", _array(np.array([Payload(canary)], dtype=object)))


def partial_in_skops(folder: Path, canary: Path) -> None:
    skops.io.dump({"a": partial(os.mkdir, str(canary))}, pipeline(folder))


def schema(folder: Path, text: str, compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(pipeline(folder), "w", compression) as archive:
        archive.writestr("schema.json", text)


def type_trusted_by_its_beginning(folder: Path, canary: Path) -> None:  # noqa: ARG001
    node = '{"__class__": "Treehouse", "__module__": "sklearn.tree._tree", "__loader__": "TypeNode", "__id__": 1}'
    schema(folder, node[:-1] + ', "protocol": 2, "_skops_version": "0.16.0"}')


def function_as_a_type(folder: Path, canary: Path) -> None:
    content = f'{{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "\\"{canary}\\""}}'
    schema(
        folder,
        '{"__class__": "mkdir", "__module__": "os", "__loader__": "OperatorFuncNode", "__id__": 1, "attrs": '
        f'{content}, "protocol": 2, "_skops_version": "0.16.0"}}',
    )


def texts_that_name_files(folder: Path, canary: Path) -> None:  # noqa: ARG001
    """Every type is trusted; what it is told to do is not."""
    found = skops.io.load(pipeline(folder), trusted=TRUSTED_TYPES)
    vectoriser = found.steps[0][1].transformers_[0][1]
    (vectoriser.steps[0][1] if hasattr(vectoriser, "steps") else vectoriser).input = "filename"
    skops.io.dump(found, pipeline(folder))


def no_classifier(folder: Path, canary: Path) -> None:  # noqa: ARG001
    skops.io.dump({"a": [1, 2]}, pipeline(folder))


def deep_schema(folder: Path, canary: Path) -> None:  # noqa: ARG001
    schema(folder, "[" * 100_000)


def bomb(folder: Path, canary: Path) -> None:  # noqa: ARG001
    schema(folder, "[" * (1 << 27))


def nested_bomb(folder: Path, canary: Path) -> None:  # noqa: ARG001
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", b"\0" * (1 << 27))
    with zipfile.ZipFile(pipeline(folder), "a") as archive:
        archive.writestr("1.npz", inner.getvalue())


def endless_array(folder: Path, canary: Path) -> None:  # noqa: ARG001
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846975,), }"
    replace_in_skops(folder, ".npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())


def link_out(folder: Path, canary: Path) -> None:  # noqa: ARG001
    pipeline(folder).unlink()
    pipeline(folder).symlink_to("/etc/passwd")


def links_in_circles(folder: Path, canary: Path) -> None:  # noqa: ARG001
    for name in ("a", "b"):
        (folder / name).symlink_to(folder)


def endless_device(folder: Path, canary: Path) -> None:  # noqa: ARG001
    (folder / "zeros").symlink_to("/dev/zero")


def pipe(folder: Path, canary: Path) -> None:  # noqa: ARG001
    os.mkfifo(folder / "pipe")


def pipe_as_description(folder: Path, canary: Path) -> None:  # noqa: ARG001
    (folder / "MLmodel").unlink()
    os.mkfifo(folder / "MLmodel")


def file_without_end(folder: Path, canary: Path) -> None:  # noqa: ARG001
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 42)


def written(text: str) -> Plant:
    """A plant whose description is this text."""

    def plant(folder: Path, canary: Path) -> None:
        (folder / "MLmodel").write_text(text.replace("CANARY", str(canary)), encoding="utf-8")

    return plant


MERGES = "\n".join(
    ["a0: &a0 {x: 1, y: 2}", *(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
)
DESCRIPTIONS = {
    "yaml tag": "flavors: !!python/object/apply:os.mkdir ['CANARY']\n",
    "yaml name": "flavors: {python_function: !!python/name:os.mkdir }\n",
    "yaml module": "!!python/object/new:os.mkdir {args: ['CANARY']}\n",
    "merges": MERGES,
    "deep yaml": "flavors: " + "[" * 50_000,
    "huge yaml": "flavors: {python_function: {}}\n" + "# filler\n" * 200_000,
    "a list": "- flavors\n",
    "flavours a list": "flavors: [python_function]\n",
    "flavour a text": "flavors: {python_function: code}\n",
    "keys of two types": "flavors: {1: {}, a: {}}\n",
    "empty": "",
    "no text": "\0\1\2",
    "a long number": "flavors: " + "9" * 10_000,
    "a wrong date": "flavors: 2026-99-99\n",
}
SERVED_UNREAD = {"a run that is none": "run_id: [1]\nflavors: {sklearn: {}}\n"}

PLANTS: dict[str, Plant] = {
    **{
        plant.__name__: plant
        for plant in (
            *(loader_module, loader_of_mlflow, sklearn_flavour, pickle_as_pipeline, pickle_beside, pickle_named_skops),
            *(pickled_array, partial_in_skops, type_trusted_by_its_beginning, function_as_a_type, no_classifier),
            *(deep_schema, bomb, nested_bomb, endless_array, link_out, links_in_circles, endless_device, pipe),
            *(pipe_as_description, file_without_end, texts_that_name_files),
        )
    },
    **{name: written(text) for name, text in {**DESCRIPTIONS, **SERVED_UNREAD}.items()},
}


def _array(values: "np.ndarray[tuple[int], np.dtype[np.object_]]") -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def replace_in_skops(folder: Path, suffix: str, content: bytes) -> None:
    """Give each member of the archive whose name ends so another content."""
    path = pipeline(folder)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, content if name.endswith(suffix) else held)


class Planted(NamedTuple):
    """A state with one version that was entered by hand."""

    state: State
    ref: ModelRef


def digest_of(folder: Path) -> str:
    """The digest that the files will have, where they can be digested at all."""
    special = [path for path in folder.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    return "0" * 64 if special or (folder / "sparse").exists() else loading.artifact_digest(folder)


def enter(state: State, source: str, digest: str) -> ModelRef:
    """Enter a version with the plain client, with the tags of a good one and the alias of the champion."""
    mlflow, target = client(state.config.mlflow_uri), state.target
    mlflow.create_registered_model(target.name)
    tags = {log.EXPECTED: log.NONE, log.KEY: "planted", log.ARTIFACT: digest, log.SOURCE: state.bayes.uri}
    mlflow.create_model_version(target.name, source, state.bayes.run_id, tags=tags)
    mlflow.set_registered_model_alias(target.name, "champion", "1")
    return promotion.reference(target, 1)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def uses(planted: ModelRef, state: State) -> Iterator[Callable[[], object]]:
    """What commands do with a version: predict, verify, show, register and copy it."""
    yield lambda: loading.load(planted)
    yield lambda: loading.verify(planted)
    yield lambda: catalog.signature(planted)
    yield lambda: registration.described(state.target, planted.uri)
    yield lambda: catalog.show_version(state.target, 1)
    yield lambda: registration.candidate(store.target_of(state.config, "other"), planted)


@pytest.mark.parametrize("name", PLANTS)
def test_no_use_of_a_planted_model_runs_it(state: State, tmp_path: Path, canary: Path, name: str) -> None:
    folder = tmp_path / "planted"
    shutil.copytree(state.folder(state.bayes), folder)
    PLANTS[name](folder, canary)
    ref = enter(state, folder.as_uri(), digest_of(folder))
    with pytest.raises(IntegrityError) as refused:
        loading.load(ref)
    assert "\n" not in str(refused.value)
    for use in uses(ref, state):
        with suppress(IntegrityError, ConfigError, ConflictError):
            use()
    assert not canary.exists()


def test_code_paths_and_requirements_of_a_model_are_not_followed(state: State, tmp_path: Path, canary: Path) -> None:
    """They are data to us: the model is read by our own class, with what is installed here."""
    folder = tmp_path / "planted"
    shutil.copytree(state.folder(state.bayes), folder)
    evil_module(folder, canary)
    described(folder, code="code", model_code_path="code/planted.py", model_config={"planted": "code/planted.py"})
    (folder / "model.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    (folder / "requirements.txt").write_text("--index-url http://127.0.0.1:9/\nevil @ file:///tmp/evil\n")
    (folder / "conda.yaml").write_text("dependencies: [{pip: ['evil @ file:///tmp/evil']}]\n")
    (folder / "python_env.yaml").write_text("build_dependencies: ['evil @ file:///tmp/evil']\n")
    described(folder, artifacts={"pipeline": {"path": "../../../etc/passwd", "uri": "/etc/passwd"}})
    ref = enter(state, folder.as_uri(), digest_of(folder))
    for use in uses(ref, state):
        use()
    assert not canary.exists()


@pytest.mark.parametrize(
    "source",
    [
        *("file:///etc", "/", "file:///proc/self", "/dev", "file:///does/not/exist", "models:/sentiment/999"),
        *(
            "models:/dev.ml.sentiment/1",
            "runs:/0123456789abcdef0123456789abcdef/model",
            "http://127.0.0.1:{port}/model",
        ),
        *(
            "https://127.0.0.1:{port}/model",
            "http://127.0.0.1:{port}/mlflow-artifacts/model",
            "ftp://127.0.0.1:{port}/model",
            "file:///etc/passwd",
            "unknown://a/b",
        ),
    ],
)
def test_a_version_said_to_lie_anywhere_else_is_not_fetched(state: State, source: str) -> None:
    """A web server that takes the connection and never answers would hold a command for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        try:
            ref = enter(state, source.format(port=silent.getsockname()[1]), state.bayes.artifact_sha256)
        except Exception as error:
            assert "INVALID" in str(getattr(error, "error_code", "")) or "not found" in str(error), error  # noqa: PT017
            return
        for use in (lambda: loading.load(ref), lambda: catalog.signature(ref)):
            with pytest.raises(MlopsError) as refused:
                use()
            assert refused.value.exit_code in {2, 7}
            assert "\n" not in str(refused.value)
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_champion_that_is_exchanged_while_it_is_read_is_noticed(
    state: State, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is digested is what is read: a copy that nobody else writes to, whatever happens to the original."""
    folder, verified = state.folder(state.bayes), loading.artifact_digest

    def exchanged(copy: Path) -> str:
        found = verified(copy)
        partial_in_skops(folder, canary)
        return found

    monkeypatch.setattr(loading, "artifact_digest", exchanged)
    loading.load(state.bayes)
    with pytest.raises(IntegrityError, match="the files digest to"):
        loading.load(state.bayes)
    assert not canary.exists()
