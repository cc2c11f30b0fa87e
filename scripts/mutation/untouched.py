"""Which modules of a checkout a mutant of one module leaves as they are: those that never load it.

They are loaded once, and every run of the tests finds them there, which saves most of its time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


def untouched(root: Path, module: str, tests: Sequence[str]) -> list[str]:
    """Names of modules that the tests load as they are collected, and that never load `module`.

    Args:
        module: its file. tests: as pytest takes them. Both from the root of the checkout.
    """
    graph = _Graph(root)
    files = [file for test in tests for file in _files(root / test.partition("::")[0])]
    conftests = [folder / "conftest.py" for file in files for folder in file.parents]
    first = {_name(root, file) for file in [*files, *conftests] if file.is_relative_to(root)}
    loaded = graph.reached(first, at_once=True) - first
    mutated = _name(root, root / module)
    return sorted(name for name in loaded if mutated not in graph.reached({name, *_packages(name)}))


class _Graph:
    """Who loads whom."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[str, bool], set[str]] = {}

    def reached(self, names: Iterable[str], *, at_once: bool = False) -> set[str]:
        """The modules themselves, and what they load; at_once: not what their functions load."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found and self._path(name) is not None:
                found.add(name)
                waiting += self._loads(name, at_once)
        return found

    def _loads(self, name: str, at_once: bool) -> set[str]:
        if (name, at_once) not in self._known:
            path = self._path(name)
            assert path is not None
            try:
                tree = ast.parse(path.read_bytes())
            except SyntaxError:  # it loads nothing, and its tests will say so
                tree = ast.Module([], [])
            imports = _imports(_outside_functions(tree) if at_once else ast.walk(tree))
            self._known[name, at_once] = {
                part for one in imports for part in (one, *_packages(one))
            }
        return self._known[name, at_once]

    def _path(self, name: str) -> Path | None:
        path = self._root.joinpath(*name.split("."))
        for one in (path.with_suffix(".py"), path / "__init__.py"):
            if one.is_file():
                return one
        return None


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not is_for_types and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from _outside_functions(child)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names that may be modules; this project imports nothing by a relative name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


def _packages(name: str) -> list[str]:
    """Those that a module is in: they are loaded before it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("test_*.py")) if path.is_dir() else [path]


def _name(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
