"""`mlops rollback` where no server stays: the steps as they are, in a moment, without Prefect.

Promise: A rollback on one machine needs no server, and no Prefect.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import runner
from cli.main import app
from lifecycle.core.errors import LostRaceError, NotFoundError
from lifecycle.monitoring import probation, shadow, standings
from lifecycle.monitoring.subject import Subject
from lifecycle.registry import catalog, promotion, store
from lifecycle.settings import Settings
from tests.conftest import ROOT
from tests.registry.conftest import State, promote

PROGRAM = """
import json, sys
sys.modules |= dict.fromkeys(("prefect", "psutil"))  # as where the extra is not installed
from cli.main import main
try:
    main()
finally:
    packages = {name.partition(".")[0] for name, module in sys.modules.items() if module}
    print(json.dumps(sorted(packages)), file=sys.__stderr__)
"""
HEAVY = {"sklearn", "skops", "matplotlib", "great_expectations"}


def rolled_back(state: State, *options: str) -> tuple[dict[str, Any], set[str], str]:
    """What the command answers, which packages it has imported, and what it has said."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    words = ["rollback", "--model-name", "sentiment", "--env", "dev", "--json", *options]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=ROOT,
        env=outside | {"MLOPS_HOME": str(state.config.state)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, _, packages = done.stderr.rstrip("\n").rpartition("\n")
    return json.loads(done.stdout), set(json.loads(packages)), said


def test_it_proves_the_version_records_itself_and_needs_no_prefect(in_sqlite: State) -> None:
    for model in (in_sqlite.regression, in_sqlite.bayes):
        promote(in_sqlite.target, model)
    done, packages, said = rolled_back(in_sqlite, "--reason", "it was worse")
    assert (done["champion"], done["changed"], packages & HEAVY) == (1, True, set())
    assert "Replaying dev.ml.sentiment v1 in a fresh process" in said
    last = catalog.history(in_sqlite.target)[-1]
    assert (last.kind, last.reason, store.alias_version(in_sqlite.target)) == ("rollback", "it was worse", 1)
    assert not (in_sqlite.config.state / "prefect").exists()

    rehearsed, _, said = rolled_back(in_sqlite, "--to-version", "2", "--rehearse")
    assert (rehearsed["changed"], "in a fresh process" in said) == (False, True)
    assert store.version(in_sqlite.target, 2).tags[promotion.ROLLBACK_READY]
    again, _, said = rolled_back(in_sqlite, "--to-version", "1")
    assert (again["changed"], "Replaying" in said) == (False, False)


def test_the_probation_of_the_version_before_is_over_for_light_commands_too(in_sqlite: State) -> None:
    subject = Subject.of(in_sqlite.config, in_sqlite.target)
    for model in (in_sqlite.regression, in_sqlite.bayes):
        promote(in_sqlite.target, model)
        shadow.stands(subject)
    before = probation.read(subject.root, subject.name)
    assert (before.state, before.version) == ("running", 2)
    _, _, said = rolled_back(in_sqlite)
    assert "no probation: v1 is champion by a rollback" in said
    now = probation.read(subject.root, subject.name)
    assert (now.state, now.champion, now.champion_since > before.champion_since) == ("none", 1, True)
    assert now == shadow.stands(subject)


def test_a_version_whose_files_differ_is_refused_and_nothing_moves(in_sqlite: State) -> None:
    for model in (in_sqlite.regression, in_sqlite.bayes):
        promote(in_sqlite.target, model)
    next(in_sqlite.folder(in_sqlite.regression).rglob("pipeline.skops")).write_bytes(b"another model")
    with pytest.raises(AssertionError, match=r"Error: dev\.ml\.sentiment v1"):
        rolled_back(in_sqlite)
    assert promotion.read_log(in_sqlite.target).champion == 2


def test_where_more_than_this_process_takes_part_it_is_a_flow(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    assert not runner.gains_by_prefect(config, "sentiment")
    served = config.serving.model_copy(update={"endpoints": {"sentiment": "sentiment"}})
    signed_in = config.databricks.model_copy(update={"credentials": "a-block"})
    remote = {"tracking_uri": "http://mlflow.example.com", "platform": "databricks", "serving": served}
    remote |= {"databricks": signed_in}
    for name, value in remote.items():
        assert runner.gains_by_prefect(config.model_copy(update={name: value}), "sentiment"), name
    assert not runner.gains_by_prefect(config.model_copy(update={"serving": served}), "another")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert runner.gains_by_prefect(config, "sentiment")


def test_light_commands_tell_who_is_left_once_versions_are_gone(
    in_sqlite: State,
) -> None:
    subject = Subject.of(in_sqlite.config, in_sqlite.target)
    for model in (in_sqlite.regression, in_sqlite.bayes):
        promote(in_sqlite.target, model)
        shadow.stands(subject)
    store.mlflow_of(in_sqlite.target).delete_model_version(in_sqlite.target.name, "2")

    def typed(*words: str) -> None:
        done = CliRunner().invoke(app, ["model", *words, "--model-name", "sentiment", "--env", "dev", "--yes"])
        assert done.exit_code == 0, done.output

    typed("retire-missing", "--reason", "tidied up")
    assert probation.read(subject.root, subject.name).champion == 1
    measured = subject.root / subject.name / standings.FILE
    measured.write_text("{}")
    store.mlflow_of(in_sqlite.target).delete_model_version(in_sqlite.target.name, "1")
    typed("retire-missing", "--reason", "tidied up")
    assert (probation.read(subject.root, subject.name), measured.exists()) == (None, True)
    with pytest.raises(NotFoundError) as nobody:
        promotion.intend_rollback(in_sqlite.target, None, "it was worse")
    assert nobody.value.fix == promotion.ANOTHER
    typed("delete", "--with-champion")
    assert (probation.every(subject.root), measured.exists()) == ([], False)


def test_a_rollback_that_came_second_is_told_what_to_look_at(in_sqlite: State) -> None:
    for model in (in_sqlite.regression, in_sqlite.bayes):
        promote(in_sqlite.target, model)
    stated = promotion.intend_rollback(in_sqlite.target, None, "it was worse")
    promote(in_sqlite.target, in_sqlite.weak)
    with pytest.raises(LostRaceError) as lost:
        promotion.promote(stated)
    assert lost.value.fix == promotion.ROLL_BACK_AGAIN
    assert promotion.read_log(in_sqlite.target).champion == 3
