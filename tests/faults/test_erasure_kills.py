"""SIGKILL during an erasure: nobody reads what is half erased, and the same again ends as if undisturbed."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from lifecycle import settings
from lifecycle.core.errors import ConflictError, NotFoundError
from lifecycle.data import dataset, lock
from lifecycle.data.source import Source
from lifecycle.erasure import journal, search, swap
from lifecycle.erasure.forms import Forms
from tests.conftest import make_dataset, tree, write_news
from tests.faults.erasure_orders import carry_out
from tests.zygote import Zygote, zygote

KILLS = max(2, int(os.environ.get("TEST_KILLS", "3")))
"""Instants, evenly over all side effects."""


class Scene(NamedTuple):
    """A state with versions, a history and artifacts that hold a row, and the process that erases it."""

    folder: Path
    text: str
    zygote: Zygote

    def erase(self, home: Path, kill_at: int | None = None) -> int:
        order = {"home": str(home), "kill_at": kill_at, "count_file": str(home.with_name("count"))}
        return self.zygote.run(carry_out, {**order, "subject": {"texts": [self.text]}})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene") / "state"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    config = settings.load("dev", home=folder)
    make_dataset(config, write_news(folder.parent / "news.csv", 60))
    make_dataset(config, write_news(folder.parent / "more.csv", 90), data_version="2.0.0")
    text = str(dataset.load_rows(config.datasets, "news", "1.0.0")["text"].iloc[0])
    key = str(dataset.load_rows(config.datasets, "news", "1.0.0")["key"].iloc[0])
    (folder / "prefect").mkdir()
    with closing(sqlite3.connect(folder / "prefect" / "prefect.db")) as database:
        database.execute("CREATE TABLE log (message TEXT)")
        database.execute("INSERT INTO log VALUES (?)", (f"such as '{text}'",))
        database.commit()
    (folder / "prefect" / "result").write_text(json.dumps({"result": json.dumps({"broken": [{"text": text}]})}))
    run = folder / "artifacts" / "run" / "artifacts"
    (run / "evaluations").mkdir(parents=True)
    pd.DataFrame({"row": [1, 2], "key": [key, "0" * 64]}).to_parquet(run / "evaluations" / "a.parquet")
    (run / "page.html").write_text(f"<tr><td>{text}</td></tr>")
    imported = "mlflow", "pandas", "lifecycle.data.expectations"
    with zygote(*imported, environment={**os.environ, "GX_ANALYTICS_ENABLED": "false"}) as process:
        yield Scene(folder, text, process)


@pytest.fixture(scope="module")
def undisturbed(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The state after an erasure that nobody disturbed, and how many side effects it had."""
    home = Path(shutil.copytree(scene.folder, tmp_path_factory.mktemp("undisturbed") / "state"))
    assert scene.erase(home) == 0
    return home, int(home.with_name("count").read_text())


def content(home: Path) -> dict[str, object]:
    """What a state holds, as far as it is the same for two erasures of the same row."""
    found: dict[str, object] = {}
    for name, data in tree(home).items():
        path = home / name
        if path.suffix == ".parquet":
            found[name] = pd.read_parquet(path).to_json()
        elif path.name == dataset.MANIFEST:
            manifest = json.loads(data)
            entries = [(entry["rows"], entry["positions"]) for entry in manifest["erased"]]
            counts = [manifest[key] for key in ("digest", "rows_in", "rows_split", "rows_erased", "counts")]
            found[name] = (*counts, *entries)
        elif (path.suffix == ".html" and "data_docs" not in name) or name.startswith("prefect/result"):
            found[name] = data
    return found


@pytest.mark.parametrize("part", range(KILLS))
def test_a_kill_at_any_instant_is_completed_by_the_same_again(
    scene: Scene, undisturbed: tuple[Path, int], tmp_path: Path, part: int
) -> None:
    (done, effects), home = undisturbed, tmp_path / "state"
    shutil.copytree(scene.folder, home)
    assert scene.erase(home, kill_at=1 + part * (effects - 1) // (KILLS - 1)) == -9
    config = settings.load("dev", home=home)
    if lock.marked(config.datasets):
        source = Source(uri=str(scene.folder.parent / "news.csv"))
        with pytest.raises(ConflictError, match="mlops data erase"):
            dataset.create(dataset.plan(config, source, data_name="news", data_version="3.0.0"))
    for version in ("1.0.0", "2.0.0"):
        try:
            dataset.verify(config.datasets, "news", version)  # as it was, or as it is to be
        except NotFoundError:
            assert swap.interrupted(config.datasets, "*/*")
    assert scene.erase(home) == 0
    assert content(home) == content(done)
    assert [path for path in search.files([home]) if search.holds(path, Forms([scene.text]))] == []
    assert len(journal.known(home)) == 1
    assert not [path for path in home.rglob(".*") if path.name.startswith((".tmp-", swap.NEW, swap.OLD, lock.MARK))]


def test_the_number_of_side_effects_says_that_kills_reach_every_place(undisturbed: tuple[Path, int]) -> None:
    assert undisturbed[1] > 3 * min(KILLS, 12)
