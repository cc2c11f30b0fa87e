"""Operations that end the process they run in, or never end: they cost their own session alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers.client import PointerClient
from shared.errors import FedsmsError
from tests.attacks.scene import report
from tests.conftest import OwnerFiles
from tests.helpers.pointers import worker, write_recipe
from tests.helpers.running import greeting_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def open_node(owners: list[OwnerFiles]) -> Iterator[LocalNode]:
    with local_nodes({"bob": (*owners[1].flags, "--allow", "pointers")}) as (node,):
        yield node


@pytest.fixture
def attacker(open_node: LocalNode, recipe_file: str) -> Iterator[PointerClient]:
    with worker(open_node, recipe_file) as opened:
        yield opened


@pytest.fixture
def bystander(open_node: LocalNode, recipe_file: str) -> Iterator[PointerClient]:
    with worker(open_node, recipe_file) as opened:
        yield opened


def works(bob: PointerClient) -> None:
    x: Any = torch.ones(3).send(bob)  # type: ignore[attr-defined]
    assert (x + x).sum().get().item() == 6


def divide_the_smallest(bob: PointerClient) -> Any:
    """The quotient does not fit, and the processor says so with a signal."""
    smallest: Any = torch.tensor([-(2**63)]).send(bob)  # type: ignore[attr-defined]
    divisor: Any = torch.tensor([-1]).send(bob)  # type: ignore[attr-defined]
    return torch.div(smallest, divisor, rounding_mode="trunc")


def test_a_division_that_ends_a_process_ends_its_session_alone(
    open_node: LocalNode, attacker: PointerClient, bystander: PointerClient
) -> None:
    works(bystander)
    with pytest.raises(FedsmsError):
        divide_the_smallest(attacker).sum().get()
    works(bystander)
    with pytest.raises(FedsmsError):
        works(attacker)
    assert open_node.process.poll() is None
    report("pointer mode: a division ends its process", "not run here", "its own session ends")


def test_a_long_operation_keeps_nobody_waiting(
    open_node: LocalNode, attacker: PointerClient, bystander: PointerClient
) -> None:
    """Some minutes of multiplying; the node greets others and works for them meanwhile."""
    large: Any = torch.ones(1, 1).send(attacker)  # type: ignore[attr-defined]
    attacker.wait()
    large = large.repeat(8_000, 8_000)
    for _ in range(20):
        large = large @ large
    attacker.stream.flush()
    assert greeting_of("bob", open_node.url).id == "bob"
    works(bystander)
    report("pointer mode: minutes of multiplying", "not run here", "others are served meanwhile")


def test_what_takes_longer_than_the_owner_allows_ends_its_session(
    owners: list[OwnerFiles], recipe_file: str, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('modes = ["pointers"]\n[pointers]\nseconds = 1\n', encoding="utf-8")
    with local_nodes({"bob": (*owners[1].flags, "--policy", str(policy))}) as (node,):
        with worker(node, recipe_file) as bob:
            large: Any = torch.ones(1, 1).send(bob)  # type: ignore[attr-defined]
            large = large.repeat(8_000, 8_000)
            for _ in range(20):
                large = large @ large
            with pytest.raises(FedsmsError, match="longer than the owner allows"):
                large.sum().get()
        with worker(node, recipe_file) as bob:
            works(bob)
