"""The mutants of a module: one small change each, cut into its text at one place.

Numbers move by one, limits of a module grow a thousandfold, comparisons change their bound or their
side, `and` becomes `or`, conditions turn, a branch is always or never taken, results become None,
and statements and keyword arguments are left out. What nobody acts on stays: docstrings,
annotations, words of errors and log lines.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "&",
}
SWAPPED_CALLS = {"min": "max", "max": "min", "all": "any", "any": "all"}
UNREAD_KEYWORDS = ("description", "next_step", "help", "rule", "frozen", "eq")
"""Words for people, and what keeps programmers from mistakes."""
LOGGERS = ("log", "logging", "logger")

Change = tuple[str, int, int, str]
"""Its kind, its place in the text from and to, and what stands there instead."""


@dataclass(frozen=True)
class Mutant:
    """One change of a module's text.

    start, end: places in its UTF-8 bytes. within: the function or class that it is in, "" for none.
    before, after: the line that changes, as it was and as it is, without blanks around it.
    """

    kind: str
    line: int
    within: str
    before: str
    after: str
    start: int
    end: int
    replacement: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.replacement.encode() + source[self.end :]

    @property
    def id(self) -> str:
        """The same for the same change at the same place of the same text."""
        told = f"{self.start}:{self.end}:{self.replacement}"
        return hashlib.sha256(told.encode()).hexdigest()[:12]


def mutants_of(source: bytes) -> list[Mutant]:
    """All mutants of a module that are Python, in the order of their places."""
    found = {one.id: one for one in _Finder(source).mutants()}
    return sorted(found.values(), key=lambda one: (one.start, one.end, one.replacement))


class _Finder:
    def __init__(self, source: bytes) -> None:
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def mutants(self) -> Iterator[Mutant]:
        tree = ast.parse(self._source)
        limits = [one for one in tree.body if _is_limit(one)]
        for one in limits:
            for change in self._limit(one):
                yield from filter(None, [self._mutant(*change, "")])
        tree.body = [one for one in tree.body if one not in limits]
        yield from self._below(tree, "")

    def _below(self, node: ast.AST, within: str) -> Iterator[Mutant]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "type_comment", "format_spec"):
                continue
            if field == "keywords" and _is_zip(node):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_unread(child):
                    yield from self._at(child, within)
                    yield from self._below(child, _inner(child, within))

    def _at(self, node: ast.AST, within: str) -> Iterator[Mutant]:
        for kind, start, end, replacement in self._changes(node):
            mutant = self._mutant(kind, start, end, replacement, within)
            if mutant is not None:
                yield mutant

    def _mutant(
        self, kind: str, start: int, end: int, replacement: str, within: str
    ) -> Mutant | None:
        changed = self._source[:start] + replacement.encode() + self._source[end:]
        try:
            compile(changed, "<mutant>", "exec", dont_inherit=True)
        except SyntaxError:
            return None
        number = self._source.count(b"\n", 0, start) + 1
        first, last = self._starts[number - 1], self._source.find(b"\n", end)
        last = len(self._source) if last < 0 else last
        before = self._source[first:last].decode()
        after = (self._source[first:start] + replacement.encode() + self._source[end:last]).decode()
        before, after = (" ".join(text.split()) for text in (before, after))
        return Mutant(kind, number, within, before, after, start, end, replacement)

    def _place(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self._place(node)
        return self._source[start:end].decode()

    def _changes(self, node: ast.AST) -> Iterator[Change]:
        table: tuple[tuple[Any, Callable[[Any], Iterator[Change]]], ...] = (
            (ast.Constant, self._constant),
            (ast.Compare, self._compare),
            (ast.BoolOp, self._bool),
            (ast.BinOp, self._arithmetic),
            (ast.UnaryOp, self._sign),
            (ast.Call, self._call),
            ((ast.If, ast.While, ast.IfExp), self._branch),
            (ast.comprehension, self._filter),
            (ast.stmt, self._statement),
        )
        for kinds, changes in table:
            if isinstance(node, kinds):
                yield from changes(node)

    def _arithmetic(self, node: ast.BinOp) -> Iterator[Change]:
        other = ARITHMETIC.get(type(node.op), "")
        yield from self._between("arithmetic", node.left, node.right, other)

    def _sign(self, node: ast.UnaryOp) -> Iterator[Change]:
        if isinstance(node.op, (ast.Not, ast.USub)):
            yield ("sign", *self._place(node), f"({self._text(node.operand)})")

    def _filter(self, node: ast.comprehension) -> Iterator[Change]:
        for condition in node.ifs:
            yield ("branch", *self._place(condition), "True")

    def _constant(self, node: ast.Constant) -> Iterator[Change]:
        if isinstance(node.value, bool):
            yield ("constant", *self._place(node), str(not node.value))
        elif isinstance(node.value, (int, float)):
            text = self._text(node)
            yield ("constant", *self._place(node), f"({text} + 1)")
            if node.value not in (0, 1):
                yield ("constant", *self._place(node), f"({text} - 1)")

    def _compare(self, node: ast.Compare) -> Iterator[Change]:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            for other in COMPARISONS[type(operator)]:
                yield from self._between("comparison", left, right, other)
            left = right

    def _between(
        self, kind: str, left: ast.expr, right: ast.expr, operator: str
    ) -> Iterator[Change]:
        """Another operator, with the brackets that stand around it."""
        start, end = self._place(left)[1], self._place(right)[0]
        text = self._source[start:end].decode()
        kept = [len(text) - len(text.lstrip(") \n\t\\")), len(text.rstrip("( \n\t\\"))]
        if operator and "#" not in text:
            yield kind, start + kept[0], start + kept[1], operator

    def _bool(self, node: ast.BoolOp) -> Iterator[Change]:
        other = "or" if isinstance(node.op, ast.And) else "and"
        parts = [f"({self._text(one)})" for one in node.values]
        yield ("boolean", *self._place(node), f"({f' {other} '.join(parts)})")
        joined = " and " if other == "or" else " or "
        for left_out in range(len(parts)):
            rest = [part for index, part in enumerate(parts) if index != left_out]
            yield ("boolean", *self._place(node), f"({joined.join(rest)})")

    def _call(self, node: ast.Call) -> Iterator[Change]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in SWAPPED_CALLS:
            yield ("call", *self._place(node.func), SWAPPED_CALLS[name])
        for keyword in [] if name == "zip" else node.keywords:
            if keyword.arg is None or keyword.arg in UNREAD_KEYWORDS:
                continue
            start, end = self._place(keyword)
            rest = self._source[end:]
            comma = len(rest) - len(rest.lstrip())
            after = end + comma + 1 if rest[comma : comma + 1] == b"," else end
            yield "keyword", start, after, ""

    def _branch(self, node: ast.If | ast.While | ast.IfExp) -> Iterator[Change]:
        if isinstance(node.test, ast.Constant):
            return
        start, end = self._place(node.test)
        yield "branch", start, end, f"(not ({self._text(node.test)}))"
        if not isinstance(node, ast.While):
            yield "branch", start, end, "True"
        yield "branch", start, end, "False"

    def _limit(self, node: ast.Assign | ast.AnnAssign) -> Iterator[Change]:
        """A constant of the module. One more or less is taste, and a thousand times is not."""
        assert node.value is not None
        yield ("limit", *self._place(node.value), f"({self._text(node.value)}) * 1000")

    def _statement(self, node: ast.stmt) -> Iterator[Change]:
        if isinstance(node, ast.Return) and node.value is not None:
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                yield ("result", *self._place(node), "return None")
        elif isinstance(node, (ast.Expr, ast.Raise, ast.AugAssign, ast.Delete)):
            yield ("left out", *self._place(node), "pass")
        elif isinstance(node, ast.Break):
            yield ("jump", *self._place(node), "continue")
        elif isinstance(node, ast.Continue):
            yield ("jump", *self._place(node), "break")
        elif isinstance(node, ast.Assign) and all(
            isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets
        ):
            yield ("left out", *self._place(node), "pass")


def _inner(node: ast.AST, within: str) -> str:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return f"{within}.{node.name}".lstrip(".")
    return within


def _is_limit(node: ast.stmt) -> TypeGuard[ast.Assign | ast.AnnAssign]:
    """An assignment of a number, or of a sum or product of numbers."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
        return False
    parts = list(ast.walk(node.value))
    numbers = [one.value for one in parts if isinstance(one, ast.Constant)]
    kinds = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    return all(isinstance(one, kinds) for one in parts) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers
    )


def _is_zip(node: ast.AST) -> bool:
    """Its `strict` keeps programmers from mistakes."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "zip"


def _is_unread(node: ast.AST) -> bool:
    """Words for people, and what only a type checker looks at."""
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Constant):
            return True
        return isinstance(node.value, ast.Call) and _is_of_a_log(node.value.func)
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert)):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in UNREAD_KEYWORDS
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _is_of_a_log(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id in LOGGERS
    )
