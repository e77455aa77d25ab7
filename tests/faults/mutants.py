"""Every way to change one place of a module's decisions."""

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""Each comparison turned round, and at its limit."""
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLED = {"any": "all", "all": "any", "min": "max", "max": "min"}
SAID = {
    "pass": "fail",
    "fail": "pass",
    "promote": "keep",
    "keep": "promote",
    "not_enough_data": "pass",
    "greater": "less",
}


class Mutant(NamedTuple):
    """One change: the module, the number and place of the change there, and what it is."""

    module: str
    number: int
    column: int
    place: str
    line: str
    change: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What stays the same when lines move."""
        return self.module, self.line[:90], self.column, self.change


def mutants(path: Path, functions: set[str] | None) -> list[Mutant]:
    """All mutants of a module, or of some of its functions; the text of a message is not a decision."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    return [
        Mutant(
            ".".join(path.relative_to(Path(__file__).parents[2]).with_suffix("").parts),
            number,
            node.col_offset,
            f"{path.name}:{node.lineno}",
            lines[node.lineno - 1].strip(),
            told,
        )
        for number, (node, told, _) in enumerate(_changes(ast.parse(source)))
        if functions is None or _function(ast.parse(source), node) in functions
    ]


def mutated(source: str, number: int) -> ast.Module:
    """The module with one change."""
    tree = ast.parse(source)
    node, _, changed = list(_changes(tree))[number]
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, changed)
            elif isinstance(value, list) and any(item is node for item in value):
                setattr(parent, field, [changed if item is node else item for item in value])
    return ast.fix_missing_locations(tree)


def _function(tree: ast.Module, node: ast.expr) -> str:
    for each in ast.walk(tree):  # a method too; the outer one of nested functions comes first
        if isinstance(each, ast.FunctionDef) and each.lineno <= node.lineno <= (each.end_lineno or 0):
            return each.name
    return ""


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr, str, ast.expr]]:
    """Each expression that can be changed, the change in words, and what it becomes; always in the same order."""
    untouched = {id(inner) for node in ast.walk(tree) for outer in _wording(node) for inner in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and id(node) not in untouched:
            for changed in _changed(node):
                yield node, f"{ast.unparse(node)} -> {ast.unparse(changed)}", ast.copy_location(changed, node)


def _wording(node: ast.AST) -> Iterator[ast.AST]:
    """What only words a message or a type."""
    if isinstance(node, ast.JoinedStr | ast.Raise):
        yield node
    elif isinstance(node, ast.FunctionDef):
        yield from (*([node.returns] if node.returns else []), node.args)
    elif isinstance(node, ast.AnnAssign):
        yield node.annotation
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node  # a docstring


def _changed(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for other in COMPARED[type(op)]:
                    changed = copy.deepcopy(node)
                    changed.ops[place] = other()
                    yield changed
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED:
            yield ast.BinOp(left, COMPUTED[type(op)](), right)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in CALLED:
            yield ast.Call(ast.Name(CALLED[name], ast.Load()), args, keywords)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value) if value in SAID:
            yield ast.Constant(SAID[value])
