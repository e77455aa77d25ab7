"""No file, function or list of parameters grows beyond what a reader takes in at once."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

FLOORS = ("cli", "flows", "tasks", "lifecycle", "mlops_lifecycle")
FILE, FUNCTION, PARAMETERS = 400, 45, 7
"""Lines of a file; lines of a function without its docstring; parameters but for `self` and `cls`."""


def too_large(text: str) -> Iterator[str]:
    """What is beyond the limits in the source of a module."""
    if (lines := text.count("\n")) > FILE:
        yield f"{lines} lines"
    tree = ast.parse(text)
    of_estimators = _estimators(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if (length := _lines(node)) > FUNCTION:
                yield f"{node.name}: {length} lines"
            if (count := len(_parameters(node))) > PARAMETERS and node not in of_estimators:
                yield f"{node.name}: {count} parameters"


def _estimators(tree: ast.AST) -> set[ast.AST]:
    """What makes an estimator: scikit-learn reads its parameters off its signature, so each stands there."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    made = (node.body for node in classes if "BaseEstimator" in map(ast.unparse, node.bases))
    return {node for body in made for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__"}


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    words = ast.get_docstring(node, clean=False)
    whole = (node.end_lineno or node.lineno) - node.lineno + 1
    return whole - (words.count("\n") + 1 if words else 0)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return given[1:] if given[:1] in (["self"], ["cls"]) else given


def test_no_module_is_beyond_the_limits() -> None:
    found = {
        str(path.relative_to(ROOT)): beyond
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        if (beyond := list(too_large(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n" * 401, ["401 lines"]),
        ("def f():\n" + "    x = 1\n" * 45, ["f: 46 lines"]),
        ('def f():\n    """a\n    b"""\n' + "    x = 1\n" * 44, []),
        ("def f(a, b, c, d, /, e, f, *, g, h): ...\n", ["f: 8 parameters"]),
        ("class C:\n    def f(self, a, b, c, d, e, f, g): ...\n", []),
        ("class C(BaseEstimator):\n    def __init__(self, a, b, c, d, e, f, g, h): ...\n", []),
        ("class C(Base):\n    def __init__(self, a, b, c, d, e, f, g, h): ...\n", ["__init__: 8 parameters"]),
    ],
)
def test_what_is_beyond_is_found(text: str, said: list[str]) -> None:
    assert list(too_large(text)) == said
