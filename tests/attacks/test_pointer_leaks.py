"""Ways in which rows left a node that tells nothing: one test for each kind of hole.

The policy is the strictest that still allows pointers: no gradients, and no number a day; and again
with many numbers, so that it is not the count alone that keeps rows at home. Commands are written
as an attacker writes them, past what PySyft's API would let through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers.client import PointerClient
from shared.errors import FedsmsError, NodeFailed, PolicyRefused
from shared.model.recipe import load_recipe
from shared.pointers.frames import Item
from tests.attacks.scene import report
from tests.conftest import OwnerFiles
from tests.helpers.pointers import rows_of, worker, write_recipe
from worker_node.data.shard import Shard
from worker_node.pointers.rows import tagged_tensors

pytestmark = pytest.mark.timeout(120)

R: Any = ("r", 0)
ROWS, WIDTH = 140, 6


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module", params=[0, 100_000], ids=["no number", "many numbers"])
def strict(
    request: pytest.FixtureRequest,
    owners: list[OwnerFiles],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalNode]:
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    bounds = f"[pointers]\ngradients = false\nnumbers = {request.param}\n"
    policy.write_text(f'modes = ["pointers"]\n{bounds}', encoding="utf-8")
    with local_nodes({"bob": (*owners[1].flags, "--policy", str(policy))}) as (node,):
        yield node


@pytest.fixture
def attacker(strict: LocalNode, recipe_file: str) -> Iterator[PointerClient]:
    with worker(strict, recipe_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def secret(owners: list[OwnerFiles], recipe_file: str) -> torch.Tensor:
    """The owner's training inputs (140, 6): what must not be got."""
    shard = Shard(tuple(owners[1].train))
    return tagged_tensors(shard, load_recipe(recipe_file).text)[0].tensor


class Ids:
    """Ids of the attacker's choosing, one after the other."""

    def __init__(self) -> None:
        self.last = 1_000

    def __call__(self) -> int:
        self.last += 1
        return self.last


new = Ids()


def send(bob: PointerClient, tensor: Any, tags: tuple[str, ...] = ()) -> int:
    if tags:
        tensor = tensor.tag(*tags)
    pointer: Any = tensor.send(bob, garbage_collect_data=False)
    return int(pointer.id_at_location)


def send_parameter(bob: PointerClient, values: torch.Tensor) -> int:
    object_id = new()
    array = values.numpy()
    whole = (tuple(array.shape), array.tobytes())
    bob.stream.item(Item.PARAMETER, (object_id, True, whole, None))
    return object_id


def run(bob: PointerClient, name: str, *arguments: Any, result: bool = True, **named: Any) -> int:
    """Issues a command; an argument `("id", n)` is the tensor of that id. Gives the result's id."""
    ids: list[int] = []

    def laid_out(part: Any) -> Any:
        if type(part) is tuple and part and part[0] == "id":
            ids.append(part[1])
            return ("r", part[2]) if len(part) == 3 else R
        if type(part) is tuple and part and part[0] == "l":
            return ("l", *[laid_out(inner) for inner in part[1:]])
        return part

    template = (
        name,
        tuple(laid_out(part) for part in arguments),
        tuple((key, laid_out(part)) for key, part in named.items()),
    )
    if result:
        ids.append(new())
    bob.command(template, ids)
    return ids[-1]


def settle(bob: PointerClient) -> None:
    """Waits for what was issued, whatever the node says to it."""
    with contextlib.suppress(FedsmsError):
        bob.wait()


def one(bob: PointerClient, object_id: int) -> Any:
    return bob.fetch([object_id])[0]


def rows_id(bob: PointerClient) -> int:
    return int(rows_of(bob)[0].id_at_location)


def results_kept_before_the_refusal(bob: PointerClient, rows: int) -> Any:
    """The pieces of a `chunk` were stored, then the answer was refused; a list of ids is free."""
    before = set(bob.list_objects_remote())
    run(bob, "chunk", ("id", rows), 1, result=False)
    settle(bob)
    (piece,) = set(bob.list_objects_remote()) - before
    return one(bob, piece)


