"""Rules of the house that no linter knows: which way imports flow, and who may touch PySyft."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.running import ROOT, environment

ROOMS = ("shared", "server", "worker_node")
FORBIDDEN = {
    "shared": {"server", "worker_node", "scripts", "tests"},
    "server": {"worker_node", "scripts", "tests"},
    "worker_node": {"server", "scripts", "tests"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside its functions; dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("room", ROOMS)
def test_imports_flow_one_way(room: str) -> None:
    paths = list((ROOT / room).rglob("*.py"))
    assert len(paths) > 5
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports(path)
        if name.split(".")[0] in FORBIDDEN[room]
    ]
    assert wrong == []


def test_syft_is_imported_behind_one_door_alone() -> None:
    door = ROOT / "shared" / "pysyft"
    outside = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in (*ROOMS, "scripts")
        for path in (ROOT / room).rglob("*.py")
        if door not in path.parents
        for name in imports(path)
        if name.split(".")[0] in ("syft", "syft_proto") or name.startswith("shared.pysyft.")
    ]
    assert outside == []


def test_nothing_that_runs_is_ever_unpickled() -> None:
    ways = ("pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib")
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in ways
    ]
    assert found == []


def test_no_duration_is_taken_from_a_clock_that_somebody_can_set() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {call}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for call in re.findall(r"\btime\.time(?:_ns)?\b", path.read_text(encoding="utf-8"))
    ]
    assert found == []


def loads(module: str, *unwanted: str) -> set[str]:
    """Which of the unwanted modules are loaded once a module is."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(unwanted) & set(done.stdout.split())


def test_the_trainer_never_loads_pysyft() -> None:
    assert loads("worker_node.training.trainer", "syft", "shared.pysyft") == set()


@pytest.mark.parametrize(
    "module", ["server.__main__", "worker_node.__main__", "server.nodes.status"]
)
def test_help_and_status_do_not_wait_for_torch(module: str) -> None:
    assert loads(module, "torch", "syft") == set()
