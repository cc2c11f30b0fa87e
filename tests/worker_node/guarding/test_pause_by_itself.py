"""A pause without a node: when it is on, since when, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.errors import PolicyRefused
from worker_node.guarding.pause import Pause


def test_it_is_off_until_it_begins_and_after_it_ends() -> None:
    pause = Pause()
    pause.end()  # as often as one likes
    assert not pause.is_on
    assert pause.since is None
    pause.check()
    before = datetime.now(UTC)
    pause.begin()
    assert pause.is_on
    assert pause.since is not None
    assert before <= pause.since <= datetime.now(UTC)
    for _ in range(2):
        with pytest.raises(PolicyRefused):
            pause.check()
    pause.end()
    assert not pause.is_on
    pause.check()


def test_a_pause_that_begins_again_goes_on_since_its_first_beginning() -> None:
    pause = Pause()
    pause.begin()
    since = pause.since = datetime(2026, 1, 1, tzinfo=UTC)
    pause.begin()
    assert pause.since == since


def test_whoever_is_turned_away_is_told_that_it_is_the_owners_pause() -> None:
    pause = Pause()
    pause.begin()
    with pytest.raises(PolicyRefused, match=r"paused it \(rule pause\)") as caught:
        pause.check()
    assert caught.value.rule == "pause"
    assert Pause.refusal().rule == "pause"
    assert "ask its owner" in Pause.refusal().next_step
