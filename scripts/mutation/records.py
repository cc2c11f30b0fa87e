"""Which tests a module has, what came of each mutant, and the survivors that are known."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scripts.mutation.mutants import Mutant
from shared.errors import UsageError

Outcome = Literal["killed", "hung", "survived"]


@dataclass(frozen=True)
class Module:
    """A module that is mutated. path, tests: from the root of the checkout; quickest test first."""

    path: str
    tests: tuple[str, ...]


def read_modules(table: Path) -> list[Module]:
    """Raises UsageError for a table that names a file which is not there."""
    root = table.resolve().parents[2]
    read = tomllib.loads(table.read_text(encoding="utf-8"))
    modules = [Module(path, tuple(tests)) for path, tests in read.items()]
    for module in modules:
        for name in (module.path, *(test.partition("::")[0] for test in module.tests)):
            if not (root / name).exists():
                raise UsageError(f"{table} names {name}, which is not there")
    return modules


@dataclass(frozen=True)
class Known:
    """A survivor whose reason is known; before and after are the mutant's.

    counts: it changes something, and the reason says why no test is worth it.
    """

    module: str
    within: str
    before: str
    after: str
    reason: str
    counts: bool = False

    def fits(self, module: str, mutant: Mutant) -> bool:
        wanted = (self.module, self.within, self.before, self.after)
        return wanted == (module, mutant.within, mutant.before, mutant.after)


def read_known(table: Path) -> list[Known]:
    """The survivors that are listed with their reasons."""
    if not table.exists():
        return []
    read = tomllib.loads(table.read_text(encoding="utf-8"))
    same = [Known(**entry) for entry in read.get("survivor", [])]
    return [*same, *(Known(**entry, counts=True) for entry in read.get("left", []))]


class Kept:
    """What came of mutants in runs before; a line of JSON each, appended as it is known.

    A mutant that was noticed counts for as long as its module is the same. One that survived counts
    for as long as the tests are the same too.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._root = root
        self._known: dict[str, dict[str, str]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                self._known[record["key"]] = record

    def find(self, module: Module, mutant: Mutant) -> Outcome | None:
        record = self._known.get(self._key(module, mutant))
        if record is None:
            return None
        if record["outcome"] == "survived" and record["tests"] != self._tests(module):
            return None
        return record["outcome"]  # type: ignore[return-value]  # keep() alone writes it

    def keep(self, module: Module, mutant: Mutant, outcome: Outcome) -> None:
        record = {
            "key": self._key(module, mutant),
            "module": module.path,
            "outcome": outcome,
            "tests": self._tests(module),
        }
        self._known[record["key"]] = record
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**record, "mutant": asdict(mutant)}) + "\n")

    def _key(self, module: Module, mutant: Mutant) -> str:
        return f"{module.path}:{_digest([self._root / module.path])}:{mutant.id}"

    def _tests(self, module: Module) -> str:
        names = sorted({test.partition("::")[0] for test in module.tests})
        paths = [
            path
            for name in names
            for path in (
                sorted((self._root / name).rglob("*.py"))
                if (self._root / name).is_dir()
                else [self._root / name]
            )
        ]
        return _digest(paths)


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]
