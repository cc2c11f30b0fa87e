"""A sealed session at the node: fewer operations than others, and one way out.

A coordinator that is not trusted says what is computed. So nothing that it asks for tells it of a
share: results leave sealed for another node (sealed_operations.py), sizes and failures follow from
its own commands, and operations are those whose results' sizes do not depend on values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shared.errors import FedsmsError, NodeFailed
from shared.pointers.frames import Item, pack_failure
from shared.pointers.tensor_operations import SEALED
from shared.pysyft import serialize
from worker_node.pointers.operations import Operation, compile_template
from worker_node.pointers.program import Program
from worker_node.pointers.sealed_operations import Learned, Part, SealedOperations
from worker_node.pointers.session import PointerSession

_NAMES_OF_SEVERAL = "__add__ __sub__ __mul__ __radd__ __rsub__ __rmul__ torch.cat torch.stack"
_NAMES_OF_ONE = "__getitem__ __neg__ flip reshape unsqueeze squeeze sum"
OF_SEVERAL, OF_ONE = frozenset(_NAMES_OF_SEVERAL.split()), frozenset(_NAMES_OF_ONE.split())
"""Linear, or of one share alone; sizes of results do not follow from values."""
DIVIDE = "div"
_ACTIONS = (Item.OBJECT, Item.FETCH, Item.COUNT, Item.CLEAR)


class SealedSession(PointerSession):
    """One node's part in a sealed session.

    Args:
        decoder: a worker of PySyft's, for its serialisation.
        part: what the node has in it.
        learned, take: as of SealedOperations.
    """

    def __init__(
        self, decoder: Any, part: Part, learned: Learned, take: Callable[[int], None]
    ) -> None:
        super().__init__(decoder, (), lambda: (), 0, True, take)
        self._sealed = SealedOperations(part, learned, take)
        self._program = Program(self._draw, self._compile)
        answered = self._actions
        self._actions = {kind: answered[kind] if kind in _ACTIONS else _refuse for kind in Item}

    def summarise(self, logits: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
        raise NodeFailed("a sealed session counts no scores")

    def _compile(self, template: Any) -> Operation:
        found = compile_template(template, self._sealed.functions)
        name, _, named = template
        if name.startswith(SEALED) and not named:
            return found
        keys = {key for key, _ in named}
        if name in OF_SEVERAL and not keys:
            return found
        if name in OF_ONE and found.tensors == 1 and keys <= {"dim"}:
            return found
        if name == DIVIDE and found.tensors == 1 and _is_scaling(template):
            return found
        raise NodeFailed(f"a sealed session does not run {name[:80]!r} so")

    def _fetch(self, object_id: Any, answers: list[Any]) -> None:
        found = self.store.get(object_id)
        if not self._sealed.may_leave(found):
            raise NodeFailed(
                "it does not leave the node",
                "of a sealed session what is sealed for another node leaves, and nothing else",
            )
        found.id = object_id
        answers.append(serialize(found, self._decoder))
        self.store.delete(object_id)

    def _told(self, number: int, error: BaseException) -> bytes:
        if isinstance(error, FedsmsError):
            return pack_failure(number, error.fact, error.cause, error.next_step)
        return pack_failure(number, "it failed there", type(error).__name__, "")


def _is_scaling(template: Any) -> bool:
    """By a whole number that everybody knows: what fails for no value."""
    _, arguments, named = template
    return (
        len(arguments) == 2
        and type(arguments[1]) is int
        and arguments[1] >= 2
        and named == (("rounding_mode", "trunc"),)
    )


def _refuse(content: Any, answers: list[Any]) -> None:
    raise NodeFailed("a sealed session does not answer this")
