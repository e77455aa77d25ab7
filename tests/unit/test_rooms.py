"""Modules import at their top, and those of `lifecycle` one another in one direction, without a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

Graph = dict[str, set[str]]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

OPTIONAL = {
    "huggingface_hub",
    "onnx",
    "onnxruntime",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "databricks",
    "deltalake",
    "prefect_databricks",
    "py4j",
    "pyspark",
    "vaderSentiment",
}
"""Packages that need not be there, or that only Databricks needs."""
STARTED_FIRST = {
    "lifecycle.core.children": "every command loads it, and only a child needs ctypes",
    "lifecycle.gate.proof.replay": "it runs as a child, which must be ready before it imports libraries",
    "lifecycle.models.external.conversing": "as with `wrapped`: what travels beside it is found in a model alone",
    "lifecycle.models.external.wrapped": "what travels beside it is importable where it is loaded from a model alone",
    "lifecycle.problems.chat.documents": "HTML and PDF are read with an extra",
    "lifecycle.problems.chat.endpoint": "its library is an extra",
    "lifecycle.problems.chat.index": "its library is an extra",
    "lifecycle.problems.chat.model": "its libraries are an extra",
    "lifecycle.problems.tabular.model": "who reads a table needs no skops, whose import takes two seconds",
    "lifecycle.problems.text_classification.model": "it lies in every stored model, whose files stay what they are",
    "lifecycle.problems.text_pair_classification.model": "who only names it needs no skops, as above",
    "lifecycle.training.inputs": "the child of `replay` loads it",
    "lifecycle.training.rows": "the child of `replay` loads it",
    "lifecycle.training.train": "the child of `replay` loads it",
}
LIGHT = {
    "core": "letters",
    "data": """cells cleaning columns dataset delta division keys shared_texts ingest opening quarantine
        readers.csv_by_arrow readers.files readers.parquet report split tombstones twins validation writing""",
    "databricks": "client credentials",
    "erasure": "wanted",
    "evaluation": "evaluate",
    "gate": "selftest.selftest",
    "models": "external.external external.unpickle forms mlmodel own pipelines scoring_server storing",
    "problems": """chat.plots classification.plots classification.summary fitting own regression.plots
        tabular.importance tabular.learnt text_classification.identity
        text_classification.stored transformer.estimator transformer.learning""",
    "registry": "card catalog registration store transfer",
    "storage": "embedded spilled",
    "tracking": "artifacts champions client runs",
    "training": "bases",
}
"""By room the modules that light commands or `--help` load, and that import libraries where they work with them."""
NESTED = {f"lifecycle.{room}.{name}" for room, names in LIGHT.items() for name in names.split()} | STARTED_FIRST.keys()


def imports(root: Path, package: str) -> Graph:
    """What each module below a package imports of it, wherever in the file; not what only type checkers read."""
    modules = {_named(path.relative_to(root)): path for path in (root / package).rglob("*.py")}
    return {
        name: set(_imported(ast.parse(path.read_text(encoding="utf-8")), modules)) - {name}
        for name, path in modules.items()
    }


def nested(tree: ast.AST) -> set[str]:
    """What functions import that could be imported at the top."""
    inside = (node for made in ast.walk(tree) if isinstance(made, FUNCTIONS) for node in ast.walk(made))
    return {
        name
        for node in inside
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)])
        if name.partition(".")[0] not in OPTIONAL
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


def test_a_module_imports_at_its_top() -> None:
    """Commands (`cli`) import what they run when they run, and `test_start_up.py` says what that may be."""
    late = {
        _named(path.relative_to(ROOT)): names
        for package in ("lifecycle", "tasks", "flows")
        for path in (ROOT / package).rglob("*.py")
        if (names := nested(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert {name: names for name, names in late.items() if name not in NESTED} == {}
    assert NESTED - late.keys() == set(), "no longer needed here"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import a", set()),
        ("def f(): import a.b", {"a.b"}),
        ("class C:\n    async def f(self):\n        from a import b", {"a"}),
        ("def f():\n    import deltalake", set()),
    ],
)
def test_an_import_is_late_within_a_function_unless_its_package_is_optional(line: str, names: set[str]) -> None:
    assert nested(ast.parse(line)) == names


STRANGERS = ('"premise"', '"hypothesis"', '"messages"', "transformers")
"""Columns of one problem, and the library of one kind of model."""


def test_only_problems_and_models_know_what_one_problem_reads() -> None:
    """Gate, registry, inference and monitoring read the contract: a new problem is one folder and one entry."""
    knowing = {path.parts[1] for path, said in _sources() if any(word in said for word in STRANGERS)}
    assert knowing == {"problems", "models"}


def _sources() -> Iterator[tuple[Path, str]]:
    for package in ("lifecycle", "tasks", "flows", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
