"""Run a flow for a person: quiet libraries, progress on stderr from the first second, our errors on one line.

With `PREFECT_API_URL` set, the flow runs against that server; else against one of its own for the time of the command,
whose history lies under `<home>/prefect`.
"""

import importlib
import importlib.util
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli import console, environment, interrupts
from cli.server import lasting, own_server
from lifecycle import settings
from lifecycle.core.errors import ConfigError
from lifecycle.core.names import Environment, is_model_name
from lifecycle.core.writer_process import name_the_user
from lifecycle.data import lock
from lifecycle.registry.store import target_of
from lifecycle.settings import definitions, files
from lifecycle.tracking.client import database_path

if TYPE_CHECKING:
    from prefect import Flow, State
    from prefect.client.schemas.objects import FlowRun

    from lifecycle.registry.store import Target
    from lifecycle.settings import Settings

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the default is rarer than the 90 s after which automations.yaml acts
    "PREFECT_LOGGING_EXTRA_LOGGERS": "lifecycle",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
EXPECTATIONS = "lifecycle.data.expectations"
MODELS = ("mlflow", "mlflow.store.tracking.sqlalchemy_store", "skops.io")
HEAVY = {
    "create_data": (EXPECTATIONS,),
    "train": (*MODELS, "matplotlib.figure"),
    "promote": MODELS,
    "check": MODELS,
    "rollback": MODELS[:-1],
    "batch_inference": MODELS,
    "monitor": MODELS,
    "release": (EXPECTATIONS, *MODELS, "matplotlib.figure"),
}
"""The libraries that a flow's steps import, the slowest first."""
PROVING = ("train", "promote", "check", "release")
"""The flows whose gate replays a model in a fresh process: it comes up while this one imports, after the server."""
UNCHANGED = "Nothing was changed."
AGAIN = "The same command goes on from what is complete."
KEPT = {
    "create_data": f"No part of a dataset version is left behind. {AGAIN}",
    "train": f"What is trained, judged or promoted stays. {AGAIN}",
    "promote": f"The champion is whoever mlops history names. {AGAIN}",
    "check": UNCHANGED,
    "rollback": "Before it is run again, see who is champion: mlops history",
    "batch_inference": f"Nothing is published before it is whole; the parts that are scored stay. {AGAIN}",
    "release": f"Dataset, training and promotions that are complete stay. {AGAIN}",
    "tune": f"The trials that are complete stay. {AGAIN}",
}
"""What is left of a flow that somebody ends, and how to go on."""


def quiet(*, verbose: bool = False) -> None:
    """Set what must stand before Prefect, MLflow and Great Expectations are imported: they are not to use stdout."""
    console.quiet()
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    name_the_user()
    if not verbose:
        os.environ.setdefault(environment.CONSOLE_LEVEL, "CRITICAL")


def has_prefect() -> bool:
    """Whether the extra `prefect` is installed; the steps run without it."""
    return all(importlib.util.find_spec(name) for name in ("prefect", "psutil"))


def require_prefect() -> None:
    """Check that the orchestration floors are there.

    Raises:
        ConfigError: The extra `prefect` is not installed.
    """
    if not has_prefect():
        what = "This command needs Prefect, which is not installed."
        raise ConfigError(what, "Install it: pip install 'mlops-lifecycle[prefect]'")


def existing(env: Environment, model_name: str) -> "Target":
    """The same as `registered`, for commands that only look."""
    target = registered(env, model_name)
    require_state(settings.load(env))
    return target


def registered(env: Environment, model_name: str) -> "Target":
    """The registered model of a name in an environment, for commands that need no flow.

    Raises:
        ConfigError: The name is not one.
    """
    if not is_model_name(model_name):
        raise ConfigError(f"{model_name!r} is not a model name: letters, digits, `_`, `.` and `-`.")
    config = settings.load(env)
    quiet()
    return target_of(config, model_name)


def require_state(config: "Settings") -> None:
    """Check that there is something to look at, here or on a server: to look makes no state.

    Raises:
        ConfigError: No project, and no state in its place.
    """
    if config.tracking_uri or config.registry_uri:
        return
    if files.project() is None and not os.environ.get("MLOPS_CONFIG_DIR") and not config.state.exists():
        what = f"There is nothing here: {Path.cwd()} is in no project, and has no {config.state.name}."
        raise ConfigError(what, "Change to the project's folder, or begin one: mlops init TABLE")


