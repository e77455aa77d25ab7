"""A row that went through everything, with a server of Prefect's own: after the command no byte of it is left.

Promise: `mlops data erase` leaves no byte of a person's row in versions, predictions, reports and histories, killed
anywhere (also `tests/faults/test_erasure_kills.py`).
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cli.main import main
from lifecycle import settings
from lifecycle.data import dataset
from lifecycle.settings import Settings
from tests.conftest import ROOT

WORDS = ("profit rose and orders grew to a record", "loss widened as sales fell", "the meeting is in the office")
LABELS = ("positive", "negative", "neutral")
CANARY = "zqxw"
DRIVER = """
import json, sys
from pathlib import Path
from cli import runner
from cli.server import own_server
runner.quiet()
home, orders = Path(sys.argv[1]), json.loads(sys.argv[2])
with own_server(home) as server:
    import importlib
    server.wait()
    with server.run():
        for name, parameters in orders:
            getattr(importlib.import_module(f"flows.{name}"), name)(**parameters)
"""


def rows() -> pd.DataFrame:
    """Letters of one person, among many: on every side, in quarantine for each reason, short, long and odd."""
    own = [
        (f"Zqxw{n} <b>über</b> \"us\" & 'me' | {WORDS[n % 3]}{' and on' * (n % 3 * 40)}.", LABELS[n % 3])
        for n in range(24)
    ]
    own += [
        (own[0][0].upper(), own[0][1]),
        ("Zqxw without a label in it", ""),
        ("Zqxw too long " + "y" * 10_001, "neutral"),
    ]
    own += [("Zqxw of two minds here", "neutral"), ("ZQXW of two  minds here", "positive")]
    others = [(f"{WORDS[n % 3]} number {n} of firm {n * 7 % 101}", LABELS[n % 3]) for n in range(240)]
    return pd.DataFrame([*own, *others], columns=["text", "label"]).assign(customer="of whom")


def environment(home: Path) -> dict[str, str]:
    outside = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "PREFECT_HOME", "PREFECT_PROFILE"))
    }
    apart = {"MLOPS_DATA__NEAR_DUPLICATES": "off"}  # the person's texts are alike, and must be on every side
    return {**outside, **apart, "MLOPS_HOME": str(home), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def mlops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; only the flows before it need one, and a server, of their own."""
    monkeypatch.setenv("MLOPS_DATA__NEAR_DUPLICATES", "off")

    def run(*words: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlops", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        return int(end.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def lived(home: Path, tmp_path: Path) -> Settings:
    """A dataset, a champion, a challenger that was refused, and a batch with rejected rows; the person is in all."""
    table, batch = tmp_path / "letters.csv", tmp_path / "batch.csv"
    rows().to_csv(table, index=False)
    more = pd.DataFrame([("Zqxw rejected \x07 letter", "", "c")], columns=["text", "label", "customer"])
    pd.concat([rows(), more]).to_csv(batch, index=False)
    name = {"data_name": "letters", "data_version": "1.0.0"}
    bayes = {**name, "model_name": "sentiment", "model_type": "naive_bayes"}
    weak = {**bayes, "model_type": "random_forest", "model_params": {"max_depth": 1, "n_estimators": 1}}
    orders = [
        ("create_data", {**name, "source": str(table)}),
        ("train", bayes),
        ("train", weak),
        ("batch_inference", {"model_name": "sentiment", "env": "dev", "input": str(batch)}),
    ]
    command = [sys.executable, "-c", DRIVER, str(home), json.dumps(orders)]
    subprocess.run(command, env=environment(home), cwd=ROOT, check=True, capture_output=True, timeout=600)
    return settings.load("dev", home=home)


def shows(path: Path) -> bool:
    """Whether the canary stands in a file: by its bytes, and by those of what is packed in it."""
    contents = [path.read_bytes()]
    if path.suffix == ".parquet":
        contents.append(pd.read_parquet(path).astype(str).to_json(force_ascii=False).encode())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    return any(CANARY.encode() in content.lower() for content in contents)


def places(home: Path) -> set[str]:
    return {
        str(path.relative_to(home)).removesuffix("-wal") for path in home.rglob("*") if path.is_file() and shows(path)
    }


def test_no_byte_of_a_person_is_left_but_in_models_that_are_named(
    lived: Settings, mlops: Callable[..., tuple[int, str, str]]
) -> None:
    before = places(lived.state)
    kinds = ("split.parquet", "quarantine.parquet", "manifest.json", "report.html", "rows.html", "rejected.parquet")
    for kind in (*kinds, "prefect.db", "prefect/storage", "verdicts/dev", ".html", "pipeline.skops"):
        assert any(kind in each for each in before), (kind, before)

    texts = "\n".join([*(text for text in rows()["text"] if CANARY in text.lower()), "Zqxw rejected \x07 letter"])
    erase = ("data", "erase", "--text-from", "-")
    code, planned, errors = mlops(*erase, "--dry-run", "--json", given=texts)
    assert code == 0, errors
    assert CANARY not in (planned + errors).lower()
    assert places(lived.state) == before
    code, _, errors = mlops(*erase, given=texts)
    assert (code, "--yes" in errors) == (2, True)

    code, erased, errors = mlops(*erase, "--yes", "--json", "--reason", "asked for", given=texts)
    assert code == 0, errors
    assert CANARY not in (erased + errors).lower()
    done = json.loads(erased)
    assert done["touched"] == json.loads(planned)["touched"]
    assert {Path(each["what"]).name for each in done["left"]} == {"letters.csv", "batch.csv"}

    champion = [each for each in done["fitted"] if each["champion"]]
    assert [(each["model"], each["version"]) for each in champion] == [("dev.ml.sentiment", 1)]
    left = places(lived.state)
    assert {Path(each).name for each in left} == {"pipeline.skops"}, left
    assert len(left) == 1, "the model that was never registered goes"

    manifest = dataset.verify(lived.datasets, "letters", "1.0.0")
    assert manifest.rows_in == 269 == manifest.rows_split + manifest.rows_quarantined + manifest.rows_erased
    assert mlops("doctor")[0] == 0
    code, again, _ = mlops(*erase, "--yes", given=texts)
    assert (code, "erased before" in again) == (0, True)
    code, _, errors = mlops(*erase, "--yes", given="nobody wrote this letter")
    assert (code, "Nothing holds these rows" in errors) == (2, True)
    assert "nobody wrote" not in errors