def a_gradient_inside_a_weight(bob: PointerClient, rows: int) -> Any:
    """The gradient of (weight * rows).sum() is the rows; the weight itself was clean."""
    weight = send_parameter(bob, torch.zeros(ROWS, WIDTH))
    product = run(bob, "__mul__", ("id", weight), ("id", run(bob, "float", ("id", rows))))
    run(bob, "backward", ("id", run(bob, "sum", ("id", product))), result=False)
    return one(bob, weight).grad


def an_operation_that_fails_half_way(bob: PointerClient, rows: int) -> Any:
    """The last index does not exist; all before it were written by then."""
    places = torch.arange(ROWS * WIDTH)
    places[-1] = 10**9
    index, mine = send(bob, places), send(bob, torch.zeros(ROWS * WIDTH, dtype=torch.int64))
    flat = run(bob, "reshape", ("id", rows), -1)
    run(bob, "scatter_", ("id", mine), 0, ("id", index), ("id", flat), result=False)
    settle(bob)
    got = one(bob, mine)
    return torch.cat([got[:-1], torch.zeros(1, dtype=torch.int64)]).reshape(ROWS, WIDTH)


def a_view_by_keyword(bob: PointerClient, rows: int) -> Any:
    """`narrow` with a tensor for its start: the view is of the tensor that comes second."""
    start = send(bob, torch.tensor(0))
    mine = send(bob, torch.zeros(ROWS, WIDTH, dtype=torch.int64))
    named: dict[str, Any] = {
        "dim": 0,
        "start": ("id", start),
        "length": ROWS,
        "input": ("id", mine),
    }
    view = run(bob, "torch.narrow", **named)
    run(bob, "copy_", ("id", view), ("id", rows), result=False)
    return one(bob, mine)


def written_in_place(bob: PointerClient, rows: int, replayed: bool) -> Any:
    """`threshold` with `inplace` puts its number, which may be one of the rows, into its input."""
    mine = send(bob, torch.zeros(2))
    place = ("t", 0, 0)
    number = run(bob, "float", ("id", run(bob, "__getitem__", ("id", rows), place)))
    low = ("f", (1.0).hex())
    name = "torch.nn.functional.threshold"
    if replayed:
        template = (name, (R, low, R, ("b", 1)), ())
        numbers = [bob.stream.number_of(template), 0, 1, 2]
        packed = np.array(numbers, dtype="<i8").tobytes()
        bob.stream.item(Item.RECORD, (1, 2, 3, packed, (2,)))
        bob.stream.item(Item.REPLAY, (1, (mine, number), (new(),)))
    else:
        run(bob, name, ("id", mine), low, ("id", number), ("b", 1))
    return one(bob, mine)


