"""Random programs of a coordinator, each on two owners' rows: nothing leaves that was not paid for.

The long run is for who changes pointer mode: `python scripts/pointer_programs.py --programs 20000`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scripts.pointer_programs import explore
from shared.pointers.frames import pack_failure
from worker_node.pointers import release, session
from worker_node.pointers.store import PointerStore

engine: Any = session
pytestmark = pytest.mark.timeout(240)


def test_random_programs_tell_nothing_but_what_was_paid() -> None:
    found = explore(400, seed=1)
    assert found.told == []
    assert found.operations > 300
    assert found.answers > 800
    assert found.refused > 20
    assert found.ended < 5


def _nothing_is_touched() -> None:
    PointerStore.touch = lambda self, object_ids: None  # type: ignore[method-assign]


def _what_is_made_of_rows_is_not_derived() -> None:
    derive = PointerStore.derive

    def forgetting(self: PointerStore) -> None:
        derive(self)
        self.derived = False

    PointerStore.derive = forgetting  # type: ignore[method-assign]


def _an_answer_costs_nothing() -> None:
    engine.bits = lambda steps, wants_answer: 0


def _a_failure_says_why() -> None:
    def telling(self: Any, number: int, error: BaseException) -> bytes:
        return pack_failure(-1, str(error), "", "")

    session.PointerSession._told = telling  # type: ignore[method-assign]


def _a_tensor_leaves_as_it_is() -> None:
    original = release._object

    def lax(found: Any, origin: Any, gradients: bool) -> Any:
        return found if origin is release.Origin.DERIVED else original(found, origin, gradients)

    release._object = lax


CHANGES: dict[str, Callable[[], None]] = {
    "what commands are given stays clean": _nothing_is_touched,
    "what is made of rows is not derived": _what_is_made_of_rows_is_not_derived,
    "an answer costs nothing": _an_answer_costs_nothing,
    "a failure says why": _a_failure_says_why,
    "a tensor leaves as it is": _a_tensor_leaves_as_it_is,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_programs_find_a_rule_that_is_broken(change: str) -> None:
    assert explore(400, seed=2, change=CHANGES[change]).told
