"""The one way out of a pointer session, and what each way of asking costs.

From the first command that names the owner's rows on, everything that a session holds, makes or
writes is *derived* from them, whether the command succeeds or fails; but for what the coordinator
sent and no command has been given since, which is still its own bytes. What is not known to be that
is derived.

Whatever is told of a session goes through `release`. Where the owner lets gradients and parameters
go, rows can be read from them, so nothing is counted. Where not, the answer of a frame is paid for
before anything in the frame runs, with as many bits as would name each of the answers that it might
get: what rows decide is then at most what was paid.

    an answer        4: one of 8 moments (worker_node/pointers/ticks.py), and whether it failed
    a number        68: 64 of its value, and 10 types in 4
    sizes, types   264: a count, and at most 8 sizes of 32 bits
    results         16: how many there are; their ids are drawn without regard to rows
    counts of scores    of each row that could be in them its bin and label, and 64 for the loss
"""

from __future__ import annotations

import enum
from typing import Any

import torch
from torch._C import TensorBase

from shared.errors import NodeFailed
from shared.model.metrics import BINS
from shared.pysyft import DTYPES, BaseDataset
from worker_node.guarding.policy import refusal

ANSWER_BITS = 4
MAX_SIZES = 8
_SIZE_BITS = 32
MAX_RESULTS = 65_536
_base: Any = TensorBase
_TYPES = frozenset(DTYPES.values())
_dtype, _layout = _base.dtype.__get__, _base.layout.__get__
_requires_grad = _base.requires_grad.__get__
_make_dataset: Any = BaseDataset
_make_subclass: Any = torch.Tensor._make_subclass


class Asked(enum.Enum):
    """What a coordinator asks for."""

    OBJECT = enum.auto()
    SIZES = enum.auto()
    RESULTS = enum.auto()
    SCORES = enum.auto()


class Origin(enum.Enum):
    """Where what is asked for came from."""

    OWNERS = enum.auto()
    """The owner's rows."""
    OWN = enum.auto()
    """The coordinator's: no row was named yet, or it was sent and no command was given it."""
    PARAMETER = enum.auto()
    """Derived; a tensor with a gradient that the coordinator sent, which has its shape."""
    GRADIENT = enum.auto()
    """Derived; computed from gradients alone, a copy for instance."""
    DERIVED = enum.auto()


class Withheld(NodeFailed):
    """It does not leave the node; the words are the same whatever the rows are."""


def price(asked: Asked, rows: int) -> int:
    """Bits to be paid before it is found out. `rows`: that counts of scores may be of."""
    if asked is Asked.OBJECT:
        return 68
    if asked is Asked.SIZES:
        return 8 + MAX_SIZES * _SIZE_BITS
    if asked is Asked.RESULTS:
        return (MAX_RESULTS - 1).bit_length()
    return 64 + rows * (2 * BINS).bit_length()


def release(asked: Asked, found: Any, origin: Origin, gradients: bool, rows: int = 0) -> Any:
    """What may leave of what was found: values alone, without gradient, tags or history.

    Args:
        found: a tensor or dataset; sizes, a type or a truth; ids of results; scores (rows,).
        gradients: the owner lets gradients and parameters go.
        rows: that scores may be of.

    Raises:
        Withheld: it may not leave. NodeFailed: it is more than was paid for.
    """
    if asked is Asked.OBJECT:
        return _object(found, origin, gradients)
    if origin is not Origin.OWN and not gradients and not _is_paid_for(asked, found, rows):
        raise NodeFailed("it is more than a node tells of what is computed from rows")
    return found


def _object(found: Any, origin: Origin, gradients: bool) -> Any:
    if origin is Origin.OWNERS:
        raise Withheld(
            "the owner's rows do not leave the node",
            "the pointer is to a dataset, or to a part of one",
        )
    if origin is Origin.OWN:
        if isinstance(found, BaseDataset):
            parts = [_alone(part) for part in (found.data, found.targets)]
            for part, original in zip(parts, (found.data, found.targets), strict=True):
                part.id = original.id
            return _make_dataset(*parts)
        return _alone(found)
    if gradients and origin is not Origin.DERIVED:
        return _alone(found)
    if isinstance(found, torch.Tensor) and _is_one_number(found):
        return _base.reshape(_base.detach(found), ())
    if not gradients:
        raise Withheld(
            *refusal(
                "pointers.gradients", "of what is computed from the rows, single numbers leave"
            ).args
        )
    raise Withheld(
        "numbers computed from the owner's rows do not leave the node",
        "single ones do, as a loss or an accuracy, and so do gradients and parameters",
        "Compute a mean or a sum there, and fetch that.",
    )


def _is_one_number(tensor: torch.Tensor) -> bool:
    dense = _layout(tensor) is torch.strided and _dtype(tensor) in _TYPES
    return bool(dense and _base.numel(tensor) == 1)


def _alone(tensor: Any) -> Any:
    """The values, and whether they are to have a gradient."""
    values = _base.detach(tensor)
    if type(tensor) is torch.nn.Parameter:
        return _make_subclass(torch.nn.Parameter, values, _requires_grad(tensor))
    return _base.requires_grad_(values) if _requires_grad(tensor) else values


def _is_paid_for(asked: Asked, found: Any, rows: int) -> bool:
    if asked is Asked.RESULTS:
        return len(found) < MAX_RESULTS
    if asked is Asked.SCORES:
        return len(found) <= rows
    sizes = found if isinstance(found, (list, tuple)) else (found,)
    return len(sizes) <= MAX_SIZES and all(
        type(one) in (int, bool) and 0 <= one < 2**_SIZE_BITS for one in sizes
    )
