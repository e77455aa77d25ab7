"""The start of every process of ours: nobody else's modules, and no variable meant for other programs, reach it.

Until `protect` has run, `import random` may give anybody's file. So this imports only what is part of the interpreter
or is loaded before any script. Run as a script it starts a child: `start.py MODULE ARGUMENT...` runs the module as
`python -m` does, from wherever this file lies.
"""

import atexit
import gc
import os
import sys
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False  # the one of `typing` is not safe to import yet
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

PACKAGES = frozenset({"cli", "flows", "tasks", "lifecycle"})
_HERE = os.path.dirname(os.path.abspath(__file__))
HOME = _HERE if os.path.isdir(os.path.join(_HERE, "lifecycle")) else os.path.dirname(_HERE)
"""The folder of our packages: this one in a wheel, the one above it in a checkout."""
CHILDREN = os.path.join(_HERE, "children")
"""On the PYTHONPATH of every Python that is started below us, by a library too: its `sitecustomize` calls `find`."""
GIVEN = "_MLOPS_PYTHONPATH"
"""The PYTHONPATH that a person gave, and the folder of the project: searched last, they add modules, such as metrics of
one's own, and hide none."""
ALTERING = ("PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONWARNINGS")
"""They make another interpreter: one with a prompt, without docstrings and assertions, with warnings as errors."""
RESTARTED = "_MLOPS_RESTARTED"
BRIDGES = {f"sklearn.externals.array_api_compat.{library}": library for library in ("cupy", "dask", "torch")}
"""From scikit-learn to libraries whose arrays it takes. Whoever looks through all of scikit-learn, as skops does to
know its estimators, imports these too: where torch is installed, a second of it for a model that has none."""


class _Ours:
    """Finds our packages in their folder, before anybody's path is searched for their names, and nothing else.

    A bridge from scikit-learn is not to be found before the library that it leads to has been imported.
    """

    home = HOME

    @staticmethod
    def find_spec(name: str, path: "Sequence[str] | None" = None, target: object = None) -> "ModuleSpec | None":  # noqa: ARG004
        if name in BRIDGES and BRIDGES[name] not in sys.modules:
            raise ModuleNotFoundError(f"{BRIDGES[name]} is not in use here", name=name)
        return PathFinder.find_spec(name, [HOME]) if path is None and name in PACKAGES else None


def find() -> None:
    """Make our packages findable in this process and in every Python below it; what a person gave is searched last."""
    if not any(getattr(finder, "home", None) == HOME for finder in sys.meta_path):
        sys.meta_path.insert(0, _Ours)
    sys.path[:] = [*(entry for entry in sys.path if entry not in {CHILDREN, *_given()}), *_given()]
    entries = _entries("PYTHONPATH")
    if CHILDREN not in entries:
        os.environ["PYTHONPATH"] = os.pathsep.join([CHILDREN, *entries])
    _spare_the_collector()


def _spare_the_collector() -> None:
    """Collect garbage less often, and not at all what is alive at the end.

    The imports make millions of objects that live as long as the process: looking through them again and again costs
    a second of every command and every run of a worker, and freeing them one by one at the exit another.
    """
    gc.set_threshold(50_000, 10, 10)  # a server collects what its requests leave
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def protect() -> None:
    """Let the environment and the folder of the script or of the moment hide no module, here and below."""
    if not sys.flags.safe_path:
        del sys.path[:1]
    sys.path[:] = [entry for entry in sys.path if entry]
    foreign = [entry for entry in [*_entries("PYTHONPATH"), *_project()] if entry not in {CHILDREN, HOME}]
    os.environ[GIVEN] = os.pathsep.join([*_given(), *(entry for entry in foreign if entry not in _given())])
    os.environ |= {"PYTHONPATH": CHILDREN, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
    os.environ["UVICORN_APP_DIR"] = CHILDREN  # uvicorn itself puts one first, by default the working directory
    for name in (
        *ALTERING,
        "PYTHONIOENCODING",
    ):  # this one is for a console, not for what our processes tell each other
        os.environ.pop(name, None)
    find()


def command(module: str, *arguments: str) -> "list[str]":
    """The command line of a child that runs a module, ours or a library's."""
    return [sys.executable, "-P", "-X", "utf8", os.path.join(_HERE, "start.py"), module, *arguments]


def main() -> None:
    """Run the command `mlops`."""
    _restart_unaltered()
    _open_streams()
    protect()
    _call("cli.main")


def step() -> None:
    """Run the command `mlops-step`; on a cluster the path leads to its libraries and stays."""
    find() if "DATABRICKS_RUNTIME_VERSION" in os.environ else protect()
    _call("lifecycle.jobs.steps")


def _call(module: str) -> None:
    from importlib import import_module  # whose own imports are safe by now

    import_module(module).main()


def _given() -> "list[str]":
    return _entries(GIVEN)


def _project() -> "list[str]":
    """The folder that the project's `config/` is in, found as `lifecycle.settings.files` finds it."""
    if chosen := os.environ.get("MLOPS_CONFIG_DIR"):
        return [os.path.dirname(os.path.abspath(os.path.expanduser(chosen)))]
    try:
        folder = os.getcwd()
    except OSError:
        return []
    while not any(os.path.exists(os.path.join(folder, "config", name)) for name in ("dev.yaml", "models")):
        if folder == (folder := os.path.dirname(folder)):
            return []
    return [folder]


def _entries(variable: str) -> "list[str]":
    """The folders of a path variable, absolute; an empty one would mean the working directory, which may be gone."""
    try:
        here = os.getcwd()
    except OSError:
        here = os.sep
    return [
        os.path.normpath(os.path.join(here, entry)) for entry in os.environ.get(variable, "").split(os.pathsep) if entry
    ]


def _restart_unaltered() -> None:
    """Start again without what alters the interpreter and with UTF-8 for file names, if we are the whole process."""
    altered = any(name in os.environ for name in ALTERING) or sys.getfilesystemencoding() != "utf-8"
    again = os.environ.pop(RESTARTED, None)
    if again or not altered or sys.orig_argv[1:2] != sys.argv[:1]:
        return
    for name in ALTERING:
        os.environ.pop(name, None)
    os.environ |= {RESTARTED: "1", "PYTHONUTF8": "1"}
    os.environ.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", "utf-8"))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  our own command line again


def _open_streams() -> None:
    """Open what was closed of the three streams: the next file would get its number, and what is printed with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    protect()
    import runpy

    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
