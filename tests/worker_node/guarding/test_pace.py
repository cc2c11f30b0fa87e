"""Rate limits, by a clock of the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.wire.token_buckets import TokenBucket, TokenBuckets
from worker_node.guarding.pace import Pace

bursts = st.integers(1, 50).map(float)
rates = st.floats(0.5, 100)
pauses = st.lists(st.floats(0, 10), max_size=60)


@given(burst=bursts, rate=rates, pauses=pauses)
def test_a_bucket_never_gives_more_than_its_burst_and_what_it_gained(
    burst: float, rate: float, pauses: list[float]
) -> None:
    bucket, now, taken = TokenBucket(burst, rate, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= burst + rate * now + 1e-6


@given(burst=bursts, rate=rates)
def test_a_bucket_gives_its_whole_burst_at_once_and_then_one_for_each_gained(
    burst: float, rate: float
) -> None:
    bucket = TokenBucket(burst, rate, 5.0)
    assert sum(bucket.take(5.0) for _ in range(int(burst))) == burst
    assert not bucket.take(5.0)
    assert not bucket.take(5.0 + 0.99 / rate)
    assert bucket.take(5.0 + 1.01 / rate)
    assert not bucket.take(5.0 + 1.01 / rate)


@given(burst=bursts, rate=rates, asked=st.integers(1, 100))
def test_who_owes_waits_for_each_token_beyond_the_burst(
    burst: float, rate: float, asked: int
) -> None:
    bucket = TokenBucket(burst, rate, 0.0)
    waits = [bucket.owe(0.0) for _ in range(asked)]
    expected = [max(0.0, (number - burst) / rate) for number in range(1, asked + 1)]
    assert waits == pytest.approx(expected)


def test_a_clock_that_runs_back_gives_no_tokens() -> None:
    bucket = TokenBucket(1.0, 1.0, 100.0)
    assert bucket.take(100.0)
    assert not bucket.take(0.0)
    assert not bucket.take(100.5)  # gained half of one, whatever the clock said between


def test_each_peer_has_a_bucket_of_its_own_and_the_oldest_is_forgotten() -> None:
    buckets = TokenBuckets(1.0, 1.0, remembered=2)
    assert buckets.of("anne", 0.0).take(0.0)
    assert buckets.of("bob", 0.0).take(0.0)
    assert not buckets.of("anne", 0.0).take(0.0)
    buckets.of("carol", 0.0)  # bob was asked about longest ago
    assert not buckets.of("anne", 0.0).take(0.0)
    assert buckets.of("bob", 0.0).take(0.0)


def test_a_coordinator_beyond_its_pace_waits_and_another_does_not() -> None:
    pace = Pace(burst=2, rate=4, clock=lambda: 0.0)
    assert [pace.wait("eager") for _ in range(4)] == [0, 0, 0.25, 0.5]
    assert pace.wait("other") == 0


def test_by_default_two_thousand_at_once_and_two_hundred_a_second() -> None:
    pace = Pace(clock=lambda: 5.0)
    assert [pace.wait("hospital") for _ in range(2000)] == [0.0] * 2000
    assert pace.wait("hospital") == pytest.approx(1 / 200)
