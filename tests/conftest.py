"""What tests share: real sqlite MLflow (copied from one migrated file), real files, a small real dataset version."""

import gc
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

from lifecycle import settings
from lifecycle.core import masking
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset
from lifecycle.data.source import Source
from lifecycle.settings import Settings
from lifecycle.tracking import client as tracking
from lifecycle.tracking import runs
from lifecycle.training import train as training
from mlops_lifecycle import start

start.find()  # as in what the commands start: no process below loads torch for a model that has none
os.environ.update(
    DO_NOT_TRACK="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_EXTRA_LOGGERS="lifecycle",
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
    GIT_PYTHON_REFRESH="quiet",
)

main_module = sys.modules["__main__"]
if main_module.__spec__ is None and not hasattr(main_module, "__file__"):
    # a worker of pytest-xdist: pyspark takes it for its own doctests, and ends it where grpc is not installed
    main_module.__spec__ = ModuleSpec("pytest.__main__", None)

# started in the background by a shell, or by nohup: commands that a test interrupts would inherit that they are deaf
HEARD: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGQUIT: signal.SIG_DFL,
}
for number, handler in HEARD.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# a busy machine is no counterexample; `make test-all` draws more often
EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "30"))
hypothesis.settings.register_profile("unhurried", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "financial_news.csv"

OFTEN = {
    "PREFECT_WORKER_QUERY_SECONDS": "0.5",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "4",
}
"""How often Prefect looks after things, for servers and workers of tests: by default runs wait for half a minute.

Not more often: where many write at once, the server's sqlite is locked, and after four tries it loses an event.
"""

exhaustive = pytest.mark.exhaustive
"""For what another test proves already, once more in another registry or by other rules: `make test-all` runs it."""


def some(*values: Any, always: int) -> Iterator[Any]:
    """Values of a parameter that are of one kind, of which the first ones stand for all in `make test`."""
    for number, value in enumerate(values):
        yield value if number < always else pytest.param(value, marks=exhaustive)


TOGETHER = ("tests/operations/test_deployments.py", "tests/operations/test_runs.py"), ("tests/spark/",)
"""Files that share what starts slowly: a server that is deployed to, the machine of Spark. One worker has them all."""
WAITING = ("tests/databricks/", "tests/docs/", "tests/faults/", "tests/flows/")
"""Tests that wait for other processes half of their time."""
FIRST = "tests/operations/"
"""Those that wait longest."""

Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test sees the settings of the repository and a wide page, not those of whoever runs it or ran before it."""
    before = dict(os.environ)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    for variable in [name for name in os.environ if name.startswith("MLOPS_")]:
        monkeypatch.delenv(variable)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _no_secrets_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test gives as a password is an everyday word in the messages of the next one."""
    monkeypatch.setattr(masking, "_known", set(masking._known))


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Once:
    """A function that fills a folder, unless another worker of the session has; nobody may write there later."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def run(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = shared / f"once-{name}", shared / f"once-{name}.made"
        with FileLock(shared / f"once-{name}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return run


@pytest.fixture(scope="session")
def migrated(once: Once) -> Path:
    """One migrated, empty MLflow database: making one costs seconds, copying it nothing."""
    return once("migrated", lambda folder: tracking.client(f"sqlite:///{folder / 'mlflow.db'}")) / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with an empty registry; `settings.load` uses it."""
    folder = tmp_path / "state"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    monkeypatch.setenv("MLOPS_HOME", str(folder))
    return folder


@pytest.fixture
def config(home: Path) -> Settings:
    """The settings of dev in a fresh state directory."""
    return settings.load("dev", home=home)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests by file, and some files together."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((files[0] for files in TOGETHER if nodeid.startswith(files)), super()._split_scope(nodeid))

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix files whose tests wait with those whose tests compute, so that no core is idle; what takes longest begins."""
    files = list(dict.fromkeys(item.nodeid.partition("::")[0] for item in items))
    kinds = [[file for file in files if file.startswith(WAITING) is waits] for waits in (True, False)]
    place = {file: (number + 0.5) / len(kind) for kind in kinds for number, file in enumerate(kind)}
    items.sort(key=lambda item: (not item.nodeid.startswith(FIRST), place[item.nodeid.partition("::")[0]]))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()


def write_news(path: Path, rows: int = 240, *, start: int = 0) -> Path:
    """A small table whose labels can be learnt: three classes of distinct short texts."""
    words = {
        "positive": "profit rose and orders grew to a record",
        "negative": "loss widened as sales fell on weak demand",
        "neutral": "the company will hold its meeting in the office",
    }
    lines = ["text,label"]
    for number in range(start, start + rows):
        label = list(words)[number % 3]
        lines.append(f"{words[label]} number {number} of firm {number * 7 % 101},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_dataset(config: Settings, source: Path, data_name: str = "news", data_version: str = "1.0.0") -> None:
    """Make a dataset version of a table with columns `text` and `label`."""
    request = dataset.plan(config, Source(uri=str(source)), data_name=data_name, data_version=data_version)
    dataset.create(request)


def train_model(
    config: Settings, algorithm: str = "naive_bayes", *, seed: int = 0, data_version: str = "1.0.0", **params: object
) -> ModelRef:
    """Train a model on dataset `news` and return the reference to it."""
    data = {"data_name": "news", "data_version": data_version}
    wanted = training.Training(**data, model_name="sentiment", algorithm=algorithm, params=params, seed=seed)
    request = training.plan(config, wanted)
    training.train(request)
    return runs.trained(config.mlflow_uri, request.run_id)


@pytest.fixture(scope="session")
def prepared(once: Once, migrated: Path) -> Path:
    """A state directory with dataset `news` 1.0.0, made once and copied by who trains on it."""

    def make(folder: Path) -> None:
        shutil.copy(migrated, folder / "mlflow.db")
        make_dataset(settings.load("dev", home=folder), write_news(folder / "news.csv"))

    return once("prepared", make)


@pytest.fixture
def news(home: Path, prepared: Path) -> Settings:
    """The settings of dev in a state directory that holds dataset `news` 1.0.0 (240 rows, three classes)."""
    shutil.copytree(prepared / "data", home / "data")
    return settings.load("dev", home=home)


@pytest.fixture
def replayed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's replay in this process: what starts a fresh one is tested by the release and by the gate's tests."""
    from lifecycle.gate.proof import replay

    monkeypatch.setattr(replay, "_in_fresh_process", replay.replay)
    monkeypatch.setattr(replay, "ahead", lambda _=None: nullcontext())


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of one real Prefect server for the whole session."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield str(PREFECT_API_URL.value())


def free_port() -> int:
    """A port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content: two equal trees are byte-identical."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
