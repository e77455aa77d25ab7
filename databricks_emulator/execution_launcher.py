"""Runs one task in a process of its own: a wheel's entry point, a Python file or a notebook.

It is started as a file by whatever interpreter the task's environment has, so it uses nothing but the standard library.
Its one argument is a JSON file that says what to run and where to report what came out.
"""

import importlib
import json
import os
import re
import runpy
import signal
import sys
import threading
import traceback
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace

CELL = re.compile(r"^# COMMAND -+[ \t]*$", re.MULTILINE)
MAGIC = re.compile(r"^# MAGIC %(\w+)[ \t]*(.*)$", re.MULTILINE)
MOST_VALUE_BYTES = 48 * 1024


class NotebookExit(SystemExit):
    """`dbutils.notebook.exit`: the notebook ends well, with a result."""

    def __init__(self, result):
        super().__init__(0)
        self.result = str(result)


def main():
    """Run the task of an order and report how it ended."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _end_with_emulator()
    report = {"values": {}}
    dbutils = _dbutils(order, report)
    _offer(dbutils, json.loads(os.environ.pop("EMULATED_WORKSPACE")))
    if order["offline"]:
        _stay_inside()
    try:
        {"python_wheel_task": _wheel, "spark_python_task": _file, "notebook_task": _notebook}[order["kind"]](
            order, dbutils
        )
    except NotebookExit as end:
        report["result"] = end.result
    except SystemExit as end:
        if end.code not in {None, 0}:
            _note(report, end)
    except BaseException as error:
        _note(report, error)
    sys.stdout.flush()
    sys.stderr.flush()
    unfinished = Path(order["report"] + ".part")
    unfinished.write_text(json.dumps(report), encoding="utf-8")
    unfinished.replace(order["report"])
    return 1 if "error" in report else 0


def _note(report, error):
    report["error"] = "".join(traceback.format_exception_only(error)).strip()
    report["error_trace"] = "".join(traceback.format_exception(error))
    sys.stderr.write(report["error_trace"])


def _end_with_emulator():
    """Let our whole process group die with the emulator, whose end of the pipe on our standard input closes then."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait():
        os.read(pipe, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _offer(dbutils, workspace):
    """Be the runtime as clients look for it: `from databricks.sdk.runtime import dbutils`.

    Without it they would take this for a machine outside and start a Spark session. It alone knows the workspace and
    the task's token: no variable does. MLflow asks it which job this is.
    """
    runtime = ModuleType("dbruntime")
    initializer = SimpleNamespace(get_namespace_globals=lambda: {"dbutils": dbutils})
    runtime.UserNamespaceInitializer = SimpleNamespace(getOrCreate=lambda: initializer)
    credentials = ModuleType("dbruntime.sdk_credential_provider")
    header = {"Authorization": f"Bearer {workspace['token']}"}
    credentials.init_runtime_native_auth = lambda: (workspace["host"], lambda: header)
    context, job = ModuleType("dbruntime.databricks_repl_context"), SimpleNamespace(**workspace["job"])
    context.get_context = lambda: job
    sys.modules |= {each.__name__: each for each in (runtime, credentials, context)}


def _stay_inside():
    """Let this process connect to the workspace alone, which is this address; all others stand for the internet."""
    inside = {"127.0.0.1", "localhost", "::1"}

    def refuse(event, about):
        if event == "socket.connect" and isinstance(about[1], tuple) and about[1][0] not in inside:
            raise ConnectionRefusedError(111, "Outbound network access is restricted")

    sys.addaudithook(refuse)


def _wheel(order, _):
    """Call the entry point; as on a cluster, what it returns means nothing."""
    sys.argv = [order["package_name"], *order["arguments"]]
    _entry_point(order)()


def _entry_point(order):
    package, name = order["package_name"], order["entry_point"]
    if order["target"] is not None:
        return EntryPoint(name, order["target"], "console_scripts").load()
    try:
        found = distribution(package).entry_points.select(name=name)
    except PackageNotFoundError:
        found = ()
    for entry_point in found:
        return entry_point.load()
    return getattr(importlib.import_module(package), name)


def _file(order, _):
    path = Path(order["path"])
    sys.argv = [str(path), *order["arguments"]]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def _notebook(order, dbutils):
    sys.argv = [order["path"]]
    sys.path.insert(0, str(Path(order["path"]).parent))
    names = {"__name__": "__main__", "dbutils": dbutils, "display": print}
    _cells(Path(order["path"]), names)


def _cells(path, names):
    """Run the cells of a notebook in order, in one namespace; line numbers are those of the file."""
    source, start = path.read_text(encoding="utf-8"), 0
    for end in (*(found.start() for found in CELL.finditer(source)), len(source)):
        cell = source[start:end]
        for kind, rest in MAGIC.findall(cell):
            _magic(kind, rest.strip(), path, names)
        code = compile("\n" * source.count("\n", 0, start) + cell, str(path), "exec")
        exec(code, names)  # noqa: S102
        start = end


def _magic(kind, rest, path, names):
    if kind == "run":
        _cells((path.parent / rest.strip("\"'")).resolve(), names)
    elif kind == "pip":
        sys.stdout.write(f"not run here, the environment has what it has: %pip {rest}\n")
    elif kind != "md":
        raise NotImplementedError(f"cells in %{kind} are not emulated")


def _dbutils(order, report):
    """The part of `dbutils` that notebooks of jobs use."""
    widgets = dict(order["widgets"])

    def get(name):
        if name not in widgets:
            raise ValueError(f"InputWidgetNotDefined: No input widget named {name} is defined")
        return widgets[name]

    def define(name, defaultValue="", *_, **__):  # noqa: N803
        widgets.setdefault(name, str(defaultValue))

    def leave(value=""):
        raise NotebookExit(value)

    return SimpleNamespace(
        widgets=SimpleNamespace(
            get=get,
            getAll=lambda: dict(widgets),
            getArgument=lambda name, default=None: widgets.get(name, default),
            text=define,
            dropdown=define,
            combobox=define,
            multiselect=define,
            remove=lambda name: widgets.pop(name, None),
            removeAll=widgets.clear,
        ),
        notebook=SimpleNamespace(exit=leave),
        jobs=SimpleNamespace(taskValues=_task_values(order, report)),
    )


def _task_values(order, report):
    def store(key, value):
        if len(json.dumps(value).encode()) > MOST_VALUE_BYTES:
            raise ValueError(f"The value of {key} is larger than 48 KiB.")
        report["values"][key] = value

    def get(taskKey, key, default=None, debugValue=None):  # noqa: N803, ARG001
        found = order["values"].get(taskKey, {}).get(key, default)
        if found is None:
            raise ValueError(f"Task {taskKey} has set no value {key}, and there is no default.")
        return found

    return SimpleNamespace(set=store, get=get)


if __name__ == "__main__":
    sys.exit(main())