WAYS: dict[str, Callable[[PointerClient, int], Any]] = {
    "results that were kept before the refusal": results_kept_before_the_refusal,
    "a gradient inside a weight": a_gradient_inside_a_weight,
    "an operation that fails half-way": an_operation_that_fails_half_way,
    "a view by keyword": a_view_by_keyword,
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_do_not_leave_in(attacker: PointerClient, secret: torch.Tensor, way: str) -> None:
    got: Any = None
    with contextlib.suppress(FedsmsError):
        got = WAYS[way](attacker, rows_id(attacker))
    assert got is None or not (got.long() == secret).float().mean() > 0.9
    report(f"pointer mode: {way}", "not run here", "refused: derived from rows")


@pytest.mark.parametrize("replayed", [False, True], ids=["in a command", "in a replayed step"])
def test_no_row_leaves_in_what_was_written_in_place(
    attacker: PointerClient, secret: torch.Tensor, replayed: bool
) -> None:
    got = None
    with contextlib.suppress(FedsmsError):
        got = written_in_place(attacker, rows_id(attacker), replayed)
    assert got is None or got[0] != secret[0, 0]
    report("pointer mode: a row written in place", "not run here", "refused: derived from rows")


def test_a_tag_tells_no_shape_that_rows_decided(
    attacker: PointerClient, secret: torch.Tensor
) -> None:
    """The result takes the id of a tensor with a tag, whose shape a search tells for nothing."""
    rows = rows_id(attacker)
    tagged = send(attacker, torch.zeros(1), ("#mine",))
    attacker.wait()
    word = int(secret[0, 0])
    mask = run(attacker, "__eq__", ("id", rows), word)
    attacker.command(("masked_select", (R, R), ()), [rows, mask, tagged])
    settle(attacker)
    shapes: list[Any] = []
    with contextlib.suppress(FedsmsError):
        shapes = [told[2] for told in attacker.ask(Item.SEARCH, ["#mine"])]
    assert (int((secret == word).sum()),) not in shapes
    report("pointer mode: a shape behind a tag", "not run here", "tags of what was sent alone")


def test_what_is_drawn_after_rows_were_touched_tells_nothing(
    attacker: PointerClient, secret: torch.Tensor
) -> None:
    """As many numbers are drawn as a row says; the next one tells how many there were."""
    rows, value = rows_id(attacker), int(secret[0, 0])
    count = run(attacker, "__getitem__", ("id", rows), ("t", 0, 0))
    run(attacker, "torch.rand", ("l", ("id", count)))
    drawn = run(attacker, "torch.rand", ("l", 8))
    got = torch.zeros(8)
    with contextlib.suppress(FedsmsError):
        got = one(attacker, drawn)
    generator = torch.Generator().manual_seed(5)
    torch.rand(value, generator=generator)
    assert not torch.equal(got, torch.rand(8, generator=generator))
    report("pointer mode: how much was drawn", "not run here", "refused: derived from rows")


def fails_below(bob: PointerClient, rows: int, bound: int) -> bool:
    """True where the first id is `bound` or more: a table of that many entries lacks it."""
    table = run(bob, "torch.zeros", ("l", bound))
    first = run(bob, "__getitem__", ("id", rows), ("t", 0, ("s", 0, 1, None)))
    run(bob, "gather", ("id", table), 0, ("id", first))
    try:
        bob.wait()
    except (NodeFailed, PolicyRefused):  # any other would be no answer to the question
        return True
    return False


def test_failures_tell_no_value(
    owners: list[OwnerFiles], recipe_file: str, secret: torch.Tensor, tmp_path: Path
) -> None:
    """Whether an operation failed is a bit, also where it did not: nine of them are an id."""
    policy = tmp_path / "policy.toml"
    bounds = "[pointers]\ngradients = false\nnumbers = 0\n"
    policy.write_text(f'modes = ["pointers"]\n{bounds}', encoding="utf-8")
    with (
        local_nodes({"bob": (*owners[1].flags, "--policy", str(policy))}) as (node,),
        worker(node, recipe_file) as bob,
    ):
        rows = rows_id(bob)
        low, high = 0, 512
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fails_below(bob, rows, middle) else (low, middle)
    assert low != secret[0, 0]
    report("pointer mode: whether it failed", "not run here", "paid before, or not run")


def test_a_scan_costs_though_it_does_not_fail(
    owners: list[OwnerFiles], recipe_file: str, secret: torch.Tensor, tmp_path: Path
) -> None:
    """From above, one failure in the end tells the value; each step before it has its price."""
    policy = tmp_path / "policy.toml"
    bounds = "[pointers]\ngradients = false\nnumbers = 2\n"
    policy.write_text(f'modes = ["pointers"]\n{bounds}', encoding="utf-8")
    with (
        local_nodes({"bob": (*owners[1].flags, "--policy", str(policy))}) as (node,),
        worker(node, recipe_file) as bob,
    ):
        rows, bound = rows_id(bob), 512
        while bound > 1 and not fails_below(bob, rows, bound - 1):
            bound -= 1
    assert bound - 1 != secret[0, 0]
