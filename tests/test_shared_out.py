"""The suite is dealt to processes: nobody gets in another's way, and nothing is left out."""

from __future__ import annotations

from tests.helpers.shared_out import group, in_order

ENGINE = "tests/containers/test_swarm.py::test_one"
OTHER_ENGINE = "tests/containers/test_containers.py::test_two[x::y]"
NETWORKS = "tests/whole/test_behind_nat.py::test_three"
OTHER_NETWORKS = "tests/whole/test_two_machines.py::test_four"
PLAIN = "tests/server/test_five.py::test_five[a::b]"


def test_what_shares_an_engine_or_a_network_stays_in_one_process() -> None:
    assert group(ENGINE) == group(OTHER_ENGINE) != group(NETWORKS) == group(OTHER_NETWORKS)
    assert group(PLAIN) == "tests/server/test_five.py"


def test_what_takes_longest_begins_first_and_nothing_is_left_out() -> None:
    given = [PLAIN, NETWORKS, "tests/attacks/test_six.py::test_six", ENGINE, OTHER_ENGINE]
    assert in_order(given) == [ENGINE, OTHER_ENGINE, NETWORKS, given[2], PLAIN]
