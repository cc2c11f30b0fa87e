"""PySyft's additive sharing between three real nodes, which know nothing of each other."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from scripts.local.nodes import LocalNode
from server.pointers import connect, connect_shared
from shared.errors import NodeFailed, PolicyRefused, UsageError
from shared.pysyft import sy
from tests.helpers.sharing import Parties, sharing_nodes

pytestmark = pytest.mark.timeout(280)


def fixed(us: Parties, values: Any, digits: int = 3) -> Any:
    return (
        torch.tensor(values)
        .fix_precision(precision_fractional=digits)  # type: ignore[attr-defined]
        .share(us.bob, us.anne, crypto_provider=us.carol)
    )


def whole(us: Parties, values: Any, *holders: Any) -> Any:
    tensor: Any = torch.tensor(values)
    return tensor.share(*(holders or us[:2]), dtype="long", crypto_provider=us.carol)


def value(shared: Any) -> Any:
    return shared.get().float_precision()


X, Y = [[1.5, -2.0], [0.25, 3.0]], [[2.0, 1.0], [-1.0, 0.5]]
OPERATIONS: dict[str, Any] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "product": lambda x, y: x * y,
    "matrix product": lambda x, y: x @ y,
    "by a whole number": lambda x, y: x * -3,
    "sum": lambda x, y: x.sum(),
    "relu": lambda x, y: x.relu(),
    "greater": lambda x, y: x > y,
    "less": lambda x, y: x < y,
    "not less": lambda x, y: x >= y,
    "not greater": lambda x, y: x <= y,
    "equal": lambda x, y: x == x,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_computed_on_shares_is_what_it_is_on_plain_tensors(us: Parties, name: str) -> None:
    operation = OPERATIONS[name]
    plain = operation(torch.tensor(X), torch.tensor(Y)).float()
    assert torch.allclose(value(operation(fixed(us, X), fixed(us, Y))), plain, atol=0.004)


def test_a_secret_is_multiplied_with_what_everybody_knows(us: Parties) -> None:
    known: Any = torch.tensor([[2.0, 0.0], [0.5, -1.0]])
    found = value(fixed(us, X) * known.fix_precision())
    assert torch.allclose(found, torch.tensor(X) * known, atol=0.002)


@pytest.mark.parametrize(
    ("method", "error"), [("exp", 0.02), ("chebyshev", 0.02), ("maclaurin", 0.05)]
)
def test_the_sigmoids_of_fixed_precision(us: Parties, method: str, error: float) -> None:
    values = [0.5, -1.0]
    shared = fixed(us, values, digits=5).child.sigmoid(method=method)
    assert torch.allclose(value(shared.wrap()), torch.tensor(values).sigmoid(), atol=error)


def test_a_whole_module_is_shared(us: Parties) -> None:
    layer: Any = torch.nn.Linear(3, 2)
    row: Any = torch.tensor([[1.0, -2.0, 0.5]])
    plain = layer(row).detach()
    layer.fix_precision().share(us.bob, us.anne, crypto_provider=us.carol, dtype="long")
    found = value(layer(row.fix_precision().share(us.bob, us.anne, crypto_provider=us.carol)))
    assert torch.allclose(found, plain, atol=0.006)


EXTREMES = [0, 1, -1, 2**62, -(2**62), 2**63 - 1, -(2**63), 2**32, -(2**32) - 1]


def test_signs_are_found_over_the_whole_ring(us: Parties) -> None:
    numbers = [*EXTREMES, *torch.randint(-(2**62), 2**62, (40,)).tolist()]
    from_shares = whole(us, numbers).child.positive().get()
    assert from_shares.tolist() == [int(one >= 0) for one in numbers]


def test_the_largest_of_several(us: Parties) -> None:
    assert whole(us, [5, -7, 2**40, 0]).max().get().item() == 2**40


def test_the_provider_may_be_the_coordinator_itself(us: Parties) -> None:
    x: Any = torch.tensor([3, -4])
    shared = x.share(us.bob, us.anne, dtype="long")
    assert (shared * shared).get().tolist() == [9, 16]
    assert (shared >= 0).get().tolist() == [1, 0]


def test_three_holders_multiply_and_compare_and_do_not_divide(us: Parties) -> None:
    shared = whole(us, [3, -4], *us)
    assert (shared * shared).get().tolist() == [9, 16]
    assert (shared >= 0).get().tolist() == [1, 0]
    with pytest.raises(UsageError, match="more than two nodes cannot be divided"):
        shared / 10


def test_what_is_at_a_node_is_shared_from_there(us: Parties) -> None:
    sent: Any = torch.tensor([7, -9]).send(us.bob)  # type: ignore[attr-defined]
    relayed = sent.share(us.bob, us.anne, crypto_provider=us.carol)
    shared = relayed.get()  # pointers to the shares, as PySyft has it, and not the secret
    assert isinstance(shared.child, sy.AdditiveSharingTensor)
    assert (shared + shared).get().tolist() == [14, -18]


def test_factors_of_other_holders_are_refused(us: Parties) -> None:
    with pytest.raises(UsageError, match="between the same nodes"):
        whole(us, [1]) * whole(us, [1], us.bob, us.carol)


@pytest.mark.parametrize("dtype", ["int"])
def test_other_rings_are_shared_and_not_multiplied(us: Parties, dtype: str) -> None:
    x: Any = torch.tensor([3, -4])
    shared = x.share(us.bob, us.anne, dtype=dtype, crypto_provider=us.carol)
    assert (shared + shared).get().tolist() == [6, -8]
    with pytest.raises(UsageError, match="dtype 'long'"):
        shared * shared


def test_nothing_is_left_at_the_nodes(us: Parties) -> None:
    gc.collect()
    before = [one.objects_count_remote() for one in us]
    x = fixed(us, X)
    value(x * x + (x > x))
    del x
    gc.collect()
    assert [one.objects_count_remote() for one in us] == before


def test_a_session_of_shares_has_no_row_of_its_owner(us: Parties) -> None:
    assert [one.search("#train") + one.search("#test") for one in us] == [[], [], []]
    assert us.carol.objects_count_remote() == 0  # the provider keeps nothing


def test_an_operation_that_is_not_listed_is_refused(us: Parties) -> None:
    sent: Any = torch.tensor([1]).send(us.bob)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="nodes do not run 'storage'"):
        sent.owner.send_command(us.bob, ("storage", sent.child, (), {}))


def test_rows_are_not_opened_where_sharing_alone_is_allowed(sharing_three: list[LocalNode]) -> None:
    with pytest.raises(PolicyRefused, match="does not allow pointer operations"):
        connect(sharing_three[0].flag)


def test_a_coordinator_that_the_owner_does_not_name_is_refused(
    tmp_path: Any, nodes: list[LocalNode]
) -> None:
    with sharing_nodes(tmp_path, "somebody-else") as strict:
        for node in strict:
            with pytest.raises(PolicyRefused, match=r"rule shared\.coordinators"):
                connect_shared(node.flag)
    with pytest.raises(PolicyRefused, match="rule modes"):
        connect_shared(nodes[0].flag)


def test_more_numbers_than_a_node_makes_at_once_are_refused(us: Parties) -> None:
    many = whole(us, [0] * (2**18 + 1))
    with pytest.raises(NodeFailed, match="numbers in one result"):
        (many >= 0).get()
