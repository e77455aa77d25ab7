"""Hyper-parameter search: what is tried, on which rows, what its runs record, and that it goes on where it was left."""

import json
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli import main
from lifecycle import settings
from lifecycle.core.errors import ConfigError, DataError, TransientError
from lifecycle.core.names import Side
from lifecycle.core.writer_process import OWNER
from lifecycle.data import dataset
from lifecycle.registry import leaderboard
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from lifecycle.tracking import trials as tried
from lifecycle.training import spaces, study, tune, tune_workers
from lifecycle.training.folds import Folds
from tests.conftest import ROOT, tree
from tests.tables import sales, write_version

RANGE = {"from": 1e-3, "to": 10, "scale": "log"}


def planned(config: Settings, **values: Any) -> study.TuneRequest:
    wanted = {"data_name": "news", "data_version": "1.0.0", "model_name": "sentiment", "algorithm": "naive_bayes"}
    return study.plan(config, study.Tuning(**{**wanted, "folds": 2, **values}))


def searched(config: Settings, **values: Any) -> tune.Tuned:
    return tune.search(planned(config, **values), partial(tune_workers.share, 1))


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1),
    st.booleans(),
    st.sampled_from(["random", "halving"]),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_a_larger_budget_begins_with_the_same_candidates(
    values: dict[str, Any], ranges: bool, search: Any, trials: int, seed: int
) -> None:
    space = spaces.parsed({**values, **({"r": RANGE} if ranges else {})})
    few, more = (spaces.candidates(space, search, count, seed) for count in (trials, trials + 3))
    assert more[: len(few)] == few
    assert len({json.dumps(each, sort_keys=True) for each in more}) == len(more)
    assert all(params[name] in allowed for params in more for name, allowed in values.items())
    assert all(1e-3 <= params["r"] <= 10 for params in more if ranges)


def test_a_space_is_read_as_a_person_writes_it(tmp_path: Path) -> None:
    texts = ["C=0.1,1e-4,10", "penalty=l1,l2", "tfidf__ngram_range=[1,1],[1,2]", "w=None,null,balanced", "d=true"]
    assert spaces.written(texts) == {
        "C": [0.1, 1e-4, 10],
        "penalty": ["l1", "l2"],
        "tfidf__ngram_range": [[1, 1], [1, 2]],
        "w": [None, None, "balanced"],
        "d": [True],
    }
    (tmp_path / "space.yaml").write_text("C: [1e-4, 1]\nn: {from: 1, to: 9}\nseed: 3\n")
    space = spaces.parsed(spaces.read(tmp_path / "space.yaml"))
    assert (space["C"], space["seed"]) == ([1e-4, 1], [3])
    assert {type(params["n"]) for params in spaces.candidates(space, "random", 5, 0)} == {int}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"space": {"alphas": [1.0]}}, "no parameter 'alphas'"),
        ({"space": {"alpha": []}}, "no value to try"),
        ({"space": {"alpha": ["much"]}}, "alpha"),
        ({"space": {"alpha": {"from": 2, "to": 1}}}, "no range"),
        ({"space": {"alpha": {"low": 2, "to": 1}}}, "from"),
        ({"space": {"alpha": RANGE}, "search": "grid"}, "a grid has no ranges"),
        ({"space": {"alpha": [1.0]}, "params": {"alpha": 2.0}}, "fixed by --params and searched"),
        ({"metric": "niceness"}, "not a metric"),
        ({"metric": "f1.postive"}, "no row of train is of a class 'postive'. Did you mean 'positive'"),
        ({"algorithm": "astrology"}, "no algorithm"),
        ({"algorithm": "transformer"}, "no parameters that are searched by default"),
        ({"params": {"beta": 1}}, "no parameter 'beta'"),
        ({"folds": 50}, "too few for 50 folds"),
    ],
)
def test_what_is_wrong_is_said_before_any_trial_and_writes_nothing(
    news: Settings, home: Path, values: dict[str, Any], words: str
) -> None:
    before = tree(home)
    with pytest.raises((ConfigError, DataError), match=words):
        planned(news, **values)
    assert tree(home) == before


