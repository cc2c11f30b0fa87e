"""What a node does with shares in a sealed session, and what of it may leave.

Nothing leaves but what is sealed for another node, and scores that the messages' owner lets go.
Each product takes a triple of its own, which is opened once: no mask hides two things.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch._C import TensorBase

from shared.errors import NodeFailed
from shared.model.vectors import plain_array
from shared.pointers.field_numbers import uniform
from shared.pointers.sealed_sessions import Seal, SealedContext, Unreadable
from shared.pointers.tensor_operations import SEALED

Numbers = npt.NDArray[np.int64]
Learned = Callable[[int, list[float]], None]
"""Is given the first row's place, and probabilities of spam."""
LOW, HIGH = -(2**63), 2**63 - 1
MAX_NUMBERS = 2**24
"""In one result: 128 MiB."""
MAX_PENDING = 64
SCORE_BITS = 10
"""Of a score that is told: thousandths."""
_base: Any = TensorBase
_from_numpy = torch.from_numpy  # past PySyft's hook, which is made later


class _Pending(NamedTuple):
    """A product that has been masked here."""

    product: str
    opened: tuple[Numbers, Numbers]
    triple: tuple[Numbers, Numbers, Numbers]


@dataclass(frozen=True)
class Part:
    """One node's part in a session.

    ids: of the owner's held-out messages (rows, tokens), at the owner's node; else of no rows.
    words: how many ids there are.
    tells: their owner lets scores go.
    """

    own: str
    context: SealedContext
    seal: Seal
    ids: Numbers
    words: int
    tells: bool


def part_of(told: Mapping[str, Any]) -> Part:
    """What `Sealing.join` tells the process."""
    ids = np.frombuffer(told["ids"], np.int64).reshape(told["shape"])
    own = told["own"]
    context = SealedContext.unpack(told["context"])
    return Part(own, context, Seal(own, told["common"]), ids, told["words"], told["tells"])


class SealedOperations:
    """The operations of one session, by name.

    Args:
        learned: told of scores at the messages' owner.
        take: pays bits, or raises PolicyRefused.

    Attributes:
        functions: by the names of tensor_operations.SEALED.
    """

    def __init__(self, part: Part, learned: Learned, take: Callable[[int], None]) -> None:
        self._part = part
        self._context = part.context
        self._learned = learned
        self._take = take
        self._pending: deque[_Pending] = deque()
        own: dict[str, Callable[..., Any]] = {
            "triple": self._triple,
            "rows": self._rows,
            "take": self._take_share,
            "mask": self._mask,
            "product": self._product,
            "reveal": self._reveal,
            "learn": self._learn,
        }
        self.functions = {SEALED + name: _told(function) for name, function in own.items()}

    def may_leave(self, tensor: Any) -> bool:
        """Whether it is sealed for another node, or scores that may be told."""
        return getattr(tensor, "_fedsms_leaves", False) is True

    def _triple(self, product: str, x: Any, y: Any) -> Any:
        """At the provider: shares of a, b and of their product, of these shapes, for each holder.

        One packet behind the other, of the same length.
        """
        self._require(self._context.provider)
        a, b = (uniform(_shape(one), LOW, HIGH) for one in (x, y))
        whole = (a, b, _multiply(product, a, b))
        first = tuple(uniform(one.shape, LOW, HIGH) for one in whole)
        second = tuple(one - other for one, other in zip(whole, first, strict=True))
        about = (product, a.shape, b.shape)
        return self._for_holders("triple", about, (first, second))

    def _rows(self, begin: int, end: int, low: int, which: str) -> Any:
        """At the messages' owner: shares of each word's digits as rows of one 1, for each holder.

        Args:
            low: the base of the digits. which: "low", of shape (words, low), or "high", of
                (words, 1, digits above).
        """
        self._require(self._context.owner)
        if not (0 <= begin < end <= len(self._part.ids) and type(low) is int and low >= 2):
            raise NodeFailed("there are no such messages of this owner's")
        words = self._part.ids[begin:end].ravel()
        digits, wide = _digits(words, low, which, self._part.words)
        if digits.size * wide > MAX_NUMBERS:
            raise NodeFailed("too many messages at once")
        ones = np.zeros((digits.size, wide), np.int64)
        ones[np.arange(digits.size), digits] = 1
        shape = ones.shape if which == "low" else (digits.size, 1, wide)
        first = uniform(ones.shape, LOW, HIGH)
        about = (which, shape)
        return self._for_holders("message", about, ((first,), (ones - first,)))

    def _take_share(self, packet: Any, which: str, shape: Any) -> Any:
        """At a holder: its share of what the messages' owner shared."""
        self._place()
        about = (which, _shape(shape))
        data = self._part.seal.open(self._context.owner, "message", about, _bytes(packet))
        (found,) = _arrays(data, [_shape(shape)])
        return _from_numpy(found)

    def _mask(self, x: Any, y: Any, packet: Any, product: str) -> Any:
        """At a holder: what it tells the other one, shares of x - a and y - b, sealed."""
        if len(self._pending) >= MAX_PENDING:
            raise NodeFailed("too many products that were begun and not ended")
        left, right = _numbers(x), _numbers(y)
        about = (product, left.shape, right.shape)
        data = self._part.seal.open(self._context.provider, "triple", about, _bytes(packet))
        size = _result_shape(product, left.shape, right.shape)
        a, b, c = _arrays(data, [left.shape, right.shape, size])
        opened = left - a, right - b
        self._pending.append(_Pending(product, opened, (a, b, c)))
        told = b"".join(one.tobytes() for one in opened)
        other = self._context.holders[1 - self._place()]
        return self._leaves(self._part.seal.seal(other, "opening", about, told))

    def _product(self, packet: Any) -> Any:
        """At a holder: its share of x y, from what the other one told."""
        if not self._pending:
            raise NodeFailed("there is no product that was begun and not ended")
        product, opened, (a, b, c) = self._pending.popleft()
        shapes = [one.shape for one in opened]
        other = self._context.holders[1 - self._place()]
        about = (product, *shapes)
        data = self._part.seal.open(other, "opening", about, _bytes(packet))
        d, e = (one + two for one, two in zip(opened, _arrays(data, shapes), strict=True))
        found = _multiply(product, d, b) + _multiply(product, a, e) + c
        if self._place() == 0:
            found = found + _multiply(product, d, e)
        return _from_numpy(np.ascontiguousarray(found))

    def _reveal(self, x: Any) -> Any:
        """At a holder: its share, sealed for the messages' owner."""
        self._place()
        numbers = _numbers(x)
        about = ("result", numbers.shape)
        owner = self._context.owner
        sealed = self._part.seal.seal(owner, "result", about, numbers.tobytes())
        return self._leaves(sealed)

    def _learn(self, first: Any, second: Any, begin: int, rows: int, scale: int) -> Any:
        """At the messages' owner: opens logits (rows, 1), times `scale`, of its own messages.

        Gives thousandths of probabilities where the owner tells them, else -1 alone.
        """
        self._require(self._context.owner)
        if not (begin >= 0 and rows > 0 and begin + rows <= len(self._part.ids) and scale >= 1):
            raise NodeFailed("there are no such messages of this owner's")
        whole = np.zeros((rows, 1), np.int64)
        for holder, packet in zip(self._context.holders, (first, second), strict=True):
            about = ("result", (rows, 1))
            data = self._part.seal.open(holder, "result", about, _bytes(packet))
            whole += _arrays(data, [(rows, 1)])[0]
        logits = whole[:, 0].astype(np.float64) / scale
        chances = 0.5 * (1 + np.tanh(0.5 * logits))
        if self._part.tells:
            self._take(SCORE_BITS * rows)
        self._learned(begin, chances.tolist())
        told = np.rint(chances * 1000) if self._part.tells else np.array([-1])
        return self._marked(_from_numpy(told.astype(np.int64)))

    def _for_holders(
        self, purpose: str, about: object, parts: Sequence[tuple[Numbers, ...]]
    ) -> Any:
        packets = [
            self._part.seal.seal(holder, purpose, about, b"".join(one.tobytes() for one in numbers))
            for holder, numbers in zip(self._context.holders, parts, strict=True)
        ]
        return self._leaves(b"".join(packets))

    def _leaves(self, data: bytes) -> Any:
        return self._marked(_from_numpy(np.frombuffer(bytearray(data), np.uint8)))

    @staticmethod
    def _marked(tensor: Any) -> Any:
        tensor._fedsms_leaves = True
        return tensor

    def _require(self, party: str) -> None:
        if self._part.own != party:
            raise NodeFailed("this node has another part in the session", f"that is {party}'s")

    def _place(self) -> int:
        """Which of the holders this is."""
        if self._part.own not in self._context.holders:
            raise NodeFailed("this node has another part in the session", "it holds no shares")
        return self._context.holders.index(self._part.own)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Unreadable as error:
            raise NodeFailed("something sealed cannot be opened here", str(error)) from None

    return checked


