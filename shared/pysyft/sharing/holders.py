"""Shares at nodes: what each holder computes by itself, and what is passed on from here.

PySyft has its workers send tensors to each other. Nodes know no other node: the coordinator fetches
what goes from one to another, and sends it on. So it sees everything that travels, and whatever it
asks for: sharing between nodes hides from holders and provider what the coordinator shares, and
nothing from the coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from shared.errors import UsageError
from shared.pointers.field_numbers import uniform
from shared.pointers.tensor_operations import UNIFORM
from shared.pysyft.loading.classes import ObjectMessage
from shared.pysyft.loading.load import sy
from shared.pysyft.mends.ids import new_id
from shared.pysyft.shortcuts.pointer_arguments import encode
from shared.pysyft.shortcuts.pointer_shortcuts import remote_tensor

Shares: Any = sy.AdditiveSharingTensor
LOW, HIGH = -(2**63), 2**63 - 1
"""The ring of shares: the integers modulo 2**64, as int64 numbers."""


def at_nodes(shared: Any) -> bool:
    """Whether a shared tensor lies at nodes. Raises UsageError where some lie elsewhere."""
    found = [getattr(one.location, "takes_commands", False) for one in shared.child.values()]
    if any(found) and not all(found):
        raise UsageError("a secret is shared between nodes, or between workers of this process")
    return all(found)


def require_ring(shared: Any) -> None:
    """Raises UsageError for a field in which nodes do not multiply and compare."""
    if shared.dtype != "long":
        raise UsageError(
            f"nodes compute on shares of dtype 'long', and not {shared.dtype!r}",
            next_step='Share with dtype="long", which fix_precision() does from the start.',
        )


def parts_of(shared: Any) -> list[Any]:
    """A remote tensor for each holder's share, in the order of the holders."""
    return [one.wrap(register=False) for one in shared.child.values()]


def shared_of(parts: Sequence[Any], like: Any) -> Any:
    """A shared tensor of remote tensors, one a holder; PySyft's, without a wrapper."""
    pointers = {part.child.location.id: part.child for part in parts}
    return Shares(pointers, owner=like.owner, **like.get_class_attributes())


def run_at(location: Any, name: str, shape: torch.Size, *arguments: Any) -> Any:
    """A node's operation whose arguments are no tensors; gives the remote result."""
    object_id = new_id()
    location.command((name, arguments, ()), [object_id])
    return remote_tensor(location, object_id, shape)


def operate(name: str, tensor: Any, shape: torch.Size | None = None) -> Any:
    """A node's operation on one remote tensor, which torch has none for."""
    pointer, object_id = tensor.child, new_id()
    pointer.location.command((name, (("r", 0),), ()), [pointer.id_at_location, object_id])
    return remote_tensor(pointer.location, object_id, shape)


def run_with(location: Any, name: str, shape: Any, *arguments: Any) -> Any:
    """A node's operation whose arguments are remote tensors there, and numbers, texts and tuples.

    Args:
        shape: of the result; None where it may be asked for.
    """
    object_id, ids = new_id(), list[int]()
    encoded = tuple(one if type(one) is tuple else encode(one, ids, location) for one in arguments)
    location.command((name, encoded, ()), [*ids, object_id])
    return remote_tensor(location, object_id, shape)


def fetch_all(tensors: Sequence[Any]) -> list[Any]:
    """Values of remote tensors, which are then gone there; all nodes at a time."""
    if not any(getattr(one.child.location, "takes_commands", False) for one in tensors):
        return [one.get() for one in tensors]  # PySyft's own workers
    by_node: dict[int, tuple[Any, list[int]]] = {}
    for place, tensor in enumerate(tensors):
        location = tensor.child.location
        by_node.setdefault(id(location), (location, []))[1].append(place)
    waiting: list[tuple[list[int], Callable[[], list[Any]]]] = []
    for location, places in by_node.values():
        ids = [tensors[place].child.id_at_location for place in places]
        waiting.append((places, location.begin_fetch(ids)))
    found: list[Any] = [None] * len(tensors)
    for places, wait in waiting:
        for place, value in zip(places, wait(), strict=True):
            found[place] = value
    for tensor in tensors:
        tensor.child.garbage_collect_data = False  # there is nothing left to delete
    return found


def send(value: Any, location: Any) -> Any:
    """A remote tensor of a value that is here. It goes as it is, past PySyft's registers."""
    if not getattr(location, "takes_commands", False):
        return value.send(location)
    value.id = new_id()
    location.send_object(value, ObjectMessage(value), sy.local_worker)
    return remote_tensor(location, value.id, value.shape)


def open_shares(*shared: Any) -> list[list[Any]]:
    """For each shared tensor its value at each holder, where all know it then.

    The shares are gone from their holders.
    """
    parts = [parts_of(one) for one in shared]
    places = [[part.child.location for part in some] for some in parts]  # get() of PySyft's forgets
    values = fetch_all([part for some in parts for part in some])
    opened, position = [], 0
    for where in places:
        value = sum(values[position : position + len(where)])
        position += len(where)
        opened.append([send(value, one) for one in where])
    return opened


def split(value: Any, number: int) -> list[Any]:
    """Shares of a value that is here, (...) int64; any `number - 1` of them are uniform."""
    masks = [_here(value.shape) for _ in range(number - 1)]
    return [*masks, value - sum(masks)] if masks else [value]


def split_at(tensor: Any, shape: torch.Size, number: int) -> list[Any]:
    """The same for a remote tensor: its shares, which are at its node too."""
    location = tensor.child.location
    sizes = ("t", *shape)
    rest, masks = tensor, []
    for _ in range(number - 1):
        masks.append(run_at(location, UNIFORM, shape, sizes, LOW, HIGH))
        rest = rest - masks[-1]
    return [*masks, rest]


def _here(shape: Sequence[int], low: int = LOW, high: int = HIGH) -> Any:
    return torch.tensor(uniform(tuple(shape), low, high))