def test_a_search_records_its_trials_and_goes_on_where_it_was_left(news: Settings) -> None:
    space = {"alpha": [0.1, 1.0], "class_prior": [None, [0.5, 0.5]]}
    first = searched(news, space=space, search="grid", trials=3)
    assert (first.new, first.planned, len(first.trials)) == (3, 3, 3)
    failed = [trial for trial in first.trials if trial.value is None]
    assert [trial.params["class_prior"] for trial in failed] == [[0.5, 0.5]]
    assert first.best == first.trials[0]
    client = tracking.client(news.mlflow_uri)
    children = {trial.run_id: client.get_run(trial.run_id) for trial in first.trials}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {first.run_id}
    assert len(client.get_metric_history(first.trials[0].run_id, "fold")) == 2
    assert client.get_run(first.run_id).data.metrics["f1_macro"] == first.trials[0].value
    assert leaderboard.trainings(news, "sentiment", leaderboard.Wanted(), 20) == []

    again = searched(news, space=space, search="grid", trials=3)
    assert (again.new, again.trials) == (0, first.trials)
    dead = first.trials[0].run_id  # as a killed process leaves it
    client.update_run(dead, status="RUNNING")
    client.set_tag(dead, "mlops.owner", f"{client.get_run(dead).data.tags['mlops.owner'].partition(':')[0]}:999999999")
    more = searched(news, space=space, search="grid")
    assert (more.new, len(more.trials), more.run_id) == (2, 4, first.run_id)
    assert client.get_run(dead).info.status == "KILLED"
    assert [trial.value for trial in more.trials if trial.params == first.trials[0].params] == [first.trials[0].value]


def test_a_trial_that_a_process_has_is_no_other_ones(news: Settings) -> None:
    where = tracking.experiment(news.mlflow_uri, "sentiment-dev")
    journal, other = (tried.opened(news.mlflow_uri, where, "study", "title", {}) for _ in range(2))
    assert journal.run_id == other.run_id
    assert journal.claim("a")
    assert not other.claim("a")
    assert other.claim("b")
    with journal.trial("a", {}) as run:
        run.measured([0.5, 0.7], 1.0)
    assert other.known(["a", "b"])["a"]["value"] == pytest.approx(0.6)
    assert not other.claim("a"), "it was made since somebody last looked"


HOLDER = """
import sys, time
from lifecycle.tracking import trials

journal = trials.opened(*sys.argv[1:], "study", "title", {}, lease_seconds=6)
assert journal.claim("a")
with journal.trial("a", {}):
    print(journal.run_id, flush=True)
    time.sleep(600)
"""