def confirm(question: str, yes: bool, answer: str = "--yes, or look first with --dry-run") -> None:
    """Ask before something is taken away; where nobody can be asked, name the option that answers.

    Raises:
        ConfigError: There is nobody to ask, or the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Cannot ask: standard input is not a terminal.", f"Say so with {answer}.")
    if not typer.confirm(question, err=True):
        raise ConfigError("Nothing was changed.")


def run_flow(name: str, parameters: Mapping[str, Any], *, home: Path, title: str, verbose: bool = False) -> Any:
    """Run a flow by its module and function name and return its value.

    Raises:
        ConfigError: The extra `prefect` is not installed, or a parameter is not valid.
    """
    require_prefect()
    _warn()
    quiet(verbose=verbose)
    with progress(title, KEPT.get(name, AGAIN)), own_server(home) as server, _usage(), lock.undisturbed(home):
        from lifecycle.gate.proof import replay

        flow = getattr(importlib.import_module(f"flows.{name}"), name)
        imports = threading.Thread(target=_warm_up, args=(HEAVY.get(name, ()),), daemon=True)
        imports.start()  # not before: two threads that import the same library may each see a half of it
        console.without_tracebacks("", "prefect._internal")
        flow = flow.with_options(on_running=[*flow.on_running_hooks, _tag])
        flow.on_completion_hooks = []  # it is the command that tells its user, after the run has completed
        server.wait()
        with replay.ahead() if name in PROVING else nullcontext(), server.run():
            imports.join()  # threads of one process share one core: to import beside the steps would only slow them
            return flow(**parameters)


def gains_by_prefect(config: "Settings", model_name: str) -> bool:
    """Whether a short flow is more than its steps: a server that stays shows it, and waits for nobody else's change.

    Beyond this machine, in a registry that is no file or at an endpoint, its retries count too, and a block of Prefect
    may hold the credentials.
    """
    target = target_of(config, model_name)
    embedded = database_path(target.registry_uri or target.tracking_uri) is not None
    remote = config.platform != "local" or config.databricks.credentials or model_name in config.serving.endpoints
    return not embedded or bool(remote) or bool(has_prefect() and lasting(config.state))


@contextmanager
def at_once(name: str, title: str, home: Path) -> Iterator[None]:
    """Run the steps of a flow as they are, in this process: nothing of Prefect is imported or started."""
    _warn()
    quiet()
    with progress(title, KEPT.get(name, AGAIN)), lock.undisturbed(home):
        yield


def _warn() -> None:
    for sentence in (*files.unread(), *definitions.unmatched()):
        sys.stderr.write(f"Warning: {sentence}\n")


@contextmanager
def _usage() -> Iterator[None]:
    """Turn what Prefect says about a flow's parameters into an error of usage."""
    from prefect.exceptions import ParameterTypeError

    try:
        yield
    except ParameterTypeError as error:
        raise ConfigError(" ".join(str(error).split())[:500], "See --help.") from None


def _tag(_flow: "Flow[..., Any]", run: "FlowRun", _state: "State[Any]") -> None:
    """Give the run the tags that deployments give theirs, so that it is found whoever has started it.

    Not by `prefect.tags`, which tags every task run too: for each, Prefect asks the server about limits of its tags.
    """
    from prefect.client.orchestration import get_client

    env = run.parameters.get("env") or run.parameters.get("target_env")
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, tags=["mlops", f"env:{env}"] if env else ["mlops"])


def _warm_up(modules: Sequence[str]) -> None:
    """Import the heavy libraries while Prefect's server starts in its own process: the main thread only waits then."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:  # the step that needs it will say so
            return


@contextmanager
def progress(title: str, kept: str = "") -> Iterator[None]:
    """Show on stderr what is going on: each effect as a line with its time, and a spinner on a terminal.

    `kept` says what stays of it, and how to go on, to whoever ends it.
    """
    from rich.console import Console
    from rich.markup import escape

    page, start = Console(stderr=True, highlight=False, soft_wrap=True), time.monotonic()
    handler = _Lines(page, start)
    logger = logging.getLogger("lifecycle")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    page.print(f"[bold]{escape(title)}[/bold]")
    try:
        with page.status("Starting …") if page.is_terminal else nullcontext(), interrupts.keeping(kept):
            yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    """Each log line of the steps as a line of progress."""

    def __init__(self, console: Any, start: float) -> None:
        super().__init__(logging.INFO)
        self.console, self.start = console, start

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line with the seconds since the start."""
        from rich.markup import escape

        seconds = time.monotonic() - self.start
        self.console.print(f"[dim]{seconds:5.1f} s[/dim]  {escape(record.getMessage())}")
