"""Which types a worker lets a peer put into a message, checked before any of them is built.

PySyft builds what a message names: a type code can make it create workers, load a torch script,
follow attributes of an object by name, or write to other workers. A worker with a list accepts
exactly the types on it, in exactly the form that PySyft itself writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import torch

from shared.pysyft.loading.load import sy
from shared.pysyft.messages.errors import ForbiddenContent, MalformedMessage

_LIST_OF_WORKER = "_accepted_type_codes"
_MAX_DEPTH = 32  # of values in values; PySyft's own messages stay below 12
_PLAIN = (type(None), bool, int, float, str, bytes)
_CODE_OF_STR: int = sy.serde.msgpack.proto_type_info(str).code
_CODE_OF_SET: int = sy.serde.msgpack.proto_type_info(set).code
_TORCH_FORMAT = (_CODE_OF_STR, (b"torch",))
_FOLLOWED = [None, *((_CODE_OF_STR, (name,)) for name in (b"data", b"grad"))]


class Accepted(NamedTuple):
    """A worker's list. `own_id`: its id, as PySyft writes it."""

    codes: frozenset[int]
    own_id: Any


Rule = Callable[[Any, Accepted, int], None]
_message = sy.messaging.message


def restrict_decoder(worker: Any, accepted: Collection[type]) -> None:
    """From now on everything deserialised for `worker` may hold only the types in `accepted`.

    Plain values (None, bool, int, float, bytes) are always accepted; tensors only without a chain
    of other tensors, and without an origin, which would make the worker write to other workers;
    pointers only to objects of `worker` itself, or to their data or grad.

    Args:
        accepted: of the types that KNOWN_TYPES names; each type stands for itself alone.

    Raises:
        ValueError: there is no rule for one of the types.
    """
    own_id = sy.serde.msgpack.serde._simplify(worker, worker.id)
    setattr(worker, _LIST_OF_WORKER, Accepted(_codes(accepted), own_id))


def is_restricted(worker: Any) -> bool:
    """Whether `worker` has a list, and so reads what strangers send."""
    return hasattr(worker, _LIST_OF_WORKER)


def check_for(worker: Any, simple: object) -> None:
    """Raises ForbiddenContent or MalformedMessage where `worker` has a list that says so."""
    accepted = getattr(worker, _LIST_OF_WORKER, None)
    if accepted is not None:
        _check(simple, accepted, 0)


def _codes(types: Iterable[type]) -> frozenset[int]:
    unknown = [kind.__name__ for kind in types if kind not in KNOWN_TYPES]
    if unknown:
        raise ValueError(f"there is no rule for the content of {', '.join(unknown)}")
    return frozenset(_code_of(kind) for kind in types)


def _code_of(kind: type) -> int:
    code: int = sy.serde.msgpack.serde.simplifiers[kind][0]
    return code


def _check(value: Any, accepted: Accepted, depth: int) -> None:
    if type(value) is not tuple:
        _require(type(value) in _PLAIN, f"a {type(value).__name__}")
        return
    _require(len(value) == 2 and type(value[0]) is int, "a value without a type code")
    _require(depth < _MAX_DEPTH, "values nested too deep")
    code, content = value
    if code not in accepted.codes:
        raise ForbiddenContent(f"a message holds the type code {code}, which is not accepted here")
    _rules[code](content, accepted, depth + 1)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise MalformedMessage(f"a message holds {what}")


def _many(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is tuple, "a collection that is none")
    for item in content:
        _check(item, accepted, depth)


def _pairs(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is tuple, "a dict that is none")
    for pair in content:
        _require(type(pair) is tuple and len(pair) == 2, "a dict entry that is no pair")
        _check(pair[0], accepted, depth)
        _check(pair[1], accepted, depth)


def _text(content: Any, accepted: Accepted, depth: int) -> None:
    _require(
        type(content) is tuple and len(content) == 1 and type(content[0]) is bytes,
        "a string that is none",
    )


def _numbers(content: Any, accepted: Accepted, depth: int) -> None:
    _require(
        type(content) is tuple and all(type(item) in (int, type(None)) for item in content),
        "a slice or a shape that is none",
    )


def _ellipsis(content: Any, accepted: Accepted, depth: int) -> None:
    _require(content == (b"",), "an ellipsis that is none")


def _memory_format(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is int, "a memory format that is none")


def _name(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is str, "a dtype that is none")


