"""Errors that an attacker provokes say what went wrong, and nothing of the owner's machine."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.local.nodes import LocalNode
from shared.model.recipe import Recipe
from shared.wire.commands import EVALUATE, TRAIN
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, error, run, send_state, training
from tests.helpers.peers import coordinator
from tests.helpers.running import ROOT
from worker_node.training.trainer import cause_of

CHANGES: dict[str, dict[str, Any]] = {
    "another model": {"recipe": '{"model": {"hidden": 11}}'},
    "no recipe": {"recipe": "}"},
    "no state": {"state_id": 1},
    "a wrong type": {"seed": "x"},
    "an unknown field": {"__class__": 1},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("what", [TRAIN, EVALUATE])
def test_no_error_holds_a_path_a_stack_trace_or_a_message(
    bob: LocalNode, owners: list[OwnerFiles], recipe: Recipe, name: str, what: str
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            wanted = {**training(recipe, state_id), **CHANGES[name]}
            if what == EVALUATE:
                for field in ("result_id", "seed", "round", "rounds"):
                    wanted.pop(field)
                wanted["base_id"] = None
            answer = await peer.ask(command(what, **wanted))
            if what == EVALUATE and name == "a wrong type":
                return  # it has no seed
            words = str(error(answer))
            for secret in (str(ROOT), "Traceback", 'File "', ".py", str(owners[1].train_path)):
                assert secret not in words
            assert not any(message.text in words for message in owners[1].train)

    run(session())


def test_words_of_a_library_stay_on_the_node() -> None:
    for error_of_torch in (
        RuntimeError("[enforce fail at /home/bob/alloc.cpp:75] . DefaultCPUAllocator"),
        MemoryError("/home/bob"),
        UnicodeDecodeError("utf-8", b"a message", 0, 1, "bad"),
    ):
        told = cause_of(error_of_torch)
        assert "bob" not in told
        assert type(error_of_torch).__name__ in told
    assert cause_of(ValueError("rows of shape (3, 4)\n  File x")) == "rows of shape (3, 4)"
