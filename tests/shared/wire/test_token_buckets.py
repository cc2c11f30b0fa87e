"""Token buckets, against an account of tokens in fractions."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from shared.wire.token_buckets import TokenBucket, TokenBuckets

PAUSES = st.lists(st.integers(-3, 12), max_size=60)
"""Quarters of a second between two uses; a clock that runs back gives nothing."""


def account(pauses: list[int], burst: int, rate: int, owes: bool) -> list[Fraction | bool]:
    tokens, at, newest = Fraction(burst), Fraction(0), Fraction(0)
    found: list[Fraction | bool] = []
    for pause in pauses:
        at += Fraction(pause, 4)
        tokens = min(Fraction(burst), tokens + max(Fraction(0), at - newest) * rate)
        newest = max(newest, at)
        if owes:
            tokens -= 1
            found.append(max(Fraction(0), -tokens / rate))
        else:
            found.append(tokens >= 1)
            tokens -= tokens >= 1
    return found


def moments(pauses: list[int]) -> list[float]:
    return [sum(pauses[: place + 1]) / 4 for place in range(len(pauses))]


@given(PAUSES, st.integers(1, 5), st.sampled_from([1, 2, 4]))
def test_a_token_is_taken_where_one_is_there(pauses: list[int], burst: int, rate: int) -> None:
    bucket = TokenBucket(burst, rate, 0.0)
    found = [bucket.take(now) for now in moments(pauses)]
    assert found == account(pauses, burst, rate, owes=False)


@given(PAUSES, st.integers(1, 5), st.sampled_from([1, 2, 4]))
def test_a_token_that_is_owed_is_earned_in_time(pauses: list[int], burst: int, rate: int) -> None:
    bucket = TokenBucket(burst, rate, 0.0)
    found = [bucket.owe(now) for now in moments(pauses)]
    assert found == account(pauses, burst, rate, owes=True)


def test_peers_have_a_bucket_each_and_the_one_that_was_used_longest_ago_is_forgotten() -> None:
    buckets = TokenBuckets(burst=1, rate=0.001, remembered=2)
    assert [buckets.of(peer, 0).take(0) for peer in ("a", "b", "a", "b")] == [
        True,
        True,
        False,
        False,
    ]
    assert not buckets.of("a", 0).take(0)  # so that b is the older one
    assert buckets.of("c", 0).take(0)
    assert not buckets.of("a", 0).take(0)
    assert buckets.of("b", 0).take(0)
