"""The services of one machine: start them in order, wait until they are healthy, watch them."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from cli import history
from cli.operations import processes, state
from cli.operations.state import Process, Service, Stack
from cli.runner import QUIET
from lifecycle import children, tracking
from lifecycle.errors import ConfigError, TransientError

START_SECONDS = 180
END_SECONDS = 120
NOT_INHERITED = {"PREFECT_API_KEY", "PREFECT_PROFILE"}
PATHS = ("MLOPS_CONFIG_DIR", "MLOPS_DATA_ROOT", "MLOPS_OUTPUT_ROOT")
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Kept in memory, a lease is forgotten when the server ends, and the slot of its limit is never free again."""
OF_PREFECT = {"prefect", "worker"}
MAKE_DATABASE = "import sys; from lifecycle import tracking; tracking.client(sys.argv[1])"

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

    @property
    def prefect(self) -> str:
        """The address of Prefect's UI; its API is below it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def own_mlflow(self) -> bool:
        """Whether the tracking database is an embedded one, which nobody serves yet."""
        return tracking.database_path(self.tracking_uri) is not None

    @property
    def mlflow(self) -> str:
        """The address of MLflow's UI."""
        return f"http://127.0.0.1:{self.mlflow_port}" if self.own_mlflow else self.tracking_uri


class Supervisor:
    """Starts the services of a plan and watches them; the first that ends is an error."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stack = Stack(
            supervisor=Process.of(os.getpid()), env=plan.env, phase="starting", prefect=plan.prefect, mlflow=plan.mlflow
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
        plan, prefect, ours = self.plan, [sys.executable, "-m", "prefect"], [sys.executable, "-m", "cli.main"]
        where = ["--host", "127.0.0.1", "--port"]
        self._launch("prefect", [*prefect, "server", "start", *where, str(plan.port)], plan.prefect)
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
            TransientError: A service ended; the message says which and why.
        """
        with _opened(self.stack.services) as logs:
            while True:
                for name, lines in logs.items():
                    for line in lines:
                        if show:
                            show(name, line.rstrip("\n"))
                self._require_all()
                time.sleep(0.5)

    def stop(self) -> None:
        """Stop every service, the worker first, and forget them."""
        self._record(phase="stopping")
        processes.stop(self.plan.home)
        for child in self.children.values():
            child.wait()
        state.forget(self.plan.home)

    def _start_mlflow(self) -> None:
        """Serve the tracking database; a missing one is made first, whole, as every command makes it."""
        plan, database = self.plan, tracking.database_path(self.plan.tracking_uri)
        if database and not database.exists():
            self._run("database", [sys.executable, "-c", MAKE_DATABASE, plan.tracking_uri])
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", plan.tracking_uri, "--workers", "1"]
        artifacts = (plan.home / "artifacts").as_uri()
        command += ["--artifacts-destination", artifacts, "--host", "127.0.0.1", "--port", str(plan.mlflow_port)]
        self._launch("mlflow", command, plan.mlflow)

    def _launch(self, name: str, command: Sequence[str], address: str) -> None:
        """Start a service; Prefect would take settings from files of the folder that it is started in."""
        log_file = state.folder(self.plan.home) / f"{name}.log"
        with log_file.open("wb") as output:
            child = subprocess.Popen(  # noqa: S603  our own interpreter and its modules
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(self.plan, name),
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
        self._until(lambda: service is not None and state.is_healthy(self.stack, service), name)
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

    Raises:
        ConfigError: A port is in use.
    """
    state.folder(plan.home).mkdir(parents=True, exist_ok=True)
    lock = _lock(plan.home)
    try:
        stack = _other(lock, plan.home)
        if stack is None:
            processes.stop(plan.home)
            _require_free_ports(plan)
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
        found = _end_supervisor(lock, home) or bool(processes.members(home))
        processes.stop(home)
        state.forget(home)
    finally:
        lock.release()
    return found


def _environment(plan: Plan, name: str) -> dict[str, str]:
    """What a service and its flow runs see: quiet libraries, this home whatever their working directory is."""
    home, inherited = plan.home, {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    absolute = {key: str(Path(inherited[key]).expanduser().absolute()) for key in PATHS if inherited.get(key)}
    login = inherited.get("PREFECT_SERVER_API_AUTH_STRING")
    return {
        **QUIET,
        "MLOPS_MLFLOW_UI": plan.mlflow,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        **({"PREFECT_API_AUTH_STRING": login} if login else {}),
        **inherited,
        **absolute,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "MLOPS_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{plan.prefect}/api",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nobody needs its three processes
        "PYTHONUNBUFFERED": "1",
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


def _require_free_ports(plan: Plan) -> None:
    ports = {"--port": plan.port, "--mlflow-port": plan.mlflow_port} if plan.own_mlflow else {"--port": plan.port}
    if len(set(ports.values())) < len(ports):
        raise ConfigError(f"Port {plan.port} is named twice.", "Choose another one with --mlflow-port.")
    for option, port in ports.items():
        if reason := _unusable(port):
            raise ConfigError(f"Port {port} cannot be used: {reason}.", f"Choose another one with {option}.")


def _unusable(port: int) -> str:
    """Why nothing can listen there; a listener on all addresses does not everywhere keep others from binding."""
    with socket.socket() as client, socket.socket() as listener:
        if client.connect_ex(("127.0.0.1", port)) == 0:
            return "it is in use"
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return os.strerror(error.errno or 0)
    return ""


@contextmanager
def _opened(services: Sequence[Service]) -> Iterator[Mapping[str, TextIO]]:
    """The logs of services, each at its end."""
    with ExitStack() as files:
        logs = {each.name: files.enter_context(each.log.open(errors="replace")) for each in services}
        for log_file in logs.values():
            log_file.seek(0, os.SEEK_END)
        yield logs
