"""What is said of nodes' rows when a run begins, and when it goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from server.runs.told_rows import rows_at_start, warnings
from shared.wire.handshake import Greeting


def links(**greetings: Greeting) -> dict[str, Any]:
    return {name: SimpleNamespace(greeting=greeting) for name, greeting in greetings.items()}


def bob(train: int, **more: Any) -> Greeting:
    return Greeting(role="node", id="bob", rows={"train": train, "held_out": 5}, **more)


def test_a_lopsided_loss_of_a_nodes_is_told_in_capitals_and_an_even_one_is_not() -> None:
    (line,) = warnings(links(bob=bob(9, skipped={"ham": 0.05, "spam": 0.33})), {})
    assert line == (
        "WARNING: node bob SKIPPED 5.0% OF ITS HAM AND 33.0% OF ITS SPAM, which it could not read"
    )
    (line,) = warnings(links(bob=bob(9, skipped={"all": 0.5})), {})
    assert line == "node bob skipped 50.0% of its rows, which it could not read"
    assert warnings(links(bob=bob(9)), {}) == []


def test_other_rows_of_the_same_number_are_told_by_their_mark() -> None:
    at_start = rows_at_start(links(bob=bob(9, rows_mark="00ff")), {})
    assert warnings(links(bob=bob(9, rows_mark="00ff")), at_start) == []
    (line,) = warnings(links(bob=bob(9, rows_mark="00fe")), at_start)
    assert "node bob has other rows than when the run began (as many of each kind)" in line
    # a run that began with nodes of an older version, which told none
    older = rows_at_start(links(bob=bob(9)), {})
    assert warnings(links(bob=bob(9, rows_mark="00fe")), older) == []


def test_other_rows_than_at_the_start_are_told_also_after_the_second_resume() -> None:
    at_start = rows_at_start(links(bob=bob(9)), {})
    assert warnings(links(bob=bob(9)), at_start) == []
    later = rows_at_start(links(bob=bob(8)), at_start)
    (line,) = warnings(links(bob=bob(8)), later)
    assert "node bob has other rows than when the run began (9 train rows then and 8 now)" in line
