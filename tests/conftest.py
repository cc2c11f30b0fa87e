"""What many tests share: owners' shards, two running nodes, a quick recipe and a slow one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import hypothesis
import pytest

from scripts.local import nodes as of_scripts
from scripts.local.nodes import LocalNode, local_nodes
from shared.cli import run
from shared.model.recipe import Recipe, load_recipe
from tests.helpers.forked import popen, start_trainer
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.needed import lacking
from tests.helpers.running import Finished, environment
from tests.helpers.shared_out import ByFile, in_order
from tests.helpers.skipped import lines_of
from worker_node.data.shard import Message
from worker_node.training import trainer_process as of_trainers

_PHASES = set(hypothesis.Phase)
if os.environ.get("FEDSMS_TESTS_SHRINK") == "no":  # who asks whether a test fails, and not why
    _PHASES -= {hypothesis.Phase.shrink, hypothesis.Phase.explain}

if TYPE_CHECKING:
    from tests.helpers.sharing import Parties

# no test asserts how fast this machine is
hypothesis.settings.register_profile("fedsms", deadline=None, phases=_PHASES)
hypothesis.settings.load_profile("fedsms")
of_scripts.popen = popen
of_trainers.start_process = start_trainer

QUICK = """
[text]
tokens = 12
buckets = 512
[model]
embedding = 8
hidden = 6
[training]
optimizer = "adam"
learning_rate = 0.02
batch_size = 16
[federation]
rounds = 2
"""
# some minutes of training a round; whoever starts one stops it
SLOW = """
[text]
tokens = 1000
buckets = 512
[model]
embedding = 8
hidden = 128
[training]
batch_size = 16
local_epochs = 100
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """How scripts/test shares the suite out among processes."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    places = {nodeid: place for place, nodeid in enumerate(in_order([i.nodeid for i in items]))}
    items.sort(key=lambda item: places[item.nodeid])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Ends with what was not tested, and why."""
    skipped = terminalreporter.getreports("skipped")
    if skipped:
        terminalreporter.section("not tested here")
        for line in lines_of(skipped):
            terminalreporter.line(line)


@dataclass(frozen=True)
class OwnerFiles:
    """One owner's rows, and the files that hold them."""

    id: str
    train: list[Message]
    held_out: list[Message]
    train_path: Path
    held_out_path: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """As `python -m worker_node serve` takes them."""
        return ("--data", str(self.train_path), "--held-out-data", str(self.held_out_path))


def write_owner(folder: Path, owner: str, rows: int, held_out: int, seed: int) -> OwnerFiles:
    """Writes made-up messages as one owner's two files."""
    messages = made_up(rows + held_out, seed=seed)
    paths = folder / f"{owner}.train.tsv", folder / f"{owner}.held-out.tsv"
    parts = messages[:rows], messages[rows:]
    for path, part in zip(paths, parts, strict=True):
        write_tsv(path, part)
    return OwnerFiles(owner, *parts, *paths)


@pytest.fixture(scope="session")
def owners(tmp_path_factory: pytest.TempPathFactory) -> list[OwnerFiles]:
    """Two owners, one with more than twice the rows of the other."""
    folder = tmp_path_factory.mktemp("shards")
    return [
        write_owner(folder, "anne", 60, 40, seed=1),
        write_owner(folder, "bob", 140, 50, seed=2),
    ]


@pytest.fixture(scope="session")
def nodes(owners: list[OwnerFiles]) -> Iterator[list[LocalNode]]:
    """Their nodes, which serve while the tests run. A test leaves them running and idle."""
    # what a test leaves unfinished soon is out of the next one's way
    flags = ("--keep-work", "0.5")
    with local_nodes({owner.id: (*owner.flags, *flags) for owner in owners}) as running:
        yield running


@pytest.fixture(scope="session")
def bob(nodes: list[LocalNode]) -> LocalNode:
    return nodes[1]


@pytest.fixture(scope="session")
def node_flags(nodes: list[LocalNode]) -> list[str]:
    """Both nodes, as `python -m server` takes them."""
    return [part for node in nodes for part in ("--node", node.flag)]


@pytest.fixture(scope="module")
def sharing_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LocalNode]]:
    """Three nodes that compute on shares for this machine's coordinator."""
    from tests.helpers.sharing import own_name, sharing_nodes

    with sharing_nodes(tmp_path_factory.mktemp("sharing"), own_name()) as running:
        yield running


@pytest.fixture(scope="module")
def us(sharing_three: list[LocalNode]) -> Iterator[Parties]:
    """A session with each of them."""
    from shared.pysyft import make_hook
    from tests.helpers.sharing import parties

    make_hook()
    with parties(sharing_three) as opened:
        yield opened


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with which a round takes a moment."""
    path = tmp_path_factory.mktemp("recipes") / "quick.toml"
    path.write_text(QUICK, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with which a round takes minutes, for tests that need a training in progress."""
    path = tmp_path_factory.mktemp("recipes") / "slow.toml"
    path.write_text(SLOW, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def recipe(quick: Path) -> Recipe:
    return load_recipe(str(quick))


@pytest.fixture(scope="session")
def slow_recipe(slow: Path) -> Recipe:
    return load_recipe(str(slow))


@pytest.fixture(scope="session")
def built() -> None:
    """The three images, of this checkout's code; skips where no engine could run them."""
    from tests.helpers.containers import build_images, engine_is_missing

    if why := engine_is_missing():
        lacking("engine", why)
    build_images()


@pytest.fixture(scope="session")
def built_with_extras(built: None) -> None:
    """Those of a node and a coordinator once more, with what serves metrics and with a tracker."""
    from tests.helpers.containers import build_images_with_extras

    build_images_with_extras()


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Runs a command line as `python -m server` or `python -m worker_node` would, in this process.

    In an empty folder, and without what this process's environment says.
    """
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(environment()):
        if not name.startswith("FEDSMS_TESTS_"):  # how tests are run; no command reads those
            monkeypatch.delenv(name)

    def run_here(module: str, *arguments: object) -> Finished:
        command: click.Command = importlib.import_module(f"{module}.cli.commands").main
        name = f"python -m {module}"
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(command, name)
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Finished(ended.value.code, written.out, written.err)

    return run_here


@pytest.fixture
def still_serves(bob: LocalNode, recipe: Recipe) -> Iterator[None]:
    """After each test, whatever it did, the node does a whole session's work for somebody else."""
    from tests.helpers.node_requests import (  # imports PySyft, which most tests do without
        run,
        works,
    )

    yield
    run(works(bob.url, recipe))
