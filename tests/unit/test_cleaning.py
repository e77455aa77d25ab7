"""A cleaning step of one's own: what it may do, what becomes of the rows that it takes out, and what is refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifecycle.core.errors import ConfigError, ConflictError, DataError, MlopsError
from lifecycle.data import dataset, versions
from lifecycle.data.source import Source
from lifecycle.settings import Settings
from tests.conftest import write_news

STEPS = """
import pandas as pd


def tidy(cells):
    kept = cells[cells["size"].str.strip() != "broken"]
    return kept.assign(colour=kept["colour"].str.lower(), size=kept["size"].astype(float), half=1.5)


def same(cells):
    return cells


def without_sevens(cells):
    return cells[~cells["text"].str.contains("7")]


def fails(cells):
    return cells["nowhere"]


def no_table(cells):
    return cells["size"]


def other_rows(cells):
    return pd.concat([cells, cells]).reset_index(drop=True)


def no_target(cells):
    return cells.drop(columns="price")


def too_few(cells):
    return cells.head(3)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "steps.py").write_text(STEPS)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def trusting(config: Settings) -> Settings:
    return config.model_copy(update={"trusted_modules": ("steps",)})


def table(folder: Path) -> Source:
    rows = [(str(n % 50), ["Red", "red", "blue"][n % 7 % 3], n) for n in range(300)]
    frame = pd.DataFrame(rows, columns=["size", "colour", "price"])
    frame.loc[::3, "size"] = "broken"
    frame.to_csv(folder / "things.csv", index=False)
    return Source(uri=str(folder / "things.csv"))


def make(config: Settings, source: Source, clean: str | None, version: str = "1", **more: Any) -> Any:
    asked = {"problem": "tabular-regression", "target": "price", "columns": {"size": "numeric"}} | more
    request = dataset.plan(config, source, data_name="things", data_version=version, clean=clean, **asked)
    dataset.check_source(request)
    dataset.create(request)
    return dataset.load(config.datasets, "things", version)


@pytest.mark.usefixtures("project")
def test_rows_that_are_cleaned_away_are_in_quarantine(trusting: Settings, tmp_path: Path) -> None:
    made = make(trusting, table(tmp_path), "steps:tidy")
    assert (made.rows_in, made.rows_split, made.quarantined) == (300, 200, {"cleaned_away": 100})
    assert [(column.name, column.kind) for column in made.inputs] == [("size", "numeric"), ("colour", "categorical")]
    rows = dataset.load_rows(trusting.datasets, "things", "1")
    assert set(rows["colour"]) == {"red", "blue"}
    assert rows["size"].notna().all()
    away = pd.read_parquet(trusting.datasets / "things/1/quarantine.parquet")
    assert list(away["row"]) == list(range(1, 301, 3))
    assert dataset.verify(trusting.datasets, "things", "1") == made
    assert make(trusting, table(tmp_path), "steps:tidy") == made


def test_other_code_makes_another_version(trusting: Settings, project: Path, tmp_path: Path) -> None:
    source = table(tmp_path)
    made = make(trusting, source, "steps:tidy")
    asked = {"data_name": "things", "problem": "tabular-regression", "target": "price", "clean": "steps:tidy"}
    asked["columns"] = {"size": "numeric"}
    assert versions.chosen(trusting, source, **asked) == "1"
    (project / "steps.py").write_text(STEPS + "\n\nMORE = 1\n")
    assert versions.chosen(trusting, source, **asked) == "2"
    with pytest.raises(ConflictError, match="things 1 exists with the same rows and other parameters: clean_code is"):
        make(trusting, source, "steps:tidy")
    assert dataset.load(trusting.datasets, "things", "1") == made


@pytest.mark.usefixtures("project")
def test_without_a_step_nothing_is_as_with_one(trusting: Settings, tmp_path: Path) -> None:
    source = table(tmp_path)
    with pytest.raises(DataError, match=r"not_a_number 100"):
        make(trusting, source, None)
    plain = make(trusting, source, None, columns={"size": "categorical"})
    assert "clean" not in plain.parameters
    same = make(trusting, source, "steps:same", "2", columns={"size": "categorical"}, parent="1")
    one, two = (dataset.load_rows(trusting.datasets, "things", version) for version in ("1", "2"))
    pd.testing.assert_frame_equal(one, two)
    assert same.digest != plain.digest


@pytest.mark.usefixtures("project")
def test_texts_are_cleaned_too(trusting: Settings, tmp_path: Path) -> None:
    source = Source(uri=str(write_news(tmp_path / "news.csv")))
    texts = pd.read_csv(source.uri, dtype=str)["text"]
    request = dataset.plan(trusting, source, data_name="news", data_version="1", clean="steps:without_sevens")
    dataset.create(request)
    made = dataset.load(trusting.datasets, "news", "1")
    assert made.quarantined == {"cleaned_away": int(texts.str.contains("7").sum())}
    assert made.rows_split + made.rows_quarantined == len(texts)


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        ("absent", ConfigError, r"steps:absent: module 'steps' has no attribute"),
        ("fails", DataError, r"steps:fails: KeyError: 'nowhere'"),
        ("no_table", ConfigError, r"steps:no_table gave a Series, no DataFrame"),
        ("other_rows", ConfigError, r"steps:other_rows gave rows that it was not given.*Keep the index"),
        ("no_target", DataError, r"steps:no_target leaves no column 'price'"),
        ("too_few", DataError, r"steps:too_few leaves 3 of 300 rows: fewer than 20 \(data\.min_rows\)"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_no_step_may_do_writes_nothing(
    trusting: Settings, tmp_path: Path, step: str, kind: type[MlopsError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make(trusting, table(tmp_path), f"steps:{step}")
    assert not list(trusting.datasets.glob("things/1*"))


def test_a_step_that_is_not_trusted_or_has_changed_does_not_run(
    config: Settings, trusting: Settings, project: Path, tmp_path: Path
) -> None:
    (project / "steps.py").write_text(f"{STEPS}\n\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n")
    source = table(tmp_path)
    with pytest.raises(ConfigError, match=r"steps:tidy is code of your own, and steps is not trusted"):
        make(config, source, "steps:tidy")
    asked = {"problem": "tabular-regression", "target": "price", "clean": "steps:tidy"}
    request = dataset.plan(trusting, source, data_name="things", data_version="1", **asked)
    (project / "steps.py").write_text(STEPS)
    with pytest.raises(ConfigError, match="has changed since the dataset version was planned"):
        dataset.create(request)
    assert not (tmp_path / "ran").exists()
