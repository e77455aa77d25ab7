"""The services of one machine: start them in order, wait until they are healthy, watch them."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from cli import history
from cli.operations import processes, state
from cli.operations.state import Process, Service, Stack
from cli.runner import QUIET
from lifecycle.core import children, guard
from lifecycle.core.errors import ConfigError, TransientError
from lifecycle.core.guard import LOOPBACK
from lifecycle.storage import embedded
from lifecycle.tracking import client as tracking
from mlops_lifecycle import start

START_SECONDS = 300
END_SECONDS = 120
NOT_INHERITED = {"PREFECT_API_KEY", "PREFECT_PROFILE"}
PATHS = ("MLOPS_CONFIG_DIR", "MLOPS_DATA_ROOT", "MLOPS_OUTPUT_ROOT")
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Kept in memory, a lease is forgotten when the server ends, and the slot of its limit is never free again."""
OPTIONS = {"prefect": "--port", "mlflow": "--mlflow-port"}
OF_PREFECT = {"prefect", "worker"}
MAKE_DATABASE = "import sys; from lifecycle.tracking import client as tracking; tracking.client(sys.argv[1])"

_interrupts: list[int] = []

log = logging.getLogger("lifecycle.services")  # shown by `runner.progress`


@dataclass(frozen=True)
class Plan:
    """What to bring up, and where."""

    home: Path
    env: str
    tracking_uri: str
    port: int = 4200
    mlflow_port: int = 5000
    deploy: bool = True
    allowed_hosts: tuple[str, ...] = ()

    @property
    def prefect(self) -> str:
        """The address of Prefect's UI; its API is below it."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def own_mlflow(self) -> bool:
        """Whether the tracking database is an embedded one, which nobody serves yet."""
        return tracking.database_path(self.tracking_uri) is not None

    @property
    def mlflow(self) -> str:
        """The address of MLflow's UI."""
        return f"http://{LOOPBACK}:{self.mlflow_port}" if self.own_mlflow else self.tracking_uri


