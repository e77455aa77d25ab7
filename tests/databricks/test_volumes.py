"""Data and predictions on a volume that is reached by the Files API: published whole, read as they are now."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from databricks.sdk import WorkspaceClient

from cli.data import check_source
from databricks_emulator import Emulator
from flows.flow_requests import DatasetRequest
from lifecycle import doctor, settings
from lifecycle.core.errors import (
    ConfigError,
    ConflictError,
    DataError,
    IntegrityError,
    MlopsError,
    NotFoundError,
    TransientError,
)
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.inference import batch
from lifecycle.inference import manifest as batches
from lifecycle.inference.manifest import BatchRequest
from lifecycle.problems.transformer.estimator import TRANSFORMER
from lifecycle.registry import registration
from lifecycle.registry.store import Target
from lifecycle.settings import Settings
from lifecycle.settings.rules import InferenceRules
from lifecycle.storage import volumes
from lifecycle.tracking import client as tracking
from lifecycle.training import bases
from lifecycle.training import train as training
from tests.conftest import make_dataset, train_model, tree, write_news
from tests.databricks.conftest import Scripts
from tests.databricks.remote import create_job, python_task, until

pytestmark = pytest.mark.usefixtures("databricks_env")
FILES = "/api/2.0/fs/files"


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Mirrors of this session, apart from those of whoever runs it; the cache of fonts stays where it is."""
    with pytest.MonkeyPatch.context() as patch:
        import matplotlib

        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A folder on a volume for one test alone."""
    return Path("/Volumes/dev/ml/mlops", tmp_path.name)


@pytest.fixture
def config(volume: Path, home: Path) -> Settings:
    """The settings of dev with data and predictions on the volume."""
    return settings.load("dev", home=home, data_root=volume / "data", output_root=volume / "predictions")


def stored(workspace: Emulator, path: Path) -> Path:
    """Where the emulator keeps a file of a volume."""
    return workspace.root / "files" / path.relative_to("/")


def sent(workspace: Emulator, folder: Path, method: str = "PUT") -> list[str]:
    """The files below a folder that calls named, in order."""
    found = workspace.calls(f"{method} {FILES}{folder}*")
    return [call["path"].removeprefix(f"{FILES}{folder}/") for call in found]


def stage(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    (folder / "manifest.json").write_text(json.dumps(files))
    return folder


def published(final: Path) -> dict[str, str]:
    """What a reader gets: the manifest, which must be that of the files."""
    manifest = dict(json.loads(volumes.read(final / "manifest.json")))
    found = tree(volumes.local(final))
    assert {f"{name}.txt": content.encode() for name, content in manifest.items()} == (
        {name: content for name, content in found.items() if name != "manifest.json"}
    )
    return manifest


# Files


def test_files_of_a_volume_are_found_and_read_as_ordinary_ones_are(volume: Path, tmp_path: Path) -> None:
    def used(root: Path) -> list[object]:
        for name in ("a/1/manifest.json", "a/2/manifest.json", "b/1/manifest.json", "b/1/ä b%20#.txt", "b/2/other"):
            volumes.write(root / name, name.encode())
        volumes.upload(tmp_path / "source", root / "c" / "copy")
        patterns = ["*/*/manifest.json", "b/*/manifest.json", "*/1/*", "none/*/manifest.json", "a/?/m*", "a/[1]/*"]
        found = [[str(path.relative_to(root)) for path in volumes.glob(root, pattern)] for pattern in patterns]
        names = ["a", "a/1/manifest.json", "a/3", "b/1/ä b%20#.txt", "c/copy"]
        return [
            *found,
            [volumes.exists(root / name) for name in names],
            [volumes.digest(root / name) for name in names],
            volumes.read(root / "b/1/ä b%20#.txt"),
            volumes.glob(root / "none", "*/x"),
        ]

    (tmp_path / "source").write_bytes(b"copy")
    assert used(volume) == used(tmp_path / "root")


@pytest.mark.parametrize(
    ("limits", "fix"),
    [
        ({"missing": ["READ VOLUME"]}, "GRANT READ VOLUME"),
        ({"missing": ["WRITE VOLUME"]}, "GRANT WRITE VOLUME"),
        ({"absent": ["dev.ml.mlops"]}, "CREATE VOLUME"),
    ],
)
def test_who_lacks_a_volume_or_a_grant_on_it_is_told_which(
    volume: Path, workspace: Emulator, limits: dict[str, list[str]], fix: str
) -> None:
    workspace.restrict(**limits)
    try:
        with pytest.raises(ConfigError) as refused:
            volumes.write(volume / "a.txt", b"a")
    finally:
        workspace.restrict()
    assert fix in refused.value.fix


def test_what_is_to_be_new_replaces_nothing(volume: Path) -> None:
    volumes.write(volume / "file", b"first", overwrite=False)
    with pytest.raises(ConflictError, match="there already"):
        volumes.write(volume / "file", b"second", overwrite=False)
    assert volumes.read(volume / "file") == b"first"
    volumes.write(volume / "file", b"third")
    assert volumes.read(volume / "file") == b"third"


def test_a_mirror_is_used_while_the_file_stays_the_same(workspace: Emulator, volume: Path) -> None:
    path, day = volume / "file", 86_400
    volumes.write(path, b"first")
    assert volumes.local(path).read_bytes() == b"first"
    volumes.write(path, b"other")  # as long, and within the second in which the first was written
    assert volumes.local(path).read_bytes() == b"other"
    os.utime(stored(workspace, path), (day, day))
    assert volumes.local(path).read_bytes() == b"other"
    workspace.forget_calls()
    assert volumes.local(path).read_bytes() == b"other"
    assert not workspace.calls("GET *")
    stored(workspace, path).write_bytes(b"again")
    os.utime(stored(workspace, path), (2 * day, 2 * day))
    assert volumes.local(path).read_bytes() == b"again"


def test_a_mirror_is_whole_or_that_of_before(workspace: Emulator, volume: Path) -> None:
    path = volume / "file"
    volumes.write(path, b"first")
    mirror = volumes.local(path)
    volumes.write(path, b"second")
    workspace.inject("POST /api/2.0/fs/create-download-url", status=500)
    workspace.inject(f"GET {FILES}{path}", status=500)
    with pytest.raises(TransientError, match="InternalError"):
        volumes.local(path)
    assert tree(mirror.parent) == {"file": b"first"}
    assert mirror.parent.stat().st_mode & 0o077 == 0


def test_the_mirror_of_a_folder_holds_nothing_else(workspace: Emulator, volume: Path) -> None:
    for name in ("one", "sub/two", "sub/three"):
        volumes.write(volume / "folder" / name, name.encode())
    assert sorted(tree(volumes.local(volume / "folder"))) == ["one", "sub/three", "sub/two"]
    stored(workspace, volume / "folder" / "sub" / "two").unlink()
    assert sorted(tree(volumes.local(volume / "folder"))) == ["one", "sub/three"]
    with pytest.raises(NotFoundError, match="none"):
        volumes.local(volume / "none")


def test_each_workspace_has_its_own_mirror(workspace: Emulator, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes.write(volume / "file", b"content")
    mirror = volumes.local(volume / "file")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
    assert volumes.local(volume / "file") != mirror


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (500, "INTERNAL_ERROR", TransientError),
        (502, "INTERNAL_ERROR", TransientError),
        (504, "DEADLINE_EXCEEDED", TransientError),
        (401, "UNAUTHENTICATED", ConfigError),
        (403, "PERMISSION_DENIED", ConfigError),
        (400, "INVALID_PARAMETER_VALUE", ConfigError),
        (404, "NOT_FOUND", NotFoundError),
        (409, "ALREADY_EXISTS", ConflictError),
    ],
)
def test_what_the_workspace_answers_is_one_of_our_errors(
    workspace: Emulator, volume: Path, status: int, code: str, error: type[MlopsError]
) -> None:
    workspace.inject("PUT /api/2.0/fs/files/*", status=status, error_code=code)
    with pytest.raises(error) as raised:
        volumes.write(volume / "file", b"content")
    assert raised.type is error
    assert str(volume / "file") in str(raised.value)


def test_a_busy_workspace_is_waited_for(workspace: Emulator, volume: Path) -> None:
    workspace.inject("PUT /api/2.0/fs/files/*", status=429, headers={"Retry-After": "1"})
    began = time.monotonic()
    volumes.write(volume / "file", b"content")
    assert time.monotonic() - began >= 1
    assert volumes.read(volume / "file") == b"content"


def test_a_service_principal_whose_secret_is_wrong_is_told_so(
    workspace: Emulator, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", workspace.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "canary-secret")
    with pytest.raises(ConfigError) as raised:
        volumes.exists(volume / "file")
    assert "canary-secret" not in str(raised.value)


def test_the_name_of_an_entry_cannot_lead_out_of_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listing = self.path.startswith("/api/2.0/fs/directories/")
            body = json.dumps({"contents": [{"name": "../../evil", "is_directory": False, "file_size": 1}]}).encode()
            self.send_response(200 if listing else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(IntegrityError, match=r"\.\./\.\./evil"):
            volumes.local(Path("/Volumes/dev/ml/mlops/folder"))
        server.shutdown()


# Publishing


def test_the_manifest_comes_last_and_names_the_files(workspace: Emulator, volume: Path, tmp_path: Path) -> None:
    final = volume / "final"
    volumes.publish(stage(tmp_path / "staged", one="1", two="2"), final)
    assert sent(workspace, final)[-1] == "manifest.json"
    assert published(final) == {"one": "1", "two": "2"}
    assert not (tmp_path / "staged").exists()
    assert volumes.is_published(final)


def test_of_two_that_publish_at_once_one_comes_first_and_whole(volume: Path, tmp_path: Path) -> None:
    final, together = volume / "final", Barrier(4)
    folders = [stage(tmp_path / str(number), rows=f"of {number}", own=str(number)) for number in range(4)]

    def publish(folder: Path) -> None:
        together.wait()
        volumes.publish(folder, final)

    threads = [Thread(target=publish, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = published(final)
    assert first in [{"rows": f"of {number}", "own": str(number)} for number in range(4)]
    volumes.publish(stage(tmp_path / "late", rows="late"), final)
    assert published(final) == first


def test_a_manifest_whose_acceptance_was_not_heard_of_counts(workspace: Emulator, volume: Path, tmp_path: Path) -> None:
    workspace.inject(f"PUT {FILES}{volume}/final/manifest.json", status=503, after=True)
    volumes.publish(stage(tmp_path / "staged", rows="1"), volume / "final")
    assert published(volume / "final") == {"rows": "1"}


def test_an_upload_that_was_killed_is_nothing_and_stands_in_nobodys_way(
    workspace: Emulator, volume: Path, tmp_path: Path
) -> None:
    final = volume / "final"
    workspace.inject(f"PUT {FILES}{final}/manifest.json", status=500, delay=60)
    code = "import sys; from pathlib import Path; from lifecycle.storage import volumes; "
    code += "volumes.publish(*map(Path, sys.argv[1:]))"
    staged = stage(tmp_path / "killed", rows="of the killed one")
    process = subprocess.Popen([sys.executable, "-c", code, str(staged), str(final)])
    while workspace.waiting():  # until it asks for the manifest
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(sent(workspace, final)) >= 2
    assert not volumes.is_published(final)
    assert volumes.glob(volume, "*/manifest.json") == []
    volumes.publish(stage(tmp_path / "second", rows="of the second one"), final)
    assert published(final) == {"rows": "of the second one"}


def test_a_folder_that_was_copied_by_hand_is_read_where_it_lies(volume: Path, tmp_path: Path) -> None:
    for path in stage(tmp_path / "folder", rows="1").iterdir():
        volumes.upload(path, volume / "copied" / path.name)
    assert volumes.place(volume / "copied") == volume / "copied"
    assert published(volume / "copied") == {"rows": "1"}


# Datasets


def test_a_dataset_on_a_volume_is_the_same_as_on_a_disk(workspace: Emulator, config: Settings, tmp_path: Path) -> None:
    source = write_news(tmp_path / "news.csv")
    make_dataset(config, source)
    ordinary = settings.load("dev", home=config.home)
    make_dataset(ordinary, source)
    made, expected = (dataset.verify(each.datasets, "news", "1.0.0") for each in (config, ordinary))
    brought = config.datasets / "news" / "raw" / made.source_sha256[:16] / "news.csv"
    assert made == expected.model_copy(update={"source": str(brought)})
    assert volumes.read(brought) == source.read_bytes()
    local = volumes.local(dataset.rows_file(config.datasets, "news", "1.0.0"))
    assert local.read_bytes() == dataset.rows_file(ordinary.datasets, "news", "1.0.0").read_bytes()
    workspace.forget_calls()
    make_dataset(config, source)
    assert sent(workspace, config.datasets) == []


def test_versions_on_a_volume_follow_each_other(config: Settings, tmp_path: Path) -> None:
    root = config.datasets
    assert dataset.versions(root) == []
    with pytest.raises(NotFoundError, match="no version of dataset news"):
        dataset.resolve(root, "news", "latest")
    make_dataset(config, write_news(tmp_path / "first.csv"), data_version="1.9")
    make_dataset(config, write_news(tmp_path / "second.csv", 300), data_version="1.10")
    assert [found.data_version for found in dataset.versions(root)] == ["1.9", "1.10"]
    assert dataset.resolve(root, "news", "latest") == "1.10"
    assert dataset.load(root, "news", "1.10").parent == "1.9"
    rows = {version: dataset.load_rows(root, "news", version) for version in ("1.9", "1.10")}
    sides = {version: dict(zip(frame["key"], frame["split"], strict=True)) for version, frame in rows.items()}
    assert len(sides["1.10"]) == 300
    assert {key: sides["1.10"][key] for key in sides["1.9"]} == sides["1.9"]
    with pytest.raises(NotFoundError, match=r"versions: 1\.9, 1\.10"):
        dataset.load(root, "news", "2.0")
    with pytest.raises(ConflictError, match="exists with other content"):
        make_dataset(config, tmp_path / "second.csv", data_version="1.9")


def test_a_file_of_a_dataset_that_was_changed_on_the_volume_is_noticed(
    workspace: Emulator, config: Settings, tmp_path: Path
) -> None:
    make_dataset(config, write_news(tmp_path / "news.csv"))
    dataset.verify(config.datasets, "news", "1.0.0")
    assert {f.state for f in doctor.examine([config], repair=False) if f.what.startswith("dataset")} == {"ok"}
    place = stored(workspace, dataset.rows_file(config.datasets, "news", "1.0.0"))
    content = place.read_bytes()
    place.write_bytes(content[:-1] + b"?")
    with pytest.raises(IntegrityError, match="the manifest says"):
        dataset.load_rows(config.datasets, "news", "1.0.0")
    found = [finding for finding in doctor.examine([config], repair=False) if finding.what.startswith("dataset")]
    assert [finding.state for finding in found] == ["problem"]
    place.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        dataset.verify(config.datasets, "news", "1.0.0")


def test_bad_data_leaves_nothing_on_the_volume(workspace: Emulator, config: Settings, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("text,label\none field too many,good,x\n")
    asked = DatasetRequest(source=str(tmp_path / "bad.csv"), data_name="news", data_version="1.0.0")
    with pytest.raises(DataError, match="row 1, line 2"):
        check_source(config, asked)
    assert workspace.calls("PUT *") == []
    with pytest.raises(ConfigError, match="does not exist"):
        dataset.plan(config, Source(uri="none.csv"), data_name="news", data_version="1.0.0")
    assert workspace.calls("PUT *") == []


def test_a_source_may_lie_on_the_volume(config: Settings, tmp_path: Path) -> None:
    raw = config.datasets / "news" / "raw" / "upload.csv"
    volumes.upload(write_news(tmp_path / "news.csv"), raw)
    for uri in (str(raw), "upload.csv"):
        request = dataset.plan(config, Source(uri=uri), data_name="news", data_version="1.0.0")
        assert request.source.uri == str(raw)
        dataset.create(request)
    assert dataset.load(config.datasets, "news", "1.0.0").source == str(raw)


# Models and predictions


@pytest.fixture(scope="module")
def trained(workspace: Emulator, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A model that was trained on a dataset of a volume."""
    home = tmp_path_factory.mktemp("trained")
    (home / "mlflow.db").write_bytes(migrated.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in workspace.environment.items():
            patch.setenv(name, value)
        config = settings.load("dev", home=home, data_root="/Volumes/dev/ml/trained/data")
        make_dataset(config, write_news(home / "news.csv"))
        return train_model(config)


def test_a_training_on_a_volume_names_it_as_its_source(trained: ModelRef) -> None:
    inputs = tracking.client(trained.tracking_uri).get_run(trained.run_id).inputs.dataset_inputs
    rows = dataset.rows_file(Path("/Volumes/dev/ml/trained/data"), "news", "1.0.0")
    assert {each.dataset.source_type for each in inputs} == {"uc_volume"}
    assert {json.loads(each.dataset.source)["path"] for each in inputs} == {str(rows)}
    assert training.trained_on(trained.tracking_uri, trained.run_id) == ("news", "1.0.0")


def test_unity_catalog_draws_table_and_job_before_the_model(
    trained: ModelRef, client: WorkspaceClient, script: Scripts, workspace: Emulator
) -> None:
    """When a model is registered, MLflow's client sends it the tables that its run names, and the job of the run."""
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment("/Shared/lineage")
    with mlflow.start_run() as run:
        pass
    source = (
        "import mlflow; from lifecycle.training import inputs; mlflow.set_tracking_uri('databricks')\n"
        f"with mlflow.start_run(run_id={run.info.run_id!r}):\n"
        f"    inputs.log_origin('dev.ml.news@v12', '{'0' * 32}')\n"
        f"    inputs.log_origin('/Volumes/dev/ml/mlops/news.2026.csv', '{'0' * 32}')\n"
    )
    job = create_job(client, "lineage", python_task(script(source)))
    run_id = client.jobs.run_now(job).run_id
    until(lambda: client.jobs.get_run(run_id).state.result_state)
    assert workspace.runs(job_id=job)[0]["state"]["result_state"] == "SUCCESS"
    target = Target(tracking_uri="databricks", registry_uri="databricks-uc", name="dev.ml.lineage")
    registration.candidate(target, trained.model_copy(update={"run_id": run.info.run_id}))
    (made,) = workspace.calls("POST *unity-catalog/model-versions/create")
    (entity,), (lineage,) = made["lineage"]["entities"], made["lineage"]["lineages"]
    (table,) = lineage["source_securables"]
    assert entity["job"]["id"] == str(job)
    assert (table["table"]["name"], bool(table["table"]["table_id"])) == ("dev.ml.news", True)


def requested(model: ModelRef, path: Path, output: Path, **changes: object) -> BatchRequest:
    rules = InferenceRules(rows_per_part=50, workers=1)
    given = {"model": model, "input": Source(uri=str(path)), "text_column": "text", "inference": rules}
    return BatchRequest.model_validate(given | {"output_root": output} | changes)


def test_predictions_on_a_volume_are_those_on_a_disk(
    workspace: Emulator, trained: ModelRef, volume: Path, tmp_path: Path
) -> None:
    path = write_news(tmp_path / "news.csv", 120)
    on_disk, on_volume = requested(trained, path, tmp_path / "out"), requested(trained, path, volume)
    batch.infer(on_disk)
    batch.infer(on_volume)
    (folder, digest), (expected, same_digest) = batches.locate(on_volume), batches.locate(on_disk)
    assert digest == same_digest
    assert batches.verify(folder, on_volume) == batches.load(expected)
    found = tree(volumes.local(folder))
    assert found == tree(expected)
    assert (
        len(pd.concat(pd.read_parquet(volumes.local(folder) / f"part-0000{part}.parquet") for part in range(3))) == 120
    )
    workspace.forget_calls()
    batch.infer(on_volume)
    assert sent(workspace, volume) == []


def test_a_day_is_found_on_a_volume(trained: ModelRef, volume: Path, tmp_path: Path) -> None:
    from datetime import date

    request = requested(
        trained.model_copy(update={"name": "dev.ml.sentiment", "version": 3}),
        write_news(tmp_path / "news.csv", 30),
        volume,
        logical_date="2026-11-20",
    )
    assert batches.of_day(volume, "dev.ml.sentiment", date(2026, 11, 20)) == []
    batch.infer(request)
    found = batches.of_day(volume, "dev.ml.sentiment", date(2026, 11, 20))
    assert [(each.model_version, each.scored) for each in found] == [(3, 30)]
    assert batches.of_day(volume, "dev.ml.sentiment", date(2026, 11, 21)) == []


def test_an_interrupted_batch_goes_on_after_its_finished_parts(
    workspace: Emulator, trained: ModelRef, volume: Path, tmp_path: Path
) -> None:
    request = requested(trained, write_news(tmp_path / "news.csv", 120), volume)
    workspace.inject(f"PUT {FILES}{volume}/*/manifest.json", status=500)
    with pytest.raises(TransientError):
        batch.infer(request)
    final, _ = batches.locate(request)
    assert not volumes.is_published(final)
    work = volumes.staging(final)
    part = work.with_name(f".partial-{work.name}-50") / "part-00001.parquet"
    _mark(part)
    batch.infer(request)
    assert batches.verify(final, request).scored == 120
    assert set(pd.read_parquet(volumes.local(final) / part.name)["score"]) == {0.125}
    assert not part.parent.exists()


def _mark(part: Path) -> None:
    """Give each row a score that no model gives: it stays where the part is not scored again."""
    table = pq.read_table(part)
    marked = table.set_column(table.column_names.index("score"), "score", pa.array([0.125] * len(table)))
    pq.write_table(marked, part)  # with the digest of the rows, which is in the schema's metadata


def test_a_batch_of_another_model_that_comes_first_is_not_taken_for_ours(
    workspace: Emulator, trained: ModelRef, volume: Path, tmp_path: Path
) -> None:
    path = write_news(tmp_path / "news.csv", 30)
    ours, on_disk = requested(trained, path, volume), requested(trained, path, tmp_path / "out")
    batch.infer(on_disk)
    rival, (final, _) = batches.locate(on_disk)[0], batches.locate(ours)
    other = batches.load(rival).model_copy(update={"artifact_sha256": "0" * 64})
    (rival / "manifest.json").write_text(other.model_dump_json())
    workspace.inject(f"PUT {FILES}{final}/manifest.json", status=503, headers={"Retry-After": "3"})

    def come_first() -> None:
        while workspace.waiting():
            time.sleep(0.05)
        volumes.publish(rival, final)

    thread = Thread(target=come_first)
    thread.start()
    with pytest.raises(IntegrityError, match="another model"):
        batch.infer(ours)
    thread.join()
    assert batches.load(final) == other


def test_predictions_of_another_model_or_with_a_changed_part_are_refused(
    workspace: Emulator, trained: ModelRef, volume: Path, tmp_path: Path
) -> None:
    request = requested(trained, write_news(tmp_path / "news.csv", 30), volume)
    batch.infer(request)
    other = request.model_copy(update={"model": trained.model_copy(update={"artifact_sha256": "0" * 64})})
    with pytest.raises(IntegrityError, match="another model"):
        batch.infer(other)
    folder, _ = batches.locate(request)
    part = stored(workspace, volumes.place(folder) / "part-00000.parquet")
    part.write_bytes(part.read_bytes() + b"?")
    with pytest.raises(IntegrityError, match="not the published file"):
        batch.infer(request)


def test_the_network_that_a_training_begins_with_is_brought_to_where_a_job_reads_it(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = config.model_copy(update={"platform": "databricks"})
    (tmp_path / "bert" / "part").mkdir(parents=True)
    for name in ("config.json", "part/model.safetensors"):
        (tmp_path / "bert" / name).write_text(name)
    pinned = bases.pinned(config, TRANSFORMER, {"base": "bert", "epochs": 1})
    assert bases.brought(config, TRANSFORMER, pinned) == pinned, "nobody asks a job"
    brought = bases.brought(there, TRANSFORMER, pinned)
    assert Path(brought["base"]).is_relative_to(there.volume / bases.BROUGHT)
    assert bases.brought(there, TRANSFORMER, brought) == brought == {**pinned, "base": brought["base"]}
    shutil.rmtree("bert")
    with bases.fetched(TRANSFORMER, brought, ("", "")) as folder:  # its digest is compared
        assert folder
        assert {path.name for path in folder.rglob("*.*")} == {"config.json", "model.safetensors"}
    assert bases.brought(there, TRANSFORMER, {"base": "models:/m/1"}) == {"base": "models:/m/1"}