def test_a_trial_of_another_machine_is_free_once_nobody_says_that_it_is_under_way(config: Settings) -> None:
    where, client = tracking.experiment(config.mlflow_uri, "sentiment-dev"), tracking.client(config.mlflow_uri)
    command = [sys.executable, "-c", HOLDER, config.mlflow_uri, where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        journal = tried.opened(config.mlflow_uri, where, "study", "title", {}, lease_seconds=6)
        assert holder.stdout.readline().strip() == journal.run_id
        (run,) = client.search_runs([where], f"tags.`{tried.TRIAL}` = 'a'")
        client.set_tag(run.info.run_id, OWNER, "elsewhere:1")
        while client.get_run(run.info.run_id).data.tags[tried.LEASE] == run.data.tags[tried.LEASE]:
            time.sleep(0.05)
        assert not journal.claim("a")
        holder.kill()
    while not journal.claim("a"):
        time.sleep(0.1)
    assert client.get_run(run.info.run_id).info.status == "KILLED"


def test_a_trial_of_an_earlier_release_is_under_way_for_minutes_after_its_start(config: Settings) -> None:
    where, client = tracking.experiment(config.mlflow_uri, "sentiment-dev"), tracking.client(config.mlflow_uri)
    journal = tried.opened(config.mlflow_uri, where, "study", "title", {})
    for key, minutes in {"a": 11, "b": 9}.items():
        tags = {tried.STUDY: "study", tried.TRIAL: key, tried.PARENT: journal.run_id, OWNER: "elsewhere:1"}
        client.create_run(where, start_time=int((time.time() - 60 * minutes) * 1000), tags=tags)
    assert (journal.claim("a"), journal.claim("b")) == (True, False)


MEETING = """
import os
import signal
import time
from multiprocessing import parent_process
from pathlib import Path

from sklearn.linear_model import Ridge

PLACE = Path({place!r})


def begun(name):
    return (PLACE / name).stat().st_size if (PLACE / name).exists() else 0


class Meeting(Ridge):
    def fit(self, rows, target, sample_weight=None):
        name = "other" if parent_process() else "first"
        with (PLACE / name).open("a") as file:
            file.write("x")
        if parent_process() and begun("other") == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        deadline = time.monotonic() + 240
        while not parent_process() and begun("other") < (1 if begun("first") < 3 else 3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return super().fit(rows, target)


def make(params, seed):
    return Meeting(**params)
"""


def test_processes_share_the_trials_and_what_one_that_dies_had_begun_is_made_again(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of four trials of two folds the other process makes one, and is killed in its second."""
    write_version(config, "tabular-regression")
    (tmp_path / "meeting.py").write_text(MEETING.format(place=str(tmp_path)), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = settings.load("dev", home=config.state, trusted_modules=["meeting"])
    data = {"data_name": "sales", "algorithm": "meeting:make", "model_name": "price"}
    request = planned(config, **data, space={"alpha": [0.1, 1.0, 10.0, 100.0]}, search="grid")
    with caplog.at_level("INFO", "lifecycle.training"):
        found = tune.search(request, partial(tune_workers.share, 2))
    assert (found.new, found.planned, found.left) == (4, 4, 0)
    runs = tracking.client(config.mlflow_uri).search_runs(
        [tracking.experiment(config.mlflow_uri, "price-dev")], f"tags.`{tried.PARENT}` = '{found.run_id}'"
    )
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 4 + ["KILLED"]
    assert len({run.data.tags[OWNER] for run in runs if run.info.status == "FINISHED"}) == 2
    assert sorted(line[:12] for line in caplog.messages if line.startswith("Trial")) == [
        f"Trial {number} of 4"[:12] for number in range(1, 5)
    ]
    assert "was killed by SIGKILL" in caplog.text
    (tmp_path / "meeting.py").write_text("def make(params, seed): ...\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"meeting:make: its code digests to .* here"):
        tune.tune(request)


def test_a_search_that_lacks_trials_says_so_unless_its_time_was_up(news: Settings) -> None:
    lost = TransientError("The run was lost.", "Try again.")
    with pytest.raises(TransientError, match=r"was lost. 0 of 4 trials .* Try again. The same command goes on"):
        tune.search(planned(news, trials=4), lambda _: [lost])
    with pytest.raises(ConfigError, match="mlops databricks deploy"):
        tune.search(planned(news, trials=4), lambda _: [])
    assert tune.search(planned(news, trials=4, minutes=1), lambda _: [lost]).left == 4
    found = searched(news, space={"alpha": RANGE}, minutes=0.001)
    assert found.planned > 1000
    assert found.left == found.planned - len(found.trials)


def test_halving_tries_a_third_of_the_candidates_on_three_times_the_rows(config: Settings) -> None:
    write_version(config, "tabular-regression")
    assert spaces.rungs(27, 9000, 20) == [(27, 333), (9, 1000), (3, 3000), (1, 9000)]
    assert spaces.rungs(27, 50, 20) == [(27, 50)]
    data = {"data_name": "sales", "algorithm": "linear_regression", "model_name": "price"}
    space = {"alpha": [0.01, 1.0, 100.0, 1000.0]}
    found = searched(config, **data, space=space, search="halving", trials=4)
    assert [trial.rows for trial in found.trials] == [144, 144, 48, 48, 48, 48]
    assert (found.metric, found.higher_is_better) == ("root_mean_squared_error", False)
    assert found.trials[0].value == min(trial.value or 0 for trial in found.trials[:2])


def test_folds_keep_to_what_divided_the_version(config: Settings) -> None:
    manifest = write_version(config, "tabular-classification", sales(120))
    rows = dataset.load_rows(config.datasets, "sales", "1.0.0", Side.TRAIN)
    chance = np.random.default_rng(1)
    rows["source_day"] = [f"2024-01-{day:02d}" for day in chance.integers(1, 28, len(rows))]
    rows["source_customer"] = chance.choice(list("abcdefgh"), len(rows))

    def folds(**parameters: str) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
        made = Folds(manifest.model_copy(update={"parameters": parameters}), 3, 0).of(rows)
        assert len(made) == 3
        return [(rows.iloc[fit], rows.iloc[measure]) for fit, measure in made]

    for fit, measure in folds(time_column="day"):
        assert max(fit["source_day"]) <= min(measure["source_day"])
    for fit, measure in folds(group_column="customer"):
        assert not {*fit["source_customer"]} & {*measure["source_customer"]}
    rows["key"] = rows["key"].iloc[[n // 2 for n in range(len(rows))]].to_numpy()  # each row twice
    for fit, measure in folds():
        assert not {*fit["key"]} & {*measure["key"]}
        assert {*measure["label"]} == {"high", "low"}


@pytest.mark.usefixtures("news")
def test_the_commands_of_the_page_search_and_end_with_the_command_that_trains_the_best() -> None:
    page = (ROOT / "docs/how-to.md").read_text(encoding="utf-8").partition("## Search parameters")[2]
    commands = page.split("```")[1].strip().replace("tickets", "news").splitlines()
    for command in commands:
        done = CliRunner().invoke(main.app, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
    trained = done.stdout.partition("Train the best: ")[2]
    assert json.loads(shlex.split(trained)[shlex.split(trained).index("--params") + 1])["alpha"] in {0.03, 0.3}
    again = json.loads(CliRunner().invoke(main.app, [*shlex.split(commands[-1])[1:], "--json"]).stdout)
    assert (again["new"], again["planned"], again["command"]) == (0, 2, trained.strip())
