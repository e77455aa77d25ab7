"""Code of a team's own, by its dotted path: `package.module:name`.

What lies behind a path is read once, as source: the module, and every module of the same top-level package that it
imports. The same bytes are digested, run and stored with a model. Each set of sources is imported by itself, so that
two models with two states of one module predict side by side, and a process that lives for days runs what is there now.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, find_spec, spec_from_loader
from pathlib import Path
from threading import RLock
from types import FunctionType, ModuleType
from typing import Any

from lifecycle.core.errors import ConfigError, IntegrityError, MlopsError
from lifecycle.core.refusals import refused_by_the_library

PATTERN = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""How a dotted path is written."""
Sources = Mapping[str, bytes]
"""The files of one top-level package, or its only one, by their paths as they are imported: `ours/models.py`."""

WHERE = "It is looked for in the folder of the project (which `config/` is in), on PYTHONPATH, and where packages are."
_LOCK = RLock()


def is_path(name: str | None) -> bool:
    """Whether a name is a dotted path."""
    return name is not None and ":" in name


def is_trusted(module: str, trusted_modules: Iterable[str]) -> bool:
    """Whether a module, or a package that it is in, is one of those that are trusted."""
    return any(f"{module}.".startswith(f"{trusted}.") for trusted in trusted_modules)


def require_trusted(path: str, trusted_modules: Iterable[str]) -> None:
    """Refuse code that the environment does not trust.

    Raises:
        ConfigError: Its module is none of the trusted ones.
    """
    module = path.partition(":")[0]
    if not is_trusted(module, trusted_modules):
        top = module.partition(".")[0]
        what = f"{path} is code of your own, and {module} is not trusted in this environment."
        fix = f"trusted_modules: [{top}] in config/<env>.yaml, or MLOPS_TRUSTED_MODULES='[\"{top}\"]'"
        raise ConfigError(what, f"If it is to run, name it in the environment's settings: {fix}")


def digest(path: str) -> str:
    """The sha256 of the code behind a dotted path."""
    return digest_of(sources(path))


def digest_of(files: Sources) -> str:
    """The sha256 of sources, whatever their line ends."""
    total = hashlib.sha256()
    for name in sorted(files):
        content = files[name].replace(b"\r\n", b"\n")
        total.update(f"{name}\n{len(content)}\n".encode() + content)
    return total.hexdigest()


def sources(path: str) -> dict[str, bytes]:
    """The source of a module, of the packages that it is in, and of what it imports of its top-level package.

    Raises:
        ConfigError: There is no such module, or it is not written in Python.
    """
    module = path.partition(":")[0]
    folder = _folder(path)
    files: dict[str, bytes] = {}
    left, seen = [module], set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        left.append(name.rpartition(".")[0] or name)
        if file := _file(folder, name):
            files[file] = (folder / file).read_bytes()
            left += [imported for imported, _ in _imports(files[file], name, file)]
    if not _file(folder, module):
        raise ConfigError(f"{path}: there is no module {module} written in Python in {folder}.", WHERE)
    return files


def tops(files: Iterable[str]) -> set[str]:
    """The top-level packages and modules of sources."""
    return {name.partition("/")[0].removesuffix(".py") for name in files}


