"""Pointers whose worker takes commands: straight to it, past PySyft's layers.

A method of a remote tensor passes through two hooks, four searches through its arguments, a message
object and its serialisation before PySyft sends it, and again for the delete of the result. A
worker with `takes_commands` gets the same operation, with the same ids, as one call. Workers
without it see no difference.

Such a worker has:

- `command(template, ids)`: an operation whose result id is the last of `ids`;
  see shared/pointers/frames.py
- `take(message, sender)`: any message that PySyft would have serialised; gives the answer
- `discard(object_id)`: deletes an object. Called by the garbage collector, from any thread.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

from shared.pointers.tensor_operations import OPERATIONS, Gives
from shared.pysyft.loading.load import sy
from shared.pysyft.mends.ids import new_id
from shared.pysyft.shortcuts.pointer_arguments import NotForTheWire, encode, reference

_PointerTensor: Any = sy.PointerTensor
_Tensor = torch.Tensor  # looked up once; TorchHook replaces names in the module torch
_QUICK = (Gives.ONE, Gives.ITSELF, Gives.NOTHING)
_AUTOMATIC = "overloaded_pointer_method"


def remote_tensor(location: Any, object_id: int, shape: torch.Size | None = None) -> Any:
    """A tensor that stands for the object of that id at `location`, and deletes it when it dies."""
    pointer = _PointerTensor.__new__(_PointerTensor)
    pointer.__dict__.update(
        owner=sy.local_worker,
        id=new_id(),
        tags=set(),
        description=None,
        child=None,
        location=location,
        id_at_location=object_id,
        garbage_collect_data=True,
        point_to_attr=None,
        _shape=shape,
    )
    wrapper = _Tensor()
    attributes = wrapper.__dict__
    attributes["child"], attributes["is_wrapper"] = pointer, True
    pointer.parent = weakref.ref(wrapper)
    return wrapper


def _result(location: Any, template: Any, ids: list[int], gives: Gives, itself: Any) -> Any:
    if gives is Gives.ONE:
        object_id = new_id()
        ids.append(object_id)
        location.command(template, ids)
        return remote_tensor(location, object_id)
    location.command(template, ids)
    return itself if gives is Gives.ITSELF else None


def _quick_method(name: str, gives: Gives, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        pointer = self.__dict__.get("child")
        if type(pointer) is not _PointerTensor:
            return original(self, *args, **kwargs)
        location = pointer.location
        if not location.takes_commands:
            return original(self, *args, **kwargs)
        ids: list[int] = []
        try:
            target = reference(pointer, ids)
            arguments = (target, *[encode(value, ids, location) for value in args])
            named = _named(kwargs, ids, location)
        except NotForTheWire:
            return original(self, *args, **kwargs)  # and PySyft says what is wrong
        return _result(location, (name, arguments, named), ids, gives, self)

    return method


def _quick_function(name: str, gives: Gives, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        location = _location_of(args[0]) if args else None
        if location is None or not location.takes_commands:
            return original(*args, **kwargs)
        ids: list[int] = []
        try:
            arguments = tuple([encode(value, ids, location) for value in args])
            named = _named(kwargs, ids, location)
        except NotForTheWire:
            return original(*args, **kwargs)
        return _result(location, (name, arguments, named), ids, gives, args[0])

    return function


def _named(kwargs: dict[str, Any], ids: list[int], location: Any) -> tuple[Any, ...]:
    return tuple([(key, encode(value, ids, location)) for key, value in kwargs.items()])


def _location_of(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and value:
        value = value[0]
    if not isinstance(value, _Tensor):
        return None
    pointer: Any = value.__dict__.get("child")
    return pointer.location if type(pointer) is _PointerTensor else None


def _send_msg(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send_msg(self: Any, message: Any, location: Any) -> Any:
        if getattr(location, "takes_commands", False):
            return location.take(message, self)
        return original(self, message, location)

    return send_msg


def _delete(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __del__(self: Any) -> None:  # noqa: N807
        attributes = self.__dict__
        location = attributes.get("location")
        if not getattr(location, "takes_commands", False):
            original(self)
        elif attributes["garbage_collect_data"] and attributes["point_to_attr"] is None:
            location.discard(attributes["id_at_location"])

    return __del__


def apply() -> None:
    """Makes the two ways in of PySyft's own ask the worker first."""
    worker: Any = sy.workers.base.BaseWorker
    worker.takes_commands = False
    worker.send_msg = _send_msg(worker.send_msg)
    pointer: Any = sy.generic.pointers.object_pointer.ObjectPointer
    pointer.__del__ = _delete(pointer.__del__)


def apply_after_hook() -> None:
    """Wraps what TorchHook made of torch's methods and functions, where the list knows them."""
    for name, gives in OPERATIONS.items():
        module, _, attribute = name.rpartition(".")
        if gives not in _QUICK:
            continue
        if not module and _is_automatic(name):
            setattr(_Tensor, name, _quick_method(name, gives, getattr(_Tensor, name)))
        elif module in ("torch", "torch.nn.functional"):
            owner: Any = torch if module == "torch" else torch.nn.functional
            if hasattr(owner, f"native_{attribute}"):
                setattr(owner, attribute, _quick_function(name, gives, getattr(owner, attribute)))


def _is_automatic(name: str) -> bool:
    """Whether a pointer's method does nothing but send it; `clone`, for one, does else."""
    method = vars(_PointerTensor).get(name)
    automatic = _AUTOMATIC in getattr(method, "__qualname__", "")
    return automatic and hasattr(_Tensor, f"native_{name}")
