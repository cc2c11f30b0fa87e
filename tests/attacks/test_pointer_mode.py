"""A node whose owner allows pointers: rows asked for by id, tag, search, copy, view and arithmetic.

What the mode cannot refuse stands here too, so that nobody takes it for safe: a gradient that is
the rows. docs/security.md says so, and the owner's policy can turn gradients off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers.client import PointerClient
from shared.errors import FedsmsError, NodeFailed
from shared.pysyft import sy
from tests.attacks.scene import memory, report
from tests.conftest import OwnerFiles
from tests.helpers.pointers import rows_of, worker, write_recipe

STAYS = "do not leave the node"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def open_node(
    owners: list[OwnerFiles], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalNode]:
    """A node that allows pointers, and 512 MiB of memory to a session."""
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text('modes = ["pointers"]\n[pointers]\nmegabytes = 512\n', encoding="utf-8")
    with local_nodes({"bob": (*owners[1].flags, "--policy", str(policy))}) as (node,):
        yield node


@pytest.fixture
def attacker(open_node: LocalNode, recipe_file: str) -> Iterator[PointerClient]:
    with worker(open_node, recipe_file) as opened:
        yield opened


@contextmanager
def pointed_at(
    owner: OwnerFiles, recipe_file: str, folder: Path, rules: str
) -> Iterator[PointerClient]:
    """A node of its own whose policy has these rules for pointers."""
    policy = folder / "policy.toml"
    policy.write_text(f'modes = ["pointers"]\n[pointers]\n{rules}\n', encoding="utf-8")
    with (
        local_nodes({"bob": (*owner.flags, "--policy", str(policy))}) as (node,),
        worker(node, recipe_file) as bob,
    ):
        yield bob


def sent(tensor: Any, bob: PointerClient) -> Any:
    return tensor.send(bob)


Way = Callable[[Any, Any], Any]
WAYS: dict[str, Way] = {
    "itself": lambda bob, x: x,
    "copy": lambda bob, x: x.copy(),
    "clone": lambda bob, x: x.clone(),
    "view": lambda bob, x: x.view(-1),
    "slice": lambda bob, x: x[0:1],
    "one row": lambda bob, x: x[0],
    "transpose": lambda bob, x: x.t(),
    "addition": lambda bob, x: x + 0,
    "double": lambda bob, x: x.double(),
    "double and back": lambda bob, x: x.double().long() + 0,
    "stack": lambda bob, x: torch.stack([x, x]),
    "into my own": lambda bob, x: sent(torch.zeros(140, 6), bob).copy_(x.float()),
    "into my own, by index": lambda bob, x: sent(torch.zeros(140, 6), bob).add_(x.float()),
    "as an index": lambda bob, x: sent(torch.arange(512.0), bob)[x],
    "one-hot and counted": lambda bob, x: torch.nn.functional.one_hot(x, 512).sum(0),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_rows_do_not_leave_by(attacker: PointerClient, way: str) -> None:
    inputs, _ = rows_of(attacker)
    with pytest.raises(FedsmsError, match=STAYS):
        WAYS[way](attacker, inputs).get()


def test_rows_do_not_leave_through_memory_that_two_tensors_share(attacker: PointerClient) -> None:
    """An einsum that changes nothing gives its operand back, under a name that sounds like a copy:
    rows written into one are in the other, which was there before any row was named."""
    inputs, _ = rows_of(attacker)
    mine: Any = torch.zeros(140, 6).send(attacker)  # type: ignore[attr-defined]
    other: Any = torch.einsum("ij->ij", mine)
    mine.copy_(inputs.float())
    for one in (other, mine):
        with pytest.raises(FedsmsError, match=STAYS):
            one.get()


def test_neither_rows_nor_another_sessions_objects_are_found_by_id(
    open_node: LocalNode, attacker: PointerClient, recipe_file: str
) -> None:
    inputs, _ = rows_of(attacker)
    mine: Any = torch.ones(3).send(attacker)  # type: ignore[attr-defined]
    attacker.wait()
    with worker(open_node, recipe_file) as other:
        for object_id in (mine.child.id_at_location, inputs.child.id_at_location):
            stolen: Any = sy.PointerTensor(
                location=other, id_at_location=object_id, owner=mine.child.owner, id=5,
                garbage_collect_data=False,
            ).wrap()  # fmt: skip
            with pytest.raises(NodeFailed, match="no such object"):
                stolen.get()


def test_single_numbers_leave_until_the_day_is_full(
    owners: list[OwnerFiles], recipe_file: str, tmp_path: Path
) -> None:
    """One number after the other is a row in the end: the policy bounds how many there are."""
    got = 0

    def all_of(inputs: Any) -> None:
        nonlocal got
        for number in range(140 * 6):
            (inputs.view(-1)[number : number + 1] + 0).sum().get()
            got += 1

    with (
        pointed_at(owners[1], recipe_file, tmp_path, "gradients = false\nnumbers = 64") as bob,
        pytest.raises(FedsmsError, match=r"rule pointers\.numbers"),
    ):
        all_of(rows_of(bob)[0])
    assert got == 64
    report(
        "pointer mode: rows, a number at a time", "all rows", f"{got} numbers, as the policy says"
    )


def test_with_gradients_no_number_is_counted(
    owners: list[OwnerFiles], recipe_file: str, tmp_path: Path
) -> None:
    with pointed_at(owners[1], recipe_file, tmp_path, "gradients = true\nnumbers = 0") as bob:
        inputs, _ = rows_of(bob)
        for number in range(3):
            assert (inputs.view(-1)[number : number + 1] + 0).sum().get().numel() == 1
        assert len({(inputs + one).sum().get().item() for one in range(3)}) == 3


@pytest.mark.parametrize("gradients", [True, False])
def test_a_gradient_is_as_good_as_rows_unless_the_policy_keeps_it(
    owners: list[OwnerFiles], recipe_file: str, tmp_path: Path, gradients: bool
) -> None:
    rules = f"gradients = {str(gradients).lower()}"
    with pointed_at(owners[1], recipe_file, tmp_path, rules) as bob:
        inputs, _ = rows_of(bob)
        weight: Any = torch.zeros(140, 6, requires_grad=True).send(bob)  # type: ignore[attr-defined]
        (weight * inputs.float()).sum().backward()
        gradient = weight.grad.copy()
        if gradients:
            assert gradient.get().numel() == 840  # the owner's ids of words, every one
            report("pointers: a gradient that is the rows", "all rows", "all, or none by policy")
        else:
            with pytest.raises(FedsmsError, match=r"pointers\.gradients"):
                gradient.get()


def test_an_operation_that_wants_all_memory_fails_and_the_session_goes_on(
    open_node: LocalNode, attacker: PointerClient
) -> None:
    before = memory(open_node.process.pid)
    one: Any = torch.ones(1).send(attacker)  # type: ignore[attr-defined]
    for _ in range(3):
        with pytest.raises(FedsmsError):
            (one.repeat(2**30) + 1).sum().get()
    assert one.get().item() == 1
    assert memory(open_node.process.pid) - before < 600 * MEBIBYTE
