"""While a line stands the coordinator's event loop loads nothing: it could not answer meanwhile.

On a busy machine loading takes longer than a heartbeat, and a node counts the coordinator as lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode, local_nodes
from tests.conftest import write_owner
from tests.helpers.pointers import write_recipe
from tests.helpers.running import environment

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loaded")


@pytest.fixture(scope="module")
def nodes(folder: Path) -> Iterator[list[LocalNode]]:
    owner = write_owner(folder, "bob", 40, 10, 1)
    with local_nodes({owner.id: (*owner.flags, "--allow", "pointers")}) as running:
        yield running


def late_imports(folder: Path, *arguments: str) -> list[str]:
    """What the command's event loop imported after it had connected; in a process started anew."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.late_imports", "server", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    late: list[str] = json.loads(done.stderr.splitlines()[-1])
    return late


@pytest.mark.parametrize("mode", ["rounds", "pointers"])
def test_a_run_has_loaded_all_before_it_dials(
    nodes: list[LocalNode], folder: Path, mode: str
) -> None:
    recipe = write_recipe(folder)
    flags = ("--mode", mode, "--recipe", recipe, "--rounds", "1", "--node", nodes[0].flag)
    assert late_imports(folder, "train", *flags) == []


def test_so_have_evaluations_and_comparisons_of_a_saved_model(
    nodes: list[LocalNode], folder: Path
) -> None:
    where = ("--node", nodes[0].flag)
    parent = folder / "saved"
    parent.mkdir()
    more = ("--recipe", write_recipe(folder), "--rounds", "1", "--compare")
    assert late_imports(parent, "train", *more, *where) == []
    assert late_imports(parent, "evaluate", *where) == []
    assert late_imports(parent, "compare") == []