def _values(count: int) -> Rule:
    def rule(content: Any, accepted: Accepted, depth: int) -> None:
        _require(type(content) is tuple and len(content) == count, "a message with parts missing")
        for item in content:
            _check(item, accepted, depth)

    return rule


def _is_text(value: Any) -> bool:
    """Whether it is a string, as PySyft writes it."""
    return (
        type(value) is tuple
        and len(value) == 2
        and value[0] == _CODE_OF_STR
        and type(value[1]) is tuple
        and len(value[1]) == 1
        and type(value[1][0]) is bytes
    )


def _by_id(count: int) -> Rule:
    """Of a message that begins with the id of an object."""
    all_parts = _values(count)

    def rule(content: Any, accepted: Accepted, depth: int) -> None:
        all_parts(content, accepted, depth)
        _require(type(content[0]) is int or _is_text(content[0]), "an id that is none")

    return rule


def _tensor(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is tuple and len(content) == 9, "a tensor that is none")
    tensor_id, _, chain, grad, tags, description, form, origin, id_at_origin = content
    _require(type(tensor_id) in (int, str), "a tensor without an id")
    _require(form == _TORCH_FORMAT, "a tensor of another format")
    _require(description is None or _is_text(description), "a description that is none")
    if tags is not None:
        of_strings = type(tags) is tuple and len(tags) == 2 and tags[0] == _CODE_OF_SET
        of_strings = of_strings and type(tags[1]) is tuple and all(map(_is_text, tags[1]))
        _require(of_strings, "tags that are none")
    if chain is not None or origin is not None or id_at_origin is not None:
        raise ForbiddenContent("a message holds a tensor with a chain or an origin")
    if grad is not None:
        _require(depth < _MAX_DEPTH, "values nested too deep")
        _tensor(grad, accepted, depth + 1)
    _check(tags, accepted, depth)
    _check(description, accepted, depth)


def _parameter(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is tuple and len(content) == 4, "a parameter that is none")
    parameter_id, tensor, requires_grad, grad = content
    _require(type(parameter_id) in (int, str), "a parameter without an id")
    _require(type(requires_grad) is bool, "a parameter without requires_grad")
    _check(tensor, accepted, depth)
    if grad is not None:
        _tensor(grad, accepted, depth)


def _pointer(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is tuple and len(content) == 8, "a pointer that is none")
    attribute, collect, tags = content[3], content[5], content[6]
    # PySyft follows the name with getattr, dots included
    if attribute not in _FOLLOWED:
        raise ForbiddenContent("a message holds a pointer to an attribute")
    if content[2] != accepted.own_id:
        raise ForbiddenContent("a message holds a pointer to another worker's object")
    _require(type(collect) is bool, "a pointer that is none")
    if tags is not None:
        strings = type(tags) is tuple and all(type(tag) is str for tag in tags)
        _require(strings, "tags that are none")
    for item in (*content[:3], content[4], content[7]):
        _check(item, accepted, depth)


def _dataset(content: Any, accepted: Accepted, depth: int) -> None:
    _require(type(content) is tuple and len(content) == 6, "a dataset that is none")
    _require(type(content[2]) in (int, str), "a dataset without an id")
    if content[5] is not None:
        raise ForbiddenContent("a message holds a dataset with a chain")
    for item in (*content[:2], *content[3:5]):
        _check(item, accepted, depth)


KNOWN_TYPES: dict[type, Rule] = {
    dict: _pairs,
    list: _many,
    set: _many,
    tuple: _many,
    str: _text,
    slice: _numbers,
    range: _numbers,
    torch.Size: _numbers,
    torch.dtype: _name,
    torch.memory_format: _memory_format,
    type(...): _ellipsis,
    torch.Tensor: _tensor,
    torch.nn.Parameter: _parameter,
    sy.BaseDataset: _dataset,
    sy.PointerTensor: _pointer,
    sy.execution.computation.ComputationAction: _values(3),
    _message.TensorCommandMessage: _values(1),
    _message.ObjectMessage: _values(1),
    _message.ObjectRequestMessage: _by_id(3),
    _message.IsNoneMessage: _by_id(1),
    _message.GetShapeMessage: _by_id(1),
    _message.ForceObjectDeleteMessage: _by_id(1),
    _message.SearchMessage: _values(1),
    _message.WorkerCommandMessage: _values(2),
    sy.exceptions.GetNotPermittedError: _values(3),
    sy.exceptions.ResponseSignatureError: _values(3),
}

_rules: dict[int, Rule] = {_code_of(kind): rule for kind, rule in KNOWN_TYPES.items()}
