"""Numbers in the sentences of docs/security.md are the code's: page and code cannot drift apart.

What bounds the wire has a table and tests of its own, tests/attacks/test_wire_bounds.py.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from server.nodes import retry
from server.rounds import exchange
from server.rounds.claims import counted_rows
from shared.errors import NodeFailed
from shared.model.recipe import load_recipe
from shared.quoting import MAX_QUOTED, quoted
from shared.wire.commands import MAX_ROWS
from tests.attacks.security_page import PAGE, plain, table_rows
from tests.attacks.test_pointer_programs import CHANGES
from worker_node.audit.log import ROTATE_BYTES
from worker_node.guarding.policy import Policy
from worker_node.guarding.rules.pointers import BITS_A_NUMBER
from worker_node.pointers.release import ANSWER_BITS, MAX_SIZES, Asked, price
from worker_node.pointers.ticks import MOMENTS, moment_after
from worker_node.training import known_trainings

BOUND = load_recipe("tutorial").federation.rows_bound
WORDS = {2: "two", 4: "four", 5: "five", 8: "eight", 600: "ten minutes"}


def share_of_a_liar(nodes: int, bound: float) -> float:
    """Of the whole weight, where the others have 1,000 rows each and it claims all it may."""
    claims = {"liar": MAX_ROWS, **{f"honest-{number}": 1000 for number in range(nodes - 1)}}
    counted = counted_rows(claims, bound)
    return counted["liar"] / sum(counted.values())


PHRASES = [
    f"(for {WORDS[int(known_trainings.FINISHED_SECONDS)]} at most,",
    f"of the {WORDS[known_trainings.MAX_FINISHED]} newest results)",
    f"Files of more than {ROTATE_BYTES // 2**20} MiB",
    f"at most {MAX_ROWS:,} rows of a kind",
    f"({100 * (exchange.CLOCKS_APART - 1):.0f} % and {exchange.SLACK_SECONDS:.0f} s are left",
    f"no more than `rows_bound` ({BOUND:g}) times",
    f"{share_of_a_liar(2, BOUND):.0%}".replace("%", " %") + " of two nodes",
    f"{share_of_a_liar(10, BOUND):.0%}".replace("%", " %") + " of ten",
    f"{share_of_a_liar(100, BOUND):.0%}".replace("%", " %") + " of a hundred",
    f"at most {MAX_QUOTED} characters of them",
    f"is {BITS_A_NUMBER} bits:",
    f"the next of {WORDS[MOMENTS]} that are each three times as late",
    f"at most {BITS_A_NUMBER // ANSWER_BITS} for each number",
    f"each of {WORDS[len(CHANGES)]} ways to break the rule",
]


@pytest.mark.parametrize("phrase", PHRASES)
def test_the_page_has_the_number_of_the_code(phrase: str) -> None:
    assert phrase in plain(PAGE)


def test_the_page_has_the_prices_of_the_code() -> None:
    found = dict(table_rows("What a malicious coordinator still learns", "what"))
    rows = price(Asked.SCORES, 11) - price(Asked.SCORES, 10)
    assert {what: cell.split(":")[0].split(",")[0] for what, cell in found.items()} == {
        "a frame of commands": f"{ANSWER_BITS}",
        "a number that is fetched": f"{price(Asked.OBJECT, 0)}",
        "sizes of a tensor": f"{price(Asked.SIZES, 0)}",
        "how many results an operation gave": f"{price(Asked.RESULTS, 0)}",
        "counts of scores": f"{price(Asked.SCORES, 0)} for the loss",
    }
    assert f"and {rows} for each row" in found["counts of scores"]
    assert f"at most {WORDS[MAX_SIZES]} sizes" in found["sizes of a tensor"]
    assert ANSWER_BITS + price(Asked.OBJECT, 0) == BITS_A_NUMBER


def test_an_answers_moments_are_each_three_times_as_late() -> None:
    moments = sorted({moment_after(number / 1000, 30.0) for number in range(37_000)})
    ratios = [later / sooner for sooner, later in pairwise(moments)]
    assert ratios == pytest.approx([3.0] * (MOMENTS - 1))


@pytest.mark.parametrize(("waited", "most"), [(10.0, 11.5), (100.0, 106.0)])
def test_more_seconds_than_were_waited_are_refused_beyond_what_clocks_differ(
    waited: float, most: float
) -> None:
    exchange.check_seconds("mallory", most, waited)
    with pytest.raises(NodeFailed, match="impossible seconds"):
        exchange.check_seconds("mallory", most + 0.01, waited)


def test_a_claim_of_500_000_000_rows_counts_for_20_000_beside_2_000() -> None:
    counted = counted_rows({"bob": 2000, "mallory": 500_000_000}, BOUND)
    assert counted == {"bob": 2000, "mallory": 20_000}


def test_with_a_bound_of_one_nobody_counts_for_more_than_the_median_of_the_others() -> None:
    claims = {"anne": 10, "bob": 20, "carol": 30, "mallory": MAX_ROWS}
    assert counted_rows(claims, 1) == {"anne": 10, "bob": 20, "carol": 20, "mallory": 20}


@pytest.mark.parametrize(("honest", "liars"), [(2, 3), (1, 2), (2, 2), (3, 3)])
def test_more_than_half_of_the_nodes_that_lie_together_set_the_median(
    honest: int, liars: int
) -> None:
    """What the page says is not prevented, and that half of them do not suffice."""
    claims = {f"honest-{number}": 10 for number in range(honest)}
    claims |= {f"liar-{number}": MAX_ROWS for number in range(liars)}
    counted = counted_rows(claims, BOUND)["liar-0"]
    assert counted == (MAX_ROWS if liars > honest else 10 * BOUND)


def test_a_quotation_holds_as_many_characters_as_the_page_says_and_not_one_more() -> None:
    assert quoted("x" * MAX_QUOTED) == f'"{"x" * MAX_QUOTED}"'
    assert quoted("x" * (MAX_QUOTED + 1)) == f'"{"x" * MAX_QUOTED}..."'


def test_the_longest_delay_after_relapses_is_a_minute() -> None:
    assert retry.LONGEST_RELAPSE == 60.0


def test_a_steps_default_bounds_leave_no_training_of_one_message() -> None:
    bounds = Policy().recipe
    assert min(bounds.fewest_rows_a_step, bounds.fewest_rows_mixed) > 1
