"""One-line changes of Python source such as a slip of the hand would make. Used by `mutants.py`.

Changed are: comparisons, `and`/`or`, arithmetic, conditions (negated), small numbers and booleans, `min`/`max` and
their like, SQL's words in strings, signs; dropped are statements that act (calls, `continue`, early `return` and
`raise`, what is set on an object) and keyword arguments of constant value. Left alone is what no user could notice:
messages and docstrings, annotations, decorators, `__repr__`, `strict=`, numbers above 99 (sizes of buffers and chunks).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

COMPARE = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
ARITHMETIC = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "argmax": "argmin",
    "mean": "max",
    "union": "intersection",
    "intersection": "union",
    "and_": "or_",
    "or_": "and_",
    "desc": "asc",
    "outerjoin": "join",
    "startswith": "endswith",
    "endswith": "startswith",
}
SQL = {
    "AND": "OR",
    "OR": "AND",
    "DESC": "ASC",
    "ASC": "DESC",
    "IMMEDIATE": "DEFERRED",
    "FULL": "OFF",
    "ON": "OFF",
    "MIN": "MAX",
    "MAX": "MIN",
    "IS NOT NULL": "IS NULL",
    "IS NULL": "IS NOT NULL",
    ">=": ">",
    "<=": "<",
}
SQL_TEXT = re.compile(r"\b(SELECT|UPDATE|DELETE|INSERT|PRAGMA|BEGIN|WHERE|synchronous|foreign_keys)\b|NULL")
SQL_WORD = re.compile(r"IS NOT NULL|IS NULL|>=|<=|\b(?:" + "|".join(word for word in SQL if word.isalpha()) + r")\b")
MESSAGES = ("notice", "note", "warn", "info", "debug", "progress", "echo")
CHECKS = ("strict",)
"""Keywords that only have Python check what is so."""
BIGGEST = 99


@dataclass(frozen=True)
class Mutant:
    """One change of one file: where it stands, and the whole text with it."""

    area: str
    path: str
    line: int
    what: str
    text: str
    lines: tuple[int, ...]
    """Lines of the statement, which its tests reach; empty where it runs on import."""
    names: tuple[str, ...] = ()
    """What such a statement sets."""

    @property
    def name(self) -> str:
        """The same after lines above it have moved."""
        return f"{self.path} {self.what}"

    @property
    def key(self) -> str:
        """Of this mutant in one state of the tree."""
        return f"{self.path}:{self.line} {self.what}"

    def __str__(self) -> str:
        """Area, place, change."""
        return f"{self.area:<11} {self.path.removeprefix('echosearch/')}:{self.line}  {self.what}"


def mutants_of(path: str, text: str, area: str) -> Iterator[Mutant]:
    """Every change of this file that is another program."""
    tree = ast.parse(text)
    source = _Source(text)
    answers = {id(made.body[-1]) for made in ast.walk(tree) if isinstance(made, ast.FunctionDef)}
    for statement, inside in _statements(tree, False):
        lines = tuple(range(statement.lineno, _header_end(statement) + 1)) if inside else ()
        names = () if inside else tuple(_set_names(statement))
        for node, old, new in _changes(statement, inside, source):
            if node is statement and isinstance(node, ast.Return) and id(node) in answers:
                continue  # no slip: a function without its answer
            changed = source.with_change(node, new)
            try:
                if ast.dump(ast.parse(changed)) == ast.dump(tree):
                    continue
            except SyntaxError:
                continue
            what = f"`{_short(old)}` -> `{_short(new)}`"
            yield Mutant(area, path, node.lineno, what, changed, lines, names)


class _Source:
    """A text in which the place of a node can be replaced."""

    def __init__(self, text: str) -> None:
        self._bytes = text.encode()
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        start, end = self._span(node)
        return self._bytes[start:end].decode()

    def with_change(self, node: ast.expr | ast.stmt | ast.keyword, new: str) -> str:
        """The whole text; as many lines as before."""
        start, end = self._span(node)
        if isinstance(node, ast.keyword):  # with the comma after it
            after = re.match(rb"\s*,", self._bytes[end:])
            end += after.end() if after else 0
        gap = "\n" * (self._bytes[start:end].count(b"\n") - new.count("\n"))
        return (self._bytes[:start] + (new + gap).encode() + self._bytes[end:]).decode()


def _statements(node: ast.AST, inside: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement, and whether it stands in a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name not in ("__repr__", "__str__", "_repr_html_"):
                yield from _statements(child, True)
        elif isinstance(child, ast.ClassDef):
            yield from _statements(child, inside)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif isinstance(child, ast.stmt):
            if not isinstance(child, ast.Import | ast.ImportFrom | ast.Assert | ast.Global | ast.Pass):
                yield child, inside
            yield from _statements(child, inside)
        elif isinstance(child, ast.excepthandler | ast.match_case):
            yield from _statements(child, inside)


def _header_end(statement: ast.stmt) -> int:
    body = getattr(statement, "body", None) or getattr(statement, "cases", None)
    if body:
        first = body[0].lineno if isinstance(body[0], ast.stmt) else body[0].pattern.lineno
        return max(statement.lineno, first - 1)
    return statement.end_lineno or statement.lineno


def _set_names(statement: ast.stmt) -> Iterator[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    for target in targets:
        for node in ast.walk(target) if target is not None else ():
            if isinstance(node, ast.Name):
                yield node.id


Change = tuple[ast.expr | ast.stmt | ast.keyword, str, str]


def _changes(statement: ast.stmt, inside: bool, source: _Source) -> Iterator[Change]:
    if inside and _may_be_dropped(statement):
        yield statement, source.of(statement), "pass"
    if isinstance(statement, ast.AugAssign) and type(statement.op) in ARITHMETIC:
        new = f"{ast.unparse(statement.target)} {ARITHMETIC[type(statement.op)]}= {ast.unparse(statement.value)}"
        yield statement, source.of(statement), new
    if isinstance(statement, ast.Raise) or _is_message(statement) or _is_size(statement):
        return
    if isinstance(statement, ast.If | ast.While):
        yield statement.test, source.of(statement.test), f"not ({source.of(statement.test)})"
    for expression in _expressions(statement):
        yield from _of_expression(expression, source)


def _may_be_dropped(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and not _is_message(statement)
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in statement.targets)
    return isinstance(statement, ast.Return | ast.AugAssign | ast.Continue | ast.Break | ast.Raise | ast.Delete)


def _is_size(statement: ast.stmt) -> bool:
    """Whether it names a large number, such as `1 << 20`: the size of a buffer or chunk."""
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.BinOp) or any(isinstance(node, ast.Name | ast.Call) for node in ast.walk(value)):
        return False
    number = eval(compile(ast.Expression(value), "number", "eval"), {"__builtins__": {}})  # of constants only
    return isinstance(number, int | float) and abs(number) > BIGGEST


def _is_message(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    called = statement.value.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name.lstrip("_").startswith(MESSAGES)


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """The statement's own expressions, without the statements inside it, annotations and messages."""
    for name, value in ast.iter_fields(statement):
        if name in ("annotation", "target", "targets", "decorator_list", "returns", "args"):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.expr):
                yield from _walk(item)
            elif isinstance(item, ast.withitem):
                yield from _walk(item.context_expr)


