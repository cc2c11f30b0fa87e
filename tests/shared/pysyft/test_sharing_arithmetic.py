"""What shares are made of, by whole numbers of Python's: sums, the bounds of masks, and triples."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shared.errors import UsageError
from shared.pointers.field_numbers import uniform
from shared.pysyft import make_hook, sy
from shared.pysyft.sharing import holders, products, randomness

RING = 2**64
Bounds = list[tuple[tuple[int, ...], int, int]]


@pytest.fixture(autouse=True, scope="module")
def hooked() -> None:
    make_hook()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Bounds:
    """What masks were drawn: shape, lowest and highest number."""
    asked: Bounds = []

    def noted(shape: tuple[int, ...], low: int, high: int) -> Any:
        asked.append((tuple(shape), low, high))
        return uniform(shape, low, high)

    for module in (holders, products, randomness):
        monkeypatch.setattr(module, "uniform", noted)
    return asked


def summed(shares: list[Any], field: int = RING) -> list[int]:
    return [sum(numbers) % field for numbers in zip(*(one.tolist() for one in shares), strict=True)]


SECRET = [0, 1, -1, 5, 2**62, -(2**63), 2**63 - 1]


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_shares_of_a_value_add_up_to_it_and_all_but_one_are_of_the_whole_ring(
    number: int, drawn: Bounds
) -> None:
    shares = holders.split(torch.tensor(SECRET), number)
    assert len(shares) == number
    assert summed(shares) == [one % RING for one in SECRET]
    assert drawn == [((7,), -(2**63), 2**63 - 1)] * (number - 1)
    again = holders.split(torch.tensor(SECRET), number)
    assert (
        all((one != other).any() for one, other in zip(shares, again, strict=True)) or number == 1
    )


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"dtype": "long"}, -(2**63), 2**63 - 1),
        ({"dtype": "int"}, -(2**31), 2**31 - 1),
        ({"dtype": "custom", "field": 1001}, -500, 500),
    ],
)
def test_pysyfts_shares_add_up_in_their_field_and_their_masks_reach_both_of_its_ends(
    options: dict[str, Any], low: int, high: int, number: int, drawn: Bounds
) -> None:
    shared = sy.AdditiveSharingTensor(owner=sy.local_worker, **options)
    secret = torch.tensor([0, 1, -1, 5, low + 1, high])
    shares = randomness._generate_shares(shared, secret, number, shared.torch_dtype)
    assert len(shares) == number
    assert summed(shares, shared.field) == [one % shared.field for one in secret.tolist()]
    assert all(low <= one <= high for share in shares for one in share.tolist())
    assert drawn == [((6,), low, high)] * (number - 1)


def test_no_seed_of_torchs_decides_a_share() -> None:
    shared = sy.AdditiveSharingTensor(owner=sy.local_worker, dtype="long")
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(shared.generate_shares(torch.tensor(SECRET), 2, torch.int64))
    assert all((one != other).all() for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("number", [2, 3])
def test_a_triple_that_is_made_here_is_the_product_of_numbers_of_the_whole_ring(
    number: int, drawn: Bounds
) -> None:
    shapes = (torch.Size([2, 3]), torch.Size([3, 2]), torch.Size([2, 2]))
    a, b, c = products._at_home(None, torch.matmul, shapes, number)
    assert drawn[:2] == [((2, 3), -(2**63), 2**63 - 1), ((3, 2), -(2**63), 2**63 - 1)]
    assert len(drawn) == 2 + 3 * (number - 1)
    (left, right, product) = (
        [[sum(cell) % RING for cell in zip(*row, strict=True)] for row in zip(*rows, strict=True)]
        for rows in ([one.tolist() for one in some] for some in (a, b, c))
    )
    assert product == [
        [sum(left[row][k] * right[k][column] for k in range(3)) % RING for column in range(2)]
        for row in range(2)
    ]


@pytest.mark.parametrize(
    ("product", "first", "second", "shape"),
    [
        ("mul", (2, 3), (2, 3), (2, 3)),
        ("mul", (2, 1), (3,), (2, 3)),
        ("matmul", (2, 3), (3, 4), (2, 4)),
        ("matmul", (5, 2, 3), (3, 4), (5, 2, 4)),
        ("matmul", (3,), (3,), ()),
        ("mul", (2, 3), (3, 2), None),
        ("matmul", (2, 3), (2, 3), None),
    ],
)
def test_a_product_has_the_shape_that_it_has_of_plain_tensors(
    product: str, first: tuple[int, ...], second: tuple[int, ...], shape: tuple[int, ...] | None
) -> None:
    of_torch = getattr(torch, product)  # the one that PySyft has hooked by now
    if shape is None:
        with pytest.raises(UsageError, match="no product of tensors"):
            products._result_shape(of_torch, torch.Size(first), torch.Size(second))
        return
    found = products._result_shape(of_torch, torch.Size(first), torch.Size(second))
    assert found == shape == of_torch(torch.zeros(first), torch.zeros(second)).shape


def lying_at(*nodes: bool, dtype: str = "long") -> Any:
    """What is shared, as far as where it lies is asked."""
    places = {
        str(place): SimpleNamespace(location=SimpleNamespace(takes_commands=one))
        for place, one in enumerate(nodes)
    }
    return SimpleNamespace(child=places, dtype=dtype)


def test_what_is_shared_lies_at_nodes_or_here_and_not_at_both() -> None:
    assert holders.at_nodes(lying_at(True, True))
    assert not holders.at_nodes(lying_at(False, False))
    here = SimpleNamespace(child={"me": SimpleNamespace(location=object())})
    assert not holders.at_nodes(here)
    with pytest.raises(UsageError, match="between nodes, or between workers"):
        holders.at_nodes(lying_at(True, False))


def test_nodes_compute_in_one_ring_alone() -> None:
    holders.require_ring(lying_at(True, True))
    for dtype in ("int", "custom"):
        with pytest.raises(UsageError, match=f"not '{dtype}'"):
            holders.require_ring(lying_at(True, True, dtype=dtype))