def _digits(words: Numbers, low: int, which: str, number: int) -> tuple[Numbers, int]:
    """Each word's digit to that base, and how many such digits there are; `number` of words."""
    if which == "low":
        return words % low, low
    if which != "high":
        raise NodeFailed("digits are low or high")
    return words // low, -(-number // low)


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, tuple) or not all(type(one) is int and one >= 0 for one in sizes):
        raise NodeFailed("a shape is a tuple of sizes")
    if int(np.prod(sizes, dtype=object)) > MAX_NUMBERS:
        raise NodeFailed(f"more than {MAX_NUMBERS:,} numbers in one result")
    return tuple(sizes)


def _numbers(tensor: Any) -> Numbers:
    found = plain_array(tensor) if isinstance(tensor, torch.Tensor) else None
    if found is None or found.dtype != np.int64:
        raise NodeFailed("shares are int64 tensors")
    return np.ascontiguousarray(found).reshape(found.shape)


def _bytes(packet: Any) -> bytes:
    found = plain_array(packet) if isinstance(packet, torch.Tensor) else None
    if found is None or found.dtype != np.uint8:
        raise NodeFailed("what is sealed is a tensor of bytes")
    return found.tobytes()


def _arrays(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[Numbers]:
    """The arrays that were laid end to end."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    numbers = np.frombuffer(bytearray(data), np.int64)
    if numbers.size != sum(sizes):
        raise NodeFailed("something sealed is of another size")
    cut = np.split(numbers, np.cumsum(sizes)[:-1])
    return [one.reshape(shape) for one, shape in zip(cut, shapes, strict=True)]


def _result_shape(product: str, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    left, right = (np.broadcast_to(np.int64(0), one) for one in (x, y))
    try:
        shape = np.broadcast_shapes(x, y) if product == "mul" else np.matmul(left, right).shape
    except ValueError:
        raise NodeFailed("there is no product of tensors of these shapes") from None
    return _shape(tuple(map(int, shape)))


def _multiply(product: str, x: Numbers, y: Numbers) -> Numbers:
    """Modulo 2**64. Raises NodeFailed where there is no such product."""
    if product not in ("mul", "matmul"):
        raise NodeFailed("products are mul or matmul")
    _result_shape(product, x.shape, y.shape)
    if product == "mul":
        return x * y
    found: Any = plain_array(_base.matmul(_from_numpy(x), _from_numpy(y)))
    return np.asarray(found, np.int64)
