"""Paths that lead to no volume, and volumes that are mounted: ordinary files, with no workspace to ask."""

import os
from pathlib import Path

import pytest

from lifecycle import settings
from lifecycle.core.errors import ConfigError, ConflictError, NotFoundError
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.storage import volumes
from tests.conftest import make_dataset, tree, write_news


@pytest.fixture(autouse=True)
def _no_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever asks a workspace here ends with an error."""
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setattr(volumes, "VOLUMES", tmp_path / "Volumes")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume that is mounted, as on a cluster."""
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    folder = tmp_path / "Volumes" / "dev" / "ml" / "mlops"
    folder.mkdir(parents=True)
    return folder


def stage(folder: Path, **files: str) -> Path:
    """A folder that is complete: some files, and the manifest that names them."""
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    (folder / "manifest.json").write_text(str(files))
    return folder


def test_an_ordinary_path_stands_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    volumes.write(file, b"content")
    assert volumes.local(file) == volumes.place(file) == volumes.staging(file) == file
    assert volumes.bring(file, tmp_path / "elsewhere") == file
    assert not (tmp_path / "elsewhere").exists()
    assert volumes.read(file) == b"content"
    with pytest.raises(ConflictError, match="there already"):
        volumes.write(file, b"other", overwrite=False)
    with pytest.raises(NotFoundError, match="not there"):
        volumes.read(tmp_path / "other.txt")


def test_an_ordinary_folder_is_published_by_its_name(tmp_path: Path) -> None:
    volumes.publish(stage(tmp_path / "staged", rows="first"), tmp_path / "final")
    assert sorted(tree(tmp_path / "final")) == ["manifest.json", "rows.txt"]
    assert not (tmp_path / "staged").exists()


@pytest.mark.parametrize("path", ["", "dev", "dev/ml", "dev/ml/mlops/../../x", "dev/ml/mlops/a\0b"])
def test_a_path_below_volumes_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"/Volumes/<catalog>/<schema>/<volume>"):
        volumes.exists(tmp_path / "Volumes" / path)


def test_a_volume_needs_credentials(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DATABRICKS_HOST"):
        volumes.exists(tmp_path / "Volumes" / "dev" / "ml" / "mlops" / "file")


def test_a_disk_of_a_mac_is_no_volume(tmp_path: Path) -> None:
    disk = tmp_path / "Volumes" / "Backup"
    disk.mkdir(parents=True)
    assert not volumes.on_volume(disk / "data")
    volumes.publish(stage(tmp_path / "staged", rows="first"), disk / "data")
    assert sorted(tree(disk / "data")) == ["manifest.json", "rows.txt"]


def test_on_a_cluster_files_are_read_where_they_are(mounted: Path) -> None:
    volumes.write(mounted / "folder" / "file.txt", b"content")
    assert volumes.local(mounted / "folder" / "file.txt") == mounted / "folder" / "file.txt"
    assert volumes.local(mounted / "folder") == mounted / "folder"
    assert volumes.glob(mounted, "*/*.txt") == [mounted / "folder" / "file.txt"]


def test_on_a_cluster_the_first_manifest_counts(mounted: Path, tmp_path: Path) -> None:
    final = mounted / "final"
    with volumes.publishing(final) as late:
        (late / "manifest.json").write_text("late")
        volumes.publish(stage(tmp_path / "staged", rows="first"), final)
    assert volumes.read(final / "manifest.json") == b"{'rows': 'first'}"
    assert sorted(tree(volumes.local(final))) == ["manifest.json", "rows.txt"]
    assert not volumes.staging(final).is_relative_to(mounted)


def test_on_a_cluster_a_dataset_is_that_of_any_other_machine(mounted: Path, tmp_path: Path) -> None:
    source = write_news(tmp_path / "news.csv")
    config = settings.load("dev", home=tmp_path / "home", data_root=mounted)
    make_dataset(config, source)
    make_dataset(config, source)
    assert sorted(path.name for path in (mounted / "news").iterdir()) == ["1.0.0", "raw"]
    ordinary = settings.load("dev", home=tmp_path / "home")
    make_dataset(ordinary, source)
    made, expected = (dataset.verify(each.datasets, "news", "1.0.0") for each in (config, ordinary))
    assert made.model_copy(update={"source": expected.source}) == expected
    assert made.source.startswith(str(mounted / "news" / "raw"))
    assert dataset.rows_file(mounted, "news", "1.0.0").read_bytes() == (
        dataset.rows_file(ordinary.datasets, "news", "1.0.0").read_bytes()
    )


def test_a_source_that_is_only_stated_stays_where_it_is(mounted: Path, tmp_path: Path) -> None:
    config = settings.load("dev", home=tmp_path / "home", data_root=mounted)
    source = Source(uri=str(write_news(tmp_path / "news.csv")))
    request = dataset.state(config, source, data_name="news", data_version="1.0.0")
    assert request.source == source
    assert not (mounted / "news").exists()
