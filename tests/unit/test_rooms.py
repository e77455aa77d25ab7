"""The modules of `lifecycle` import one another in one direction: there is no circle, also none of nested imports."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

Graph = dict[str, set[str]]


def imports(root: Path, package: str) -> Graph:
    """What each module below a package imports of it, wherever in the file; not what only type checkers read."""
    modules = {_named(path.relative_to(root)): path for path in (root / package).rglob("*.py")}
    return {
        name: set(_imported(ast.parse(path.read_text(encoding="utf-8")), modules)) - {name}
        for name, path in modules.items()
    }


def circle(graph: Graph) -> list[str]:
    """A circle of modules, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _named(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imported(tree: ast.AST, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & modules.keys()
            if names - modules.keys() and node.module in modules:
                yield node.module
        yield from _imported(node, modules)


def test_no_module_of_the_lifecycle_imports_itself_by_way_of_others() -> None:
    graph = imports(ROOT, "lifecycle")
    assert "lifecycle.core.errors" in graph["lifecycle.data.dataset"]
    assert circle(graph) == []


@pytest.mark.parametrize(
    "line", ["from p.b import f", "from p import b", "import p.b", "def g():\n    from p import b"]
)
def test_a_circle_is_found_however_it_is_imported(tmp_path: Path, line: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.py").write_text(line)
    (tmp_path / "p" / "b.py").write_text("from p.a import g")
    assert set(circle(imports(tmp_path, "p"))) == {"p.a", "p.b"}


def test_what_only_a_type_checker_reads_makes_no_circle(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import b")
    (tmp_path / "p" / "b.py").write_text("from p import a")
    assert circle(imports(tmp_path, "p")) == []