def _walk(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _walk(child)
        elif isinstance(child, ast.keyword) and child.arg not in CHECKS:
            yield from _walk(child.value)
        elif isinstance(child, ast.comprehension):
            yield from _walk(child.iter)
            for test in child.ifs:
                yield from _walk(test)


def _of_expression(node: ast.expr, source: _Source) -> Iterator[Change]:
    old = source.of(node)
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            parts = [ast.unparse(node.left)]
            for number, (other, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
                symbol = COMPARE[type(other)] if number == place else _symbol(other)
                parts += [symbol, _operand(right)]
            if type(operator) in COMPARE:
                yield node, old, f"({' '.join(parts)})"
    elif isinstance(node, ast.BoolOp):
        word = " or " if isinstance(node.op, ast.And) else " and "
        yield node, old, "(" + word.join(f"({source.of(value)})" for value in node.values) + ")"
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
        yield node, old, f"(({source.of(node.left)}) {ARITHMETIC[type(node.op)]} ({source.of(node.right)}))"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node, old, f"({source.of(node.operand)})"
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node, old)
    elif isinstance(node, ast.IfExp):
        yield node, old, f"({source.of(node.orelse)} if {source.of(node.test)} else {source.of(node.body)})"
    elif isinstance(node, ast.comprehension):
        return
    elif isinstance(node, ast.Call):
        yield from _of_call(node, old, source)


def _of_constant(node: ast.Constant, old: str) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield node, old, str(not value)
    elif isinstance(value, int) and abs(value) <= BIGGEST:
        yield node, old, str(value + 1)
    elif isinstance(value, float) and 0 < abs(value) <= BIGGEST:
        yield node, old, repr(value * 1.5)
    elif isinstance(value, str) and SQL_TEXT.search(value) and old.startswith(('"', "'")):
        for found in SQL_WORD.finditer(old):
            yield node, old, old[: found.start()] + SQL[found.group()] + old[found.end() :]


def _of_call(node: ast.Call, old: str, source: _Source) -> Iterator[Change]:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    if name in CALLS:
        new = CALLS[name]
        yield called, source.of(called), source.of(called)[: -len(name)] + new
    for keyword in node.keywords:
        told = keyword.value.value if isinstance(keyword.value, ast.Constant) else ""
        if keyword.arg not in (None, *CHECKS) and not isinstance(told, str):
            yield keyword, source.of(keyword), ""


def _symbol(operator: ast.cmpop) -> str:
    return ast.unparse(ast.Compare(ast.Name("a"), [operator], [ast.Name("b")]))[2:-2]


def _operand(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(s, ast.JoinedStr) or (isinstance(s, ast.Constant) and isinstance(s.value, str)) for s in sides
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 70 else words[:67] + "..."
