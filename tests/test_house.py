"""Rules of the house that no linter knows: which way imports flow, and who may touch PySyft."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.running import ROOT, done_well, run_python

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


FLOORS = {
    "server": (
        "__main__",
        "cli",
        "standing",
        "federation",
        "passport",
        "runs",
        "encrypted",
        "pointers",
        "display",
        "rounds",
        "nodes",
        "secure_aggregation",
        "aggregation",
        "authority",
    ),
    "worker_node": (
        "__main__",
        "cli",
        "embedding",
        "serving",
        "page",
        "sessions",
        "pointers",
        "node",
        "secure_aggregation",
        "guarding",
        "training",
        "privacy",
        "audit",
        "data",
        "membership",
    ),
    "shared": (
        "pysyft",
        "pointers",
        "prometheus",
        "wire",
        "passport",
        "privacy",
        "secure_aggregation",
        "identity",
        "trained_model",
        "model",
        "reading",
        "page",
        "starting",
        "cli",
        "locking",
        "files",
        "extras",
        "errors",
        "quoting",
        "version",
    ),
}
"""Folders and files of a room, the top floor first: each imports only what stands below it."""


def floor_of(room: str, name: str) -> int:
    """Where a dotted name stands in its room."""
    return FLOORS[room].index(name.split(".")[1])


def imported_names(path: Path) -> Iterator[str]:
    """The same as `imports`, with each name that is imported from a module behind it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_and_file_of_a_room_stands_on_a_floor(room: str) -> None:
    there = {
        path.name.removesuffix(".py")
        for path in (ROOT / room).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} == set(FLOORS[room])


@pytest.mark.parametrize("room", ROOMS)
def test_no_folder_imports_one_that_stands_above_it(room: str) -> None:
    looked_at = 0
    wrong = []
    for path in (ROOT / room).rglob("*.py"):
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if own.count(".") == 1 and own.endswith("__init__"):
            continue
        for name in imported_names(path):
            if name.split(".")[0] == room and "." in name:
                looked_at += 1
                if floor_of(room, name) < floor_of(room, own):
                    wrong.append(f"{own} imports {name}")
    assert looked_at > 20
    assert wrong == []


def test_no_room_reaches_into_anothers_private_names() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for name in imported_names(path)
        if name.split(".")[0] in ROOMS
        and any(part.startswith("_") and part != "__init__" for part in name.split(".")[1:])
    ]
    assert wrong == []


def test_every_folder_says_its_idea_in_a_sentence() -> None:
    for room in (*ROOMS, "scripts"):
        for path in (ROOT / room).rglob("__init__.py"):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert said, path
            assert said.splitlines()[0].endswith("."), path
            assert len(said.splitlines()[0]) <= 100, path


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


def takes_any_error(handler: ast.ExceptHandler) -> bool:
    """Whether an error that a test does not know of ends there."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {ast.unparse(one) if one is not None else "BaseException" for one in caught}
    raises = any(isinstance(node, ast.Raise) for one in handler.body for node in ast.walk(one))
    return bool(names & {"Exception", "BaseException", "AssertionError"}) and not raises


def test_no_test_takes_whatever_goes_wrong_for_what_should() -> None:
    looked_at = 0
    wrong = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                looked_at += 1
                if takes_any_error(node):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            elif (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith("suppress")
                and {"Exception", "BaseException"} & set(map(ast.unparse, node.args))
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert looked_at > 20
    assert wrong == []


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
    return set(unwanted) & set(done_well(run_python("-W", "error", "-c", script)).split())


def test_the_trainer_never_loads_pysyft() -> None:
    assert loads("worker_node.training.trainer", "syft", "shared.pysyft") == set()


HEAVY = ("torch", "numpy", "syft")
LIGHT = [
    ("server", "--help"),
    ("server", "train", "--help"),
    ("server", "init"),
    ("server", "admit", "bob.csr", "--yes"),
    ("server", "list"),
    ("worker_node", "--help"),
    ("worker_node", "init", "--id", "bob"),
    ("worker_node", "join", "bob.pem"),
    ("worker_node", "log", "--verify"),
]


@pytest.mark.parametrize("line", LIGHT, ids=" ".join)
def test_a_command_without_a_model_loads_neither_torch_nor_numpy_nor_syft(
    line: tuple[str, ...], tmp_path: Path
) -> None:
    """The whole command, up to its end, whatever that is."""
    script = (
        "import runpy, sys\n"
        f"sys.argv = [{line[0]!r}, *{list(line[1:])!r}]\n"
        "try:\n"
        f"    runpy.run_module({line[0]!r}, run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('LOADED', *sys.modules)\n"
    )
    out = done_well(run_python("-W", "error", "-c", script, cwd=tmp_path))
    loaded = out.rpartition("LOADED")[2].split()
    assert "click" in loaded
    assert set(HEAVY) & set(loaded) == set()


def test_importing_a_room_loads_nothing_and_its_names_neither_torch_nor_syft() -> None:
    for room in ("server", "worker_node"):
        assert loads(room, *HEAVY, "click", "pydantic", f"{room}.cli") == set()
    script = "import sys\nfrom server import *\nfrom worker_node import *\nprint(*sys.modules)"
    loaded = set(done_well(run_python("-W", "error", "-c", script)).split())
    assert {"server.federation.federation", "worker_node.embedding.node"} <= loaded
    assert {"torch", "syft"} & loaded == set()


@pytest.mark.parametrize(
    "module",
    [
        *("server.nodes.status", "server.display.tables"),
        *("shared.trained_model.prediction", "shared.trained_model.saved_model"),
    ],
)
def test_status_and_predictions_do_not_wait_for_torch(module: str) -> None:
    assert loads(module, "torch", "syft") == set()


@pytest.mark.parametrize("recipe", ["tutorial", "default"])
def test_a_training_loads_neither_torchs_compiler_nor_symbolic_mathematics(recipe: str) -> None:
    script = (
        "import sys\n"
        "from shared.model.classifier import initial_state\n"
        "from shared.model.recipe import load_recipe\n"
        "from shared.model.many_texts import encode_all\n"
        "from worker_node.training.local_training import train\n"
        f"recipe = load_recipe({recipe!r})\n"
        "texts, labels = ['win a prize now', 'see you at seven'] * 40, [1, 0] * 40\n"
        "ids = encode_all(texts, recipe.text)\n"
        "import numpy as np\n"
        "train(initial_state(recipe, 1), ids, np.array(labels), recipe, seed=1)\n"
        "print('TRAINED', *sys.modules)\n"
    )
    loaded = done_well(run_python("-c", script)).rpartition("TRAINED")[2].split()
    assert "torch" in loaded
    assert {"torch._dynamo", "sympy"} & set(loaded) == set()
