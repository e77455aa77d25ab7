"""The command: light to start, documented, and with one exit code per kind of end."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.main import app, main
from lifecycle.core import errors
from lifecycle.registry import catalog, store
from lifecycle.registry.store import target_of
from lifecycle.settings import Settings
from lifecycle.storage import files
from tests.conftest import ROOT, train_model, tree

HEAVY = {"prefect", "mlflow", "sklearn", "pandas", "great_expectations", "numpy", "pyarrow", "scipy"}


def mlops(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def commands(group: object = None, path: str = "") -> list[tuple[str, object]]:
    found = []
    for name, command in (group or get_command(app)).commands.items():  # type: ignore[attr-defined]
        full = f"{path} {name}".strip()
        found += commands(command, full) if hasattr(command, "commands") else [(full, command)]
    return found


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['mlops', '--help']\ntry:\n import cli.main; cli.main.main()\nexcept SystemExit: pass\n"
    )
    program += "import json; sys.stderr.write(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "release" in done.stdout
    assert HEAVY & set(json.loads(done.stderr)) == set()


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_explains_itself(name: str, command: object) -> None:
    assert len(command.help or "") > 20, name  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]
    assert name in {"config schema", "gate schema"} or "--json" in options
    for parameter in command.params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", "shown"), f"{name} {parameter.name}"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["frobnicate"], 2, "No such command"),
        (["train", "--data-name", "news"], 2, "No model is defined"),
        (["train", "--model-name", "m"], 2, "Missing option --data-name"),
        (["data", "show", "--data-name", "news"], 2, "Missing option"),
        (["data", "show", "--data-name", "nope", "--data-version", "1"], 2, "mlops data list"),
        (["history", "--model-name", "nope"], 2, "mlops model list"),
        (["data", "create", "--data-name", "x", "--data-version", "1", "--source", "none.csv"], 2, "does not exist"),
    ],
)
def test_usage_errors_exit_2_in_words(home: Path, arguments: list[str], code: int, words: str) -> None:
    before = tree(home)
    done = mlops(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert tree(home) == before


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["frobnicate"], 2, "ConfigError"),
        (["train", "--model-name"], 2, "ConfigError"),
        (["data", "show", "--data-name", "nope", "--data-version", "1"], 2, "NotFoundError"),
        (["data", "create", "--data-name", "x", "--source", "README.md"], 3, "DataError"),
        (["model", "show", "--model-name", "nope"], 2, "NotFoundError"),
    ],
)
def test_who_reads_json_gets_errors_as_json(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    kind: str,
) -> None:
    before = tree(home)
    monkeypatch.setattr(sys, "argv", ["mlops", *arguments, "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert (end.value.code, error["exit_code"], error["kind"]) == (code, code, kind)
    assert err.strip().endswith(f"Error: {error['message']} {error['fix']}".strip())
    assert tree(home) == before


@pytest.mark.usefixtures("news")
def test_unknown_model_type_and_parameter_name_the_valid_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["mlops", "train", "--data-name", "news", "--data-version", "1.0.0", "--model-name", "m"]
    for extra, word in (
        (["--model-type", "svm"], "naive_bayes"),
        (["--model-type", "naive_bayes", "--model-params", "{'alfa': 1}"], "alpha"),
        (["--model-params", "__import__('os')"], "literal"),
        (["--model-params", "[1]"], "mapping"),
        (["--model-type", "naive_bayes", "--model-params", "{'class_prior': [0.5, 0.5]}"], "the data has 3 classes"),
    ):
        monkeypatch.setattr(sys, "argv", wanted + extra)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert word in capsys.readouterr().err


LONG = "x" * 300
CREATE = ["data", "create", "--data-name", "d", "--data-version", "1", "--source"]
SAMPLE = ["examples/financial_news.csv", "--text-column", "Sentence", "--label-column", "Sentiment"]
INFER = ["infer", "--model-name", "m", "--env", "dev", "--input", "examples/financial_news.csv"]
UNUSABLE: dict[str, tuple[list[str], dict[str, str], str]] = {
    "a name of a file that is too long": ([*CREATE, f"{LONG}.csv"], {}, "File name too long"),
    "half of an address": ([*CREATE, "s3://[::1/x.csv"], {}, "is no address"),
    "a state with too long a name": (["data", "list"], {"MLOPS_HOME": f"/srv/{LONG}"}, "File name too long"),
    "data in a file": ([*CREATE, *SAMPLE], {"MLOPS_DATA_ROOT": "README.md"}, "Not a directory"),
    "an odd encoding of Parquet": ([*CREATE, "t.parquet", "--encoding", "odd"], {}, "t.parquet"),
    "a version that no database holds": (
        ["model", "show", "--model-name", "m", "--version", "9" * 20],
        {},
        "2147483647",
    ),
    "predictions in a bucket": ([*INFER, "--output", "s3://b/x"], {}, "is no folder"),
    "predictions behind a secret": ([*INFER, "--output", "https://joe:CANARY@h/x?CANARYbare"], {}, "is no folder"),
    "a number for a day": ([*INFER, "--logical-date", "0"], {}, "is no day"),
    "a moment for a day": ([*INFER, "--logical-date", "2026-10-25T07:00"], {}, "is no day"),
    **{
        f"a registry at {uri}": (["model", "list", "--env", "dev"], {"MLOPS_TRACKING_URI": uri}, "is no address")
        for uri in ("nonsense", "ftp://x", "file:///tmp/ft", "sqlite:///:memory:", "sqlite://", "sqlite:x")
    },
    "half of a registry's address": (["model", "list"], {"MLOPS_TRACKING_URI": "http://[::1"}, "MLOPS_TRACKING_URI"),
    "a registry that is none": (["model", "list"], {"MLOPS_REGISTRY_URI": "nonsense"}, "is no address"),
}


@pytest.mark.parametrize("case", UNUSABLE.values(), ids=UNUSABLE)
def test_what_a_person_gave_is_no_bug(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], case: Any
) -> None:
    arguments, variables, words = case
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["mlops", *arguments])
    before = tree(home)
    with pytest.raises(SystemExit) as end:
        main()
    said = " ".join(capfd.readouterr().err.split())
    assert (end.value.code, words in said, "CANARY" in said) == (2, True, False), said
    assert tree(home) == before


def test_each_of_our_errors_has_its_exit_code() -> None:
    expected = {"ConfigError": 2, "NotFoundError": 2, "DataError": 3, "ConflictError": 5, "LostRaceError": 5}
    expected |= {"AliasMovedError": 5, "TransientError": 6, "IntegrityError": 7}
    assert {name: getattr(errors, name).exit_code for name in expected} == expected


def test_errors_survive_pickling() -> None:
    import pickle

    error = errors.DataError("a.csv, row 3: broken.", "Correct it.")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert (str(again), type(again)) == (str(error), type(error))


def test_json_is_all_that_is_on_stdout(news: Settings) -> None:
    train_model(news)
    assert json.loads(mlops("data", "list", "--json").stdout)[0]["data_name"] == "news"
    assert json.loads(mlops("config", "show", "--json").stdout)["home"]["origin"] == "environment"
    assert json.loads(mlops("model", "list", "--json").stdout) == []
    assert {finding["state"] for finding in json.loads(mlops("doctor", "--json").stdout)} == {"ok"}
    assert "properties" in json.loads(mlops("config", "schema").stdout)


def test_doctor_ends_in_7_when_something_is_wrong(news: Settings) -> None:
    split = news.datasets / "news" / "1.0.0" / "split.parquet"
    split.write_bytes(split.read_bytes()[:-1] + b"x")
    done = mlops("doctor")
    assert (done.returncode, "PROBLEM" in done.stdout) == (7, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["register", "--model-name", "m"], "either --run-id or --source"),
        (
            ["register", "--model-name", "m", "--run-id", "x", "--source", "runs:/x/model"],
            "either --run-id or --source",
        ),
        (["register", "--model-name", "m", "--source", "./model"], "neither a models:/ nor a runs:/ URI"),
        (["show", "--model-name", "It's"], "is not a model name"),
        (["show", "--model-name", "nope"], "There is no model prod.ml.nope"),
        (["copy", "--model-name", "m", "--from", "dev", "--to", "dev"], "Name two environments"),
        (["alias", "set", "--model-name", "m", "--alias", "latest", "--version", "1"], "reserved"),
        (
            ["alias", "set", "--model-name", "m", "--alias", "chalenger", "--version", "1"],
            "champion, challenger, shadow",
        ),
        (["tag", "set", "--model-name", "m", "--key", "", "--value", "x"], "key of 1 to 250 characters"),
        (["migrate-stages", "--source", "old", "--model-name", "m", "--dry-run"], "There is no model old"),
    ],
)
def test_a_registry_command_that_cannot_be_says_why_and_writes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = tree(home)
    monkeypatch.setattr(sys, "argv", ["mlops", "model", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, tree(home) == before) == (2, True)
    assert words in capsys.readouterr().err


def test_what_takes_something_away_asks_and_without_anybody_to_ask_does_nothing(
    news: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = target_of(news, "sentiment")
    store.create_model(target)
    for arguments in (["delete"], ["rename", "--to", "tone"]):
        monkeypatch.setattr(sys, "argv", ["mlops", "model", *arguments, "--model-name", "sentiment", "--env", "dev"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert "--yes" in capsys.readouterr().err
        assert store.model(target)
    monkeypatch.setattr(sys, "argv", ["mlops", "rollback", "--model-name", "sentiment"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, "--env prod, or --yes" in capsys.readouterr().err) == (2, True)


def test_the_history_gives_no_time_that_nobody_knows(
    news: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.create_model(target_of(news, "sentiment"))
    words: dict[str, Any] = dict.fromkeys(
        ("kind", "outcome", "by", "reason", "run_id", "run_link", "verdict_digest", "gate", "approved_by", "approval"),
        "",
    )
    line = catalog.Line(
        version=1, at=datetime.fromtimestamp(0, UTC), champion=None, expected=None, deleted=True, missing=True, **words
    )
    monkeypatch.setattr(catalog, "history", lambda _: [line])
    monkeypatch.setattr(sys, "argv", ["mlops", "history", "--model-name", "sentiment"])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert "not known" in out
    assert "1970" not in out


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", ""])
def test_a_moment_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["mlops", "history", "--model-name", "m", "--at", moment])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "is not an ISO time" in capsys.readouterr().err


def test_a_folder_may_be_named_by_a_url_of_a_file(tmp_path: Path) -> None:
    named = tmp_path / "my folder"
    assert files.folder_of(named.as_uri()) == files.folder_of(str(named)) == named
    assert files.folder_of(named.as_uri().replace("file://", "file://localhost")) == named
    assert files.folder_of("out") == Path.cwd() / "out"
    for uri in ("s3://b/x", "https://h/x", "dbfs://x"):
        with pytest.raises(errors.ConfigError, match="is no folder"):
            files.folder_of(uri)
