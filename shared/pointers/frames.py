"""What a COMMANDS frame carries: many pointer operations at once, in order, each a few numbers.

    payload   msgpack [answer wanted, [item, ...]]
    item      [Item, content], see Item

A command names a *template* (an operation and all of its arguments but the tensors, told once) by
its number, then the ids of its tensors, then the id of its result; a batch of training repeats the
same few hundred templates with other ids. Command 0 deletes an object.

Arguments in a template are plain numbers, texts and None as they are, and tuples for the rest:

    ("r", 0|1|2)              the next tensor: itself, its `.data`, its `.grad`
    ("f", hex) ("b", 0|1)     a float, bit by bit; a bool
    ("l", ...) ("t", ...)     a list, a tuple
    ("s", start, stop, step)  a slice
    ("e",) ("d", name)        an ellipsis; a dtype

An answer is [0, [answer of each item that has one]], or [1, number of the command that failed,
fact, cause, next step], with number -1 where it was no command.
"""

from __future__ import annotations

import enum
from array import array
from typing import Any

import msgpack

from shared.wire.frames import MAX_FRAME_BYTES, MalformedFrame

DELETE = 0
MAX_TEMPLATES = 4096
"""Templates that both sides remember; after that many the coordinator starts afresh."""
MAX_TEMPLATE_DEPTH = 6
MAX_COMMANDS = 4096
"""Commands in one frame: a node answers nobody else while it runs them."""
MAX_ITEMS = 2**17


class Item(enum.IntEnum):
    """First element of an item; the second is its content. Which of them are answered."""

    TEMPLATES = 1  # [[name, arguments, keyword arguments], ...]: appended to those known
    FORGET_TEMPLATES = 2  # None
    COMMANDS = 3  # int64, little-endian; an operation that gives VALUE or MANY is answered
    OBJECT = 4  # a serialised ObjectMessage
    FETCH = 5  # an id; answered with the serialised object, which is then gone from the node; of a
    # float32 parameter: [requires_grad, part of values, part of gradient]
    SHAPE = 6  # an id; answered with a list of sizes
    SEARCH = 7  # a list of tags and ids; answered with [[id, kind, shape, tags], ...]
    COUNT = 8  # None; answered with the ids of the session's objects
    CLEAR = 9  # None: forgets the session's objects, all but the owner's
    RECORD = 10  # [number, inputs, slots, int64 commands over slots, outputs]
    REPLAY = 11  # [number, input ids, output ids]
    PARAMETER = 12  # [id, requires_grad, part of values, part of gradient]: parameter_transfer.py


Template = tuple[str, tuple[Any, ...], tuple[Any, ...]]
"""Name, arguments, and keyword arguments as (name, value) pairs; hashable."""


def pack_commands(answer: bool, items: list[tuple[int, Any]]) -> bytes:
    packed: bytes = msgpack.packb((answer, items))
    return packed


def unpack_commands(payload: bytes | memoryview) -> tuple[bool, list[tuple[int, Any]]]:
    """Raises MalformedFrame where the payload is none that `pack_commands` makes."""
    values = _unpack(payload)
    if type(values) is not tuple or len(values) != 2 or type(values[0]) is not bool:
        raise MalformedFrame("pointer commands without their two parts")
    answer, items = values
    if type(items) is not tuple or not all(
        type(item) is tuple and len(item) == 2 and type(item[0]) is int for item in items
    ):
        raise MalformedFrame("pointer commands that are no list of items")
    return answer, [(item[0], item[1]) for item in items]


def pack_numbers(numbers: array[int]) -> bytes:
    return numbers.tobytes()


def unpack_numbers(content: Any) -> list[int]:
    """Raises MalformedFrame where the content is not whole int64 numbers."""
    if type(content) is not bytes or len(content) % 8:
        raise MalformedFrame("pointer commands that are no numbers")
    return array("q", content).tolist()


def pack_answers(answers: list[Any]) -> bytes:
    packed: bytes = msgpack.packb((0, answers))
    return packed


def pack_failure(number: int, fact: str, cause: str, next_step: str) -> bytes:
    packed: bytes = msgpack.packb((1, number, fact, cause, next_step))
    return packed


def unpack_answers(payload: bytes | memoryview) -> tuple[Any, ...]:
    """(0, answers) or (1, number, fact, cause, next step).

    Raises MalformedFrame where it is neither.
    """
    values = _unpack(payload)
    if type(values) is tuple and values:
        if values[0] == 0 and len(values) == 2 and type(values[1]) is tuple:
            return values
        if values[0] == 1 and len(values) == 5 and type(values[1]) is int:
            return values
    raise MalformedFrame("an answer to pointer commands that is none")


def _unpack(payload: bytes | memoryview) -> Any:
    try:
        return msgpack.unpackb(
            payload,
            use_list=False,
            strict_map_key=True,
            max_array_len=MAX_ITEMS,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=2**16,
            max_bin_len=MAX_FRAME_BYTES,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame(f"not msgpack: {str(error)[:200]}") from None