def carried(folder: Path) -> dict[str, bytes]:
    """The sources that a model brings with it, from the folder where MLflow keeps them; none, if it has none."""
    files = (file for file in sorted(folder.rglob("*.py")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def written(files: Sources, folder: Path) -> list[Path]:
    """Write sources into a folder; returns what there is to be carried from it: packages and modules."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted({folder / name.partition("/")[0] for name in files})


def attribute(path: str, files: Sources) -> Any:
    """What a dotted path names, imported from these sources.

    Raises:
        ConfigError: The module cannot be imported, or has no such name; or one of them imports another one late.
    """
    module, _, name = path.partition(":")
    _require_early(path, files)
    with importing(files):
        try:
            return getattr(import_module(module), name)
        except AttributeError as error:
            raise ConfigError(f"{path}: {error}.", "Correct the path, or the module.") from None
        except (Exception, SystemExit) as error:  # a module may raise anything
            what = f"{path} cannot be imported: {type(error).__name__}: {error}."
            raise ConfigError(what, f"Correct it. {WHERE}") from None


@contextmanager
def importing(files: Sources) -> Iterator[None]:
    """Within, the packages of these sources are imported from them and from nowhere else; then all is as it was."""
    finder = _Finder(files)
    with _LOCK:
        before = finder.taken_out()
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            finder.taken_out()
            sys.modules.update(before)


@contextmanager
def running(path: str, kind: type[MlopsError], fix: str) -> Iterator[None]:
    """Turn what the code behind a path raises into an error of a kind, also what would end the process."""
    try:
        with refused_by_the_library(f"{path}: ", kind, fix):
            yield
    except SystemExit as error:
        raise kind(f"{path} would end the process: SystemExit: {error}.", fix) from None


def require_own(types: Iterable[str], label: str) -> None:
    """Refuse names that a module of a team's own has only borrowed: what it imports, such as `system`, is not trusted.

    Raises:
        IntegrityError: One is, or there is no such name.
    """
    for kind in types:
        module, _, name = kind.rpartition(".")
        try:
            named = getattr(import_module(module), name)
        except Exception as error:  # a module may raise anything
            what = f"{label}: its code has no {kind}: {type(error).__name__}: {error}."
            raise IntegrityError(what, "Do not use this model; roll back or train again.") from None
        if not isinstance(named, type | FunctionType) or named.__module__ != module:
            raise IntegrityError(f"{label}: {kind} is not defined in {module}.", "Do not use this model.")


class _Finder(MetaPathFinder, ExecutionLoader):
    """Imports the modules of some sources from memory: they may be gone from the disk before a function is called."""

    def __init__(self, files: Sources) -> None:
        self._files = files
        self._tops = tops(files)

    def taken_out(self) -> dict[str, ModuleType]:
        """What is imported of these packages, which is then imported no more."""
        names = [name for name in sys.modules if name.partition(".")[0] in self._tops]
        return {name: sys.modules.pop(name) for name in names}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if fullname.partition(".")[0] not in self._tops:
            return None
        if self._name(fullname) is None and not self.is_package(fullname):
            raise ModuleNotFoundError(f"No module named {fullname!r} in the code that belongs to it", name=fullname)
        return spec_from_loader(fullname, self, is_package=self.is_package(fullname))

    def is_package(self, fullname: str) -> bool:
        return any(name.startswith(f"{fullname.replace('.', '/')}/") for name in self._files)

    def get_filename(self, fullname: str) -> str:
        return f"<own code>/{self._name(fullname) or fullname}"

    def get_source(self, fullname: str) -> str:
        name = self._name(fullname)
        return decode_source(self._files[name]) if name else ""  # a package without an `__init__`

    def _name(self, module: str) -> str | None:
        return next((name for name in _names(module) if name in self._files), None)


def _names(module: str) -> tuple[str, str]:
    path = module.replace(".", "/")
    return f"{path}/__init__.py", f"{path}.py"


def _folder(path: str) -> Path:
    """The folder in which the top-level package of a dotted path lies."""
    top = path.partition(":")[0].partition(".")[0]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    place = next(iter(spec.submodule_search_locations or ()), spec.origin) if spec else None
    if place is None:
        raise ConfigError(f"{path}: there is no module {top}.", WHERE)
    return Path(place).parent


def _file(folder: Path, module: str) -> str | None:
    return next((name for name in _names(module) if (folder / name).is_file()), None)


def _imports(content: bytes, module: str, file: str) -> Iterator[tuple[str, int]]:
    """What a module imports of its own top-level package, or might: each name, and the line if it is in a function."""
    top, package = module.partition(".")[0], module.split(".")[: None if file.endswith("/__init__.py") else -1]
    for node, line in _statements(content, file):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = package[: len(package) + 1 - node.level] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            names = [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        yield from ((name, line) for name in names if name.partition(".")[0] == top)


def _statements(content: bytes, file: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, int]]:
    """The imports of a module, each with its line if it is in a function, else 0."""
    try:
        left: list[tuple[ast.AST, bool]] = [(ast.parse(content), False)]
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{file} is not Python: {error}.", "Correct it.") from None
    while left:
        node, is_late = left.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, node.lineno if is_late else 0
        is_late = is_late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        left += [(child, is_late) for child in ast.iter_child_nodes(node)]


def _require_early(path: str, files: Sources) -> None:
    """Refuse an import that waits for a call, when another state of the module may be imported."""
    for file, content in files.items():
        module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name, line in _imports(content, module, file):
            if line:
                what = f"{path}: {file}, line {line}, imports {name} within a function."
                raise ConfigError(what, "Import what is your own at the top of the module.")
