"""Templates of pointer operations made runnable, so that nothing is looked up again.

What runs is torch's own function or method, past what PySyft's hook has put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch._C import TensorBase

from shared.errors import NodeFailed
from shared.pointers.frames import MAX_TEMPLATE_DEPTH
from shared.pointers.tensor_operations import MAY_WRITE, OPERATIONS, SEALED, Gives
from shared.pysyft import DTYPES, BaseDataset
from worker_node.pointers.sharing import FUNCTIONS as SHARING

Builder = Callable[[Sequence[Any]], Any]
_base: Any = TensorBase
_data = _base.data.__get__
_grad = _base.grad.__get__
_DATASET_PARTS: dict[str, Callable[..., Any]] = {
    "get_data": lambda dataset: dataset.data,
    "get_targets": lambda dataset: dataset.targets,
    "__getitem__": lambda dataset, index: (dataset.data[index], dataset.targets[index]),
    "__len__": lambda dataset: len(dataset.data),
}


def _embedding(
    words: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None, *others: Any
) -> Any:
    if max_norm is not None:
        raise ValueError("max_norm, which writes into the weight, is not for pointers")
    return torch.nn.functional.embedding(words, weight, padding_idx, None, *others)


# PySyft's copy is torch's clone; its backward calls this
_OWN: dict[str, Callable[..., Any]] = {
    "copy": _base.clone,
    "backward": torch.autograd.backward,
    "torch.nn.functional.linear": torch._C._nn.linear,
    "torch.nn.functional.embedding": _embedding,
    **SHARING,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """A template, ready to run.

    tensors: how many ids of tensors a command has, before that of its result.
    width: how many ids in all.
    arguments: lays out positional arguments from the tensors; named: keyword arguments, or None.
    of_gradients: each of its tensors is the `.grad` of one.
    writes: it may write into its first operand.
    """

    name: str
    gives: Gives
    run: Callable[..., Any]
    tensors: int
    width: int
    arguments: Builder
    named: Builder | None
    of_gradients: bool
    writes: bool

    def __call__(self, objects: Sequence[Any]) -> Any:
        """The result of the operation on its tensors, in the order of their ids."""
        named = self.named(objects) if self.named is not None else {}
        result = self.run(*self.arguments(objects), **named)
        if result is NotImplemented:  # of `x += y`, say, which changed nothing
            raise TypeError(f"{self.name} takes no operands of these types")
        return result


def compile_template(
    template: Any, own: Mapping[str, Callable[..., Any]] = MappingProxyType({})
) -> Operation:
    """Makes a template runnable.

    Args:
        own: functions of this session, by their names on the list.

    Raises:
        NodeFailed: the operation is not on the list, or the template is malformed.
    """
    if type(template) is not tuple or len(template) != 3 or type(template[0]) is not str:
        raise NodeFailed("a malformed template of a pointer operation")
    name, arguments, named = template
    gives = OPERATIONS.get(name)
    function = own.get(name) or (_function(name) if gives is not None else None)
    if gives is None or function is None:
        raise NodeFailed(
            f"{name[:80]!r} is not among the operations that pointers may ask for",
            next_step="shared/pointers/tensor_operations.py lists them.",
        )
    layout = _Layout()
    if type(arguments) is not tuple or type(named) is not tuple:
        raise NodeFailed("a malformed template of a pointer operation")
    parts = [layout.builder(part, 0) for part in arguments]
    names = [layout.pair(pair) for pair in named]
    return Operation(
        name=name,
        gives=gives,
        run=function,
        tensors=layout.tensors,
        width=layout.tensors + (gives is Gives.ONE),
        arguments=_tuple_of(parts, layout.plain),
        named=(lambda o: {key: part(o) for key, part in names}) if names else None,
        of_gradients=0 < layout.gradients == layout.tensors,
        writes=gives is Gives.ITSELF or name in MAY_WRITE,
    )


@lru_cache(maxsize=2048)
def _function(name: str) -> Callable[..., Any] | None:
    """Torch's own for a name on the list; None where this torch has none."""
    if name in _OWN:
        return _OWN[name]
    if name.startswith(SEALED):
        return None  # they are a sealed session's
    module, _, attribute = name.rpartition(".")
    if module == "dataset":
        return _of_dataset(_DATASET_PARTS[attribute])
    owners: dict[str, Any] = {"": torch.Tensor, "torch": torch}
    owner = owners.get(module, torch.nn.functional)
    if not module and hasattr(_base, attribute):
        function = getattr(_base, attribute)
    else:
        function = getattr(owner, f"native_{attribute}", None) or getattr(owner, attribute, None)
    return function if callable(function) else None


def _of_dataset(part: Callable[..., Any]) -> Callable[..., Any]:
    def checked(dataset: Any, *arguments: Any) -> Any:
        if not isinstance(dataset, BaseDataset):
            raise TypeError("it is no dataset")
        return part(dataset, *arguments)

    return checked


class _Layout:
    """Builders of arguments, and how many tensors they take."""

    def __init__(self) -> None:
        self.tensors = self.gradients = 0
        self.plain = True  # every argument is a tensor itself, in order

    def pair(self, pair: Any) -> tuple[str, Builder]:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str:
            raise NodeFailed("a malformed template of a pointer operation")
        if pair[0] == "out":
            raise NodeFailed("pointer operations write into no tensor given as out=")
        return pair[0], self.builder(pair[1], 0)

    def builder(self, part: Any, depth: int) -> Builder:
        if depth > MAX_TEMPLATE_DEPTH:
            raise NodeFailed("arguments of a pointer operation nested too deep")
        if part is None or type(part) in (int, str):
            self.plain = False
            return lambda _: part
        try:
            return self._tagged(part[0], part[1:], depth)
        except (TypeError, IndexError, ValueError, KeyError):
            raise NodeFailed("a malformed template of a pointer operation") from None

    def _tagged(self, tag: str, content: tuple[Any, ...], depth: int) -> Builder:
        if tag == "r":
            return self._tensor(*content)
        self.plain = False
        if tag in ("l", "t"):
            parts = [self.builder(part, depth + 1) for part in content]
            if tag == "t":
                return lambda objects: tuple([part(objects) for part in parts])
            return lambda objects: [part(objects) for part in parts]
        value: Any
        if tag == "f":
            value = float.fromhex(*content)
        elif tag == "b":
            value = bool(*content)
        elif tag == "s":
            value = slice(*content)
        elif tag == "e":
            value = ...
        else:
            value = {"d": DTYPES}[tag][content[0]]
        return lambda _: value

    def _tensor(self, attribute: int) -> Builder:
        index, self.tensors = self.tensors, self.tensors + 1
        if attribute == 0:
            return lambda objects: objects[index]
        self.plain = False
        if attribute == 1:
            return lambda objects: _data(objects[index])
        if attribute != 2:
            raise ValueError(attribute)
        self.gradients += 1
        return lambda objects: _gradient(objects[index])


def _gradient(tensor: Any) -> Any:
    gradient = _grad(tensor)
    if gradient is None:
        raise ValueError("the tensor has no gradient yet")
    return gradient


def _tuple_of(parts: list[Builder], plain: bool) -> Builder:
    if plain:
        return lambda objects: objects
    if len(parts) == 2:
        first, second = parts
        return lambda objects: (first(objects), second(objects))
    return lambda objects: [part(objects) for part in parts]