class Supervisor:
    """Starts the services of a plan and watches them; the first that ends is an error.

    Their ports are taken before anything is started, and handed over: nobody can listen there in between.

    Raises:
        ConfigError: A port cannot be used.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.listeners = _listeners(plan)
        self.credential = state.new_credential(plan.home)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stack = Stack(
            supervisor=Process.of(os.getpid()),
            home=plan.home.resolve(),
            folder=state.identity(plan.home),
            env=plan.env,
            phase="starting",
            prefect=plan.prefect,
            mlflow=plan.mlflow,
        )
        state.write(plan.home, self.stack)

    def start(self) -> None:
        """Return once every service is healthy and the deployments are made.

        Raises:
            TransientError: A service ended or is not healthy in time; the last lines of its log are in the message.
        ConfigError: Prefect's history cannot be used.
        ConflictError: It is of another release of Prefect.
        """
        history.prepare(self.plan.home / "prefect")
        plan, prefect, ours = self.plan, start.command("prefect"), start.command("cli.main")
        self._serve("prefect", plan.prefect)
        if plan.own_mlflow:
            self._start_mlflow()
        self._until_healthy("prefect")
        if plan.deploy:
            self._run("setup", [*ours, "setup"])
        worker = ["worker", "start", "--pool", state.POOL, "--type", "process", "--name", state.WORKER_NAME]
        self._launch("worker", [*prefect, *worker], f"work pool {state.POOL}")
        if plan.deploy:
            self._run("deploy", [*ours, "deploy"])
        for name in list(self.children)[1:]:
            self._until_healthy(name)
        self._record(phase="up")

    def watch(self, show: Callable[[str, str], None] | None) -> None:
        """Hand each new line of the logs to `show`, with the service it is from, until a service ends.

        Raises:
            TransientError: A service ended; the message says which and why. Or the state directory was removed.
        """
        with _opened(self.stack.services) as logs, _held(state.folder(self.plan.home)) as is_removed:
            while True:
                for name, lines in logs.items():
                    for line in lines:
                        if show:
                            show(name, line.rstrip("\n"))
                self._require_all()
                if is_removed():
                    what = f"{self.plan.home} was removed while services were up for it. They were stopped."
                    raise TransientError(what, "Begin anew: mlops up")
                time.sleep(0.5)

    def stop(self) -> None:
        """Stop every service, the worker first, and forget them."""
        with suppress(OSError):  # somebody has moved the folder, or removed it
            self._record(phase="stopping")
        processes.stop(self.plan.home)
        for child in self.children.values():
            child.wait()
        state.forget(self.plan.home)

    def _start_mlflow(self) -> None:
        """Serve the tracking database; a missing one is made first, whole, as every command makes it."""
        plan, database = self.plan, tracking.database_path(self.plan.tracking_uri)
        if database and (not database.exists() or embedded.is_older(database)):
            self._run("database", [sys.executable, "-c", MAKE_DATABASE, plan.tracking_uri])
        self._serve("mlflow", plan.mlflow, plan.tracking_uri, (plan.home / "artifacts").as_uri())

    def _serve(self, name: str, address: str, *place: str) -> None:
        """Start a server on its port, behind the guard."""
        with self.listeners[name] as listener:
            fd, names = listener.fileno(), ",".join(self.plan.allowed_hosts)
            self._launch(name, start.command("cli.guarded", name, str(fd), names, *place), address, fd)

    def _launch(self, name: str, command: Sequence[str], address: str, *fds: int) -> None:
        """Start a service; Prefect would take settings from files of the folder that it is started in."""
        log_file = state.folder(self.plan.home) / f"{name}.log"
        with log_file.open("wb") as output:
            child = subprocess.Popen(  # noqa: S603  our own interpreter and its modules
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(self.plan, name, self.credential),
                pass_fds=fds,
                cwd=log_file.parent if name in OF_PREFECT else None,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops them in order
            )
        self.children[name] = child
        service = Service(name=name, address=address, log=log_file, **Process.of(child.pid).model_dump())
        self._record(services=(*self.stack.services, service))

    def _run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end beside the services; a second attempt of a person may cure its failure."""
        log.info("Running %s", name)
        self._launch(name, command, "")
        child = self.children.pop(name)
        self._until(lambda: child.poll() is not None, name)
        if child.returncode:
            raise TransientError(*self._ended(name, child.returncode))
        self._record(services=tuple(each for each in self.stack.services if each.name != name))

    def _until_healthy(self, name: str) -> None:
        service = self.stack.service(name)
        self._until(lambda: service is not None and state.is_healthy(self.plan.home, self.stack, service), name)
        log.info("%s is healthy", name)

    def _until(self, reached: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not reached():
            self._require_all()
            if time.monotonic() > deadline:
                what = f"{name} was not there after {START_SECONDS} s. Its last lines:\n{self._last_lines(name)}\n"
                raise TransientError(what, "Try: mlops up")
            time.sleep(0.2)

    def _require_all(self) -> None:
        if _interrupts:
            raise KeyboardInterrupt
        for name, child in self.children.items():
            if child.poll() is not None:
                raise TransientError(*self._ended(name, child.returncode))

    def _ended(self, name: str, code: int) -> tuple[str, str]:
        return (
            f"{name} {children.ended(code)}. Its last lines:\n{self._last_lines(name)}\n",
            f"See {self._log_of(name)}.",
        )

    def _last_lines(self, name: str) -> str:
        return "\n".join(f"  {line}" for line in self._log_of(name).read_text(errors="replace").splitlines()[-15:])

    def _log_of(self, name: str) -> Path:
        return state.folder(self.plan.home) / f"{name}.log"

    def _record(self, **changes: object) -> None:
        self.stack = self.stack.model_copy(update=changes)
        state.write(self.plan.home, self.stack)


@contextmanager
def claimed(plan: Plan) -> Iterator[Stack | None]:
    """Hold the state directory's lock: yield None, or the stack of whoever holds it already, once that is up.

    What a killed supervisor left is stopped first.
    """
    state.folder(plan.home).mkdir(parents=True, exist_ok=True)
    lock = _lock(plan.home)
    try:
        stack = _other(lock, plan.home)
        if stack is None:
            for known_as in dict.fromkeys((state.started_as(plan.home), plan.home.resolve())):
                processes.stop(known_as)
        yield stack
    finally:
        lock.release()


def interruptible() -> None:
    """Let SIGTERM and a closed terminal end the command as Ctrl-C does: with what stands in its `finally`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    """Python drops what a handler raises within a finaliser, so the supervisor's loops also look at what came."""
    _interrupts.append(number)
    raise KeyboardInterrupt


def down(home: Path) -> bool:
    """Stop what is up and what a killed supervisor left; tell whether there was anything.

    Raises:
        TransientError: A process would not end.
    """
    if not state.folder(home).is_dir():  # somebody has removed it; what runs is known by its mark
        left = bool(processes.members(home))
        processes.stop(home)
        return left
    lock = _lock(home)
    try:
        known_as = state.started_as(home)
        found = _end_supervisor(lock, home) or bool(processes.members(known_as))
        processes.stop(known_as)
        state.forget(home)
    finally:
        lock.release()
    return found


def _environment(plan: Plan, name: str, credential: str) -> dict[str, str]:
    """What a service and its flow runs see: quiet libraries, this home whatever their working directory is.

    The servers are told the credential, the others show it.
    """
    home, inherited = plan.home, {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    absolute = {key: str(Path(inherited[key]).expanduser().absolute()) for key in PATHS if inherited.get(key)}
    return {
        **QUIET,
        "MLOPS_MLFLOW_UI": plan.mlflow,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        **inherited,
        **absolute,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "MLOPS_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{plan.prefect}/api",
        "PREFECT_UI_API_URL": "/api",  # by whichever name the browser knows the server
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nobody needs its three processes
        "PYTHONUNBUFFERED": "1",
        guard.VARIABLE if name in state.HEALTH else state.LOGIN: credential,
        **processes.marked(home, name),
    }


def _lock(home: Path) -> FileLock:
    return FileLock(state.folder(home) / ".lock")


def _other(lock: FileLock, home: Path) -> Stack | None:
    """Take the lock, or wait until its holder is up (or gone, and the lock free) and return what it runs."""
    while True:
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            stack = state.read(home)
            if stack and stack.phase == "up" and stack.supervisor.alive:
                return stack
        else:
            return None


def _end_supervisor(lock: FileLock, home: Path) -> bool:
    """Ask the holder of the lock to stop and wait for its end; kill one that does not. Tell whether there was one."""
    asked: Process | None = None
    deadline = time.monotonic() + END_SECONDS
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            stack = state.read(home)
        if stack and stack.supervisor.alive and (not asked or time.monotonic() > deadline):
            log.info("Waiting for its supervisor; flow runs that are running have 30 s to end")
            os.kill(stack.supervisor.pid, signal.SIGKILL if asked else signal.SIGTERM)
            asked = stack.supervisor
    while asked and asked.alive:  # the lock is free a moment before
        time.sleep(0.05)
    return asked is not None


def _listeners(plan: Plan) -> dict[str, socket.socket]:
    """A socket that listens for each server of a plan, or none."""
    ports = {"prefect": plan.port, "mlflow": plan.mlflow_port} if plan.own_mlflow else {"prefect": plan.port}
    if len(set(ports.values())) < len(ports):
        raise ConfigError(f"Port {plan.port} is named twice.", "Choose another one with --mlflow-port.")
    with ExitStack() as opened:
        found = {name: opened.enter_context(_listener(port, OPTIONS[name])) for name, port in ports.items()}
        opened.pop_all()
        return found


def _listener(port: int, option: str) -> socket.socket:
    """A socket on loopback; a listener on all addresses does not everywhere keep others from binding, so ask first."""
    fix = f"Choose another one with {option}."
    with socket.socket() as client:
        if client.connect_ex((LOOPBACK, port)) == 0:
            raise ConfigError(f"Port {port} cannot be used: it is in use.", fix)
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ConfigError(f"Port {port} cannot be used: {os.strerror(error.errno or 0)}.", fix) from None


@contextmanager
def _opened(services: Sequence[Service]) -> Iterator[Mapping[str, TextIO]]:
    """The logs of services, each at its end; none where their folder was renamed meanwhile: they go on there."""
    logs: dict[str, TextIO] = {}
    with ExitStack() as files:
        for each in services:
            with suppress(FileNotFoundError):
                logs[each.name] = files.enter_context(each.log.open(errors="replace"))
                logs[each.name].seek(0, os.SEEK_END)
        yield logs


@contextmanager
def _held(folder: Path) -> Iterator[Callable[[], bool]]:
    """Whether a folder was removed since, which is not what a renamed one is; nobody knows of one that is gone now."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield lambda: False
        return
    try:
        yield lambda: os.fstat(fd).st_nlink == 0
    finally:
        os.close(fd)
