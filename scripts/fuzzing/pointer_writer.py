"""Writes random programs of a coordinator in pointer mode, frame by frame."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from scripts.fuzzing.operation_arguments import Tensor, drawn_call, some_operation
from server.pointers.command_stream import CommandStream
from shared.pointers.frames import Item, Template, pack_numbers
from shared.pointers.tensor_operations import OPERATIONS, Gives
from shared.pysyft import DTYPES, BaseDataset, ObjectMessage, make_hook, serialize
from worker_node.pointers.operations import compile_template
from worker_node.pointers.store import PointerStore

ROWS, TOKENS = 12, 4
"""Of the owners' training inputs; tensors of that shape are sent as well."""
TRIES = 6
"""Calls of an operation that are drawn until one would succeed; then others are tried."""
MAX_NUMBERS = 5000
"""Tensors with more are no operands: a program is to stay small."""
Call = tuple[list[Any], dict[str, Any]]
_make_dataset: Any = BaseDataset


@dataclass(frozen=True)
class Written:
    """A frame. `asks`: what each of its answers is to."""

    payload: bytes
    asks: tuple[tuple[str, int], ...]


class Writer:
    """Writes the frames of a program.

    Args:
        store: of one owner's session, to choose operands that fit.
        learned: calls of operations that succeeded.

    Attributes:
        calls: of the last frame. history: commands of all frames.
        may_leave: ids of parameters, and of what is made of gradients alone.
        names_rows: whether commands may name the owner's rows.
    """

    def __init__(
        self, rng: random.Random, store: PointerStore, learned: Mapping[str, list[Call]]
    ) -> None:
        self._rng = rng
        self._store = store
        self._learned = learned
        self._stream = CommandStream(lambda _: None)
        self._asks: list[tuple[str, int]] = []
        self._pending: list[int] = []
        self._lately: list[int] = []
        self.history: list[tuple[Template, list[int]]] = []
        self.calls: list[tuple[str, Call]] = []
        self.may_leave: set[int] = set()
        self._steps: list[tuple[int, int, int]] = []
        self._me = make_hook().local_worker
        self._next = 10
        self.names_rows = False
        for tensor in self._first_tensors():
            self._send(tensor)

    def _first_tensors(self) -> list[Any]:
        numbers = torch.Generator().manual_seed(self._rng.randrange(1000))
        real = torch.randn(ROWS, TOKENS, generator=numbers)
        whole = torch.randint(0, 4, (ROWS, TOKENS), generator=numbers)
        always = [real, whole + 1]
        parts = [whole, real > 0, torch.tensor(2), torch.tensor(0.5), real[0].double()]
        parts += [torch.arange(ROWS), torch.ones(ROWS), torch.arange(ROWS * TOKENS)]
        parts.append(torch.randn(TOKENS, 3, generator=numbers).requires_grad_())
        parts += [
            torch.randn(2, 2, 3, 3, generator=numbers),
            torch.randn(2, 2, 3, generator=numbers),
        ]
        return always + self._rng.sample(parts, self._rng.randint(2, len(parts)))

    def frame(self) -> Written:
        """The next frame: some items, and an answer asked for or not."""
        self._asks, self._pending, self.calls = [], [], []
        for _ in range(self._rng.choice((1, 1, 1, 2, 2, 3, 5))):
            self._item()
        wants_answer = self._rng.random() < 0.8
        payload = self._stream.last() if wants_answer else self._stream._take(answer=False)
        return Written(payload or self._stream.last(), tuple(self._asks))

    def _hide(self) -> None:
        """Rows are written into a tensor of the coordinator's own, which is then asked for."""
        known = self._store.objects
        rows = self._rng.choice(sorted(self._store.rows))
        fitting = [
            one
            for one, thing in known.items()
            if one not in self._store.rows and getattr(thing, "shape", None) == known[rows].shape
        ]
        if fitting:
            name = self._rng.choice(("add_", "copy_", "mul_", "__isub__", "clamp_min_"))
            target = self._rng.choice(fitting)
            self._stream.command((name, (("r", 0), ("r", 0)), ()), [target, rows])
            self._asks.append(("object", target))
            self._stream.item(Item.FETCH, target)

    def _item(self) -> None:
        chance = self._rng.random()
        if self.names_rows and self._rng.random() < 0.04:
            self._hide()
        if chance < 0.7:
            self._command()
        elif chance < 0.8:
            self._ask(Item.FETCH, "object")
        elif chance < 0.83:
            self._ask(Item.SHAPE, "sizes")
        elif chance < 0.86:
            query = self._rng.choice(([], ["#train"], ["#mine"], [self._any()]))
            self._asks.append(("same", 0))
            self._stream.item(Item.SEARCH, query)
        elif chance < 0.88:
            self._asks.append(("same", 0))
            self._stream.item(Item.COUNT, None)
        elif chance < 0.92:
            self._stream.delete(self._any())
        elif chance < 0.96:
            self._send(torch.arange(float(self._rng.randint(1, 5))))
        elif chance < 0.97:
            self._stream.item(Item.CLEAR, None)
        else:
            self._recorded() if not self._steps or self._rng.random() < 0.5 else self._replay()

    def _ask(self, item: Item, what: str) -> None:
        """Of what commands were given or have made lately, more often than not."""
        lately = [one for one in self._lately if one in self._store.objects]
        object_id = self._rng.choice(lately) if lately and self._rng.random() < 0.8 else self._any()
        self._asks.append((what, object_id))
        self._stream.item(item, object_id)

    def _new(self) -> int:
        if self._rng.random() < 0.1 and self._next > 12:
            return self._any()  # an id that is taken
        self._next += 1
        return self._next

    def _any(self) -> int:
        known = [*self._store.objects, *self._pending[-1:]]
        if not self.names_rows:
            known = [one for one in known if one not in self._store.rows]
        return self._rng.choice(known) if known else 11

    def _send(self, tensor: Any) -> None:
        object_id = self._new()
        if self._rng.random() < 0.3 and tensor.dtype is torch.float32:
            values = tensor.detach().contiguous().numpy()
            whole = (tuple(values.shape), values.tobytes())
            self._stream.item(Item.PARAMETER, (object_id, True, whole, None))
            self.may_leave.add(object_id)
        else:
            if self._rng.random() < 0.1:
                tensor = _make_dataset(tensor, torch.zeros(len(tensor) if tensor.dim() else 1))
            elif tensor.requires_grad:
                self.may_leave.add(object_id)
            tensor.id = object_id
            tensor.tags = {"#mine"} if self._rng.random() < 0.3 else None
            self._stream.item(Item.OBJECT, serialize(ObjectMessage(tensor), self._me))
        self._pending.append(object_id)

    def _call(self, name: str) -> Call:
        learned = self._learned.get(name)
        if learned and self._rng.random() < 0.7:
            return self._rng.choice(learned)
        return drawn_call(self._rng, name)

    def _command(self) -> None:
        name, call, template, ids = self._drawn()
        if self._rng.random() < 0.9:  # others are left to fail
            for number in range(2 * TRIES):
                if self._works(template, ids):
                    break
                name, call, template, ids = self._drawn(name if number < TRIES else "")
        gives = OPERATIONS[name]
        if gives is Gives.ONE:
            ids.append(self._new())
            self._pending.append(ids[-1])
            if _of_gradients(template):
                self.may_leave.add(ids[-1])
        elif gives is Gives.VALUE:
            self._asks.append(("sizes", 0))
        elif gives is Gives.MANY:
            self._asks.append(("results", 0))
        self._lately = [*self._lately, *(one for one in ids if one not in self._store.rows)][-8:]
        self.calls.append((name, call))
        self.history.append((template, list(ids)))
        self._stream.command(template, ids)
        if ids and self._rng.random() < (0.4 if gives is Gives.ITSELF else 0.15):
            self._asks.append(("object", ids[0] if gives is Gives.ITSELF else ids[-1]))
            self._stream.item(Item.FETCH, self._asks[-1][1])

    def _drawn(self, name: str = "") -> tuple[str, Call, Template, list[int]]:
        name = name or some_operation(self._rng, self._learned)
        call = self._call(name)
        ids: list[int] = []
        template = self._template(name, call, lambda tensor: ids.append(self._operand(tensor)))
        return name, call, template, ids

    def _works(self, template: Template, ids: list[int]) -> bool:
        """Whether the command would succeed now, tried on copies."""
        try:
            operation = compile_template(template)
            if operation.writes and ids and ids[0] in self._store.rows:
                return False
            result = operation([_copy(self._store.objects[one]) for one in ids])
        except BaseException:  # noqa: BLE001  # of torch, and of PySyft's hook
            return False
        return operation.gives is not Gives.ONE or isinstance(result, torch.Tensor)

    def _template(self, name: str, call: Call, place: Callable[[Tensor], None]) -> Template:
        given, named = call
        arguments = tuple(self._laid_out(one, place) for one in given)
        return (
            name,
            arguments,
            tuple((key, self._laid_out(one, place)) for key, one in named.items()),
        )

    def _laid_out(self, value: Any, place: Callable[[Tensor], None]) -> Any:
        if isinstance(value, Tensor):
            place(value)
            return ("r", value.attribute)
        if isinstance(value, (list, tuple)):
            return (
                "l" if isinstance(value, list) else "t",
                *[self._laid_out(one, place) for one in value],
            )
        if isinstance(value, bool):
            return ("b", int(value))
        if isinstance(value, float):
            return ("f", value.hex())
        if isinstance(value, slice):
            return ("s", value.start, value.stop, value.step)
        if value is ...:
            return ("e",)
        return ("d", self._rng.choice(list(DTYPES))) if value is torch.dtype else value

    def _operand(self, wanted: Tensor) -> int:
        """An id; of an object that is as wanted, more often than not."""
        if self._rng.random() < 0.05:
            return self._any()
        if self.names_rows and wanted.kind in ("any", "index") and self._rng.random() < 0.4:
            return self._rng.choice(sorted(self._store.rows))
        fitting = [
            object_id
            for object_id, thing in self._store.objects.items()
            if (self.names_rows or object_id not in self._store.rows) and _fits(thing, wanted)
        ]
        return self._rng.choice(fitting) if fitting else self._any()

    def _recorded(self) -> None:
        """A recorded step of a few commands: on slots, of which the first are its inputs."""
        inputs = self._rng.randint(1, 3)
        slots, numbers = inputs, array("q")
        for _ in range(self._rng.randint(1, 4)):
            name = some_operation(self._rng, ())
            if OPERATIONS[name] in (Gives.MANY, Gives.VALUE):
                continue
            used: list[int] = []

            def drawn(_: Tensor, most: int = slots, used: list[int] = used) -> None:
                used.append(self._rng.randrange(most))

            template = self._template(name, self._call(name), drawn)
            numbers.append(self._stream.number_of(template))
            numbers.extend(used)
            if OPERATIONS[name] is Gives.ONE:
                numbers.append(slots)
                slots += 1
        number, output = len(self._steps) + 1, self._rng.randrange(slots)
        self._steps.append((number, inputs, output))
        content = (number, inputs, slots, pack_numbers(numbers), (output,))
        self._stream.item(Item.RECORD, content)

    def _replay(self) -> None:
        number, inputs, _ = self._rng.choice(self._steps)
        ids = tuple(self._operand(Tensor("any")) for _ in range(inputs))
        output = self._new()
        self._pending.append(output)
        self._stream.item(Item.REPLAY, (number, ids, (output,)))


def _copy(thing: Any) -> Any:
    if isinstance(thing, BaseDataset):
        return thing
    made = thing.detach().clone()
    if thing.is_floating_point() and thing.requires_grad:
        made = made.requires_grad_()
        made = made * 1 if not thing.is_leaf else made
    if thing.is_leaf and thing.grad is not None:
        made.grad = thing.grad.clone()
    return made


def _of_gradients(template: Template) -> bool:
    places = str(template)
    return "('r', 2)" in places and "('r', 0)" not in places and "('r', 1)" not in places


def _fits(thing: Any, wanted: Tensor) -> Any:
    if isinstance(thing, BaseDataset) or wanted.kind == "dataset":
        return isinstance(thing, BaseDataset) and wanted.kind == "dataset"
    if thing.numel() > MAX_NUMBERS or (wanted.attribute == 2 and thing.grad is None):
        return False
    real, single = thing.dtype.is_floating_point, thing.numel() == 1
    return {
        "any": True,
        "real": real,
        "index": thing.dtype is torch.int64,
        "mask": thing.dtype is torch.bool,
        "single": single,
        "whole number": single and thing.dtype is torch.int64,
        "graph": bool(thing.requires_grad) and single,
    }[wanted.kind]
