"""The noise on the grid is Gaussian, independent, new each time, and nobody's seed decides it.

Each statistical test says how often it fails for perfect noise; all of them together fail once in
some 10,000 runs. Noise is drawn from the operating system, so runs differ.
"""

from __future__ import annotations

import math
import os
import random
import struct

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from scipy import stats

from worker_node.training.noise import LEAST_DEVIATION, gaussian

RARE = 1e-5
"""The chance that one test fails where nothing is wrong."""
DEVIATIONS = [LEAST_DEVIATION, 2.0**22, 2.0**50]
COUNT = 200_000


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_it_is_gaussian(deviation: float) -> None:
    """Kolmogorov and Smirnov, against the normal distribution function."""
    drawn = gaussian(deviation, COUNT)
    assert stats.kstest(drawn / deviation, "norm").pvalue > RARE


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_its_variance_is_the_one_asked_for(deviation: float) -> None:
    """The sum of squares is chi-squared: a share of 2 * RARE lies outside these bounds."""
    squares = float(np.square(gaussian(deviation, COUNT) / deviation).sum())
    low, high = stats.chi2.ppf([RARE, 1 - RARE], COUNT)
    assert low < squares < high


def test_its_tails_are_as_heavy_as_they_must_be() -> None:
    """How many of a million lie beyond 1, 2, 3 and 4 deviations: binomial, two-sided."""
    drawn = np.abs(gaussian(2.0**30, 1_000_000)) / 2.0**30
    for beyond in (1, 2, 3, 4):
        share = 2 * stats.norm.sf(beyond)
        found = int((drawn > beyond).sum())
        assert stats.binomtest(found, drawn.size, share).pvalue > RARE


def test_neighbours_and_pairs_are_independent() -> None:
    """Correlations at lags up to 3, and between the two halves that are drawn together."""
    drawn = gaussian(2.0**30, COUNT) / 2.0**30
    half = COUNT // 2
    pairs = [(drawn[:-lag], drawn[lag:]) for lag in (1, 2, 3)] + [(drawn[:half], drawn[half:])]
    for one, other in pairs:
        assert stats.pearsonr(one, other).pvalue > RARE
        assert stats.pearsonr(np.square(one), np.square(other)).pvalue > RARE


def test_the_lowest_bits_are_fair() -> None:
    """Whatever is added to it: parity and the last four bits, chi-squared."""
    drawn = gaussian(2.0**30, COUNT)
    counts = np.bincount(drawn & 15, minlength=16)
    assert stats.chisquare(counts).pvalue > RARE


def test_the_shares_of_several_owners_are_the_noise_of_one() -> None:
    """Kolmogorov and Smirnov on the sum, modulo 2^64, of four owners' halves."""
    shares = [gaussian(2.0**29, COUNT).view(np.uint64) for _ in range(4)]
    total = shares[0] + shares[1] + shares[2] + shares[3]
    assert stats.kstest(total.view(np.int64) / 2.0**30, "norm").pvalue > RARE


def test_no_seed_decides_it() -> None:
    drawn = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        drawn.append(gaussian(2.0**30, 1000))
    assert (drawn[0] != drawn[1]).all()


def box_muller(words: list[int], deviation: float) -> list[int]:
    """With Python's own numbers: 64 bits for the length, and 64 for the angle."""
    half = len(words) // 2
    drawn = [
        math.sqrt(-2 * math.log((length + 0.5) / 2**64)) * turn(2 * math.pi * angle / 2**64)
        for turn in (math.cos, math.sin)
        for length, angle in zip(words[:half], words[half:], strict=True)
    ]
    return [round(one * deviation) for one in drawn]


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_it_is_made_of_aes_in_counter_mode_under_a_key_of_the_system(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The stream is put together here block by block, and has as many as were asked for."""
    given: list[bytes] = []
    urandom = os.urandom

    def system(size: int) -> bytes:
        given.append(urandom(size))
        return given[-1]

    monkeypatch.setattr("worker_node.training.noise.os.urandom", system)
    drawn = gaussian(2.0**30, count)
    key, counter = given
    assert (len(key), len(counter)) == (32, 16)
    blocks = -(-count // 2)
    block = Cipher(AES(key), ECB()).encryptor()  # one block at a time
    first = int.from_bytes(counter, "big")
    stream = b"".join(
        block.update(((first + number) % 2**128).to_bytes(16, "big")) for number in range(blocks)
    )
    words = [number for (number,) in struct.iter_unpack("<Q", stream)]
    assert drawn == pytest.approx(box_muller(words, 2.0**30)[:count], abs=4)


def test_the_ends_of_the_tail_are_those_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    words = struct.pack("<4Q", 0, 2**64 - 1, 0, 2**62)
    monkeypatch.setattr("worker_node.training.noise._random", lambda size: words[:size])
    most = math.sqrt(2 * 65 * math.log(2))
    assert gaussian(1e6, 4) == pytest.approx([most * 1e6, 0, 0, 0], abs=1)


def test_the_bounds_of_the_grid_are_drawn() -> None:
    for deviation in (1000.0, 2.0**50):
        assert gaussian(deviation, 100).any()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_there_are_as_many_as_were_asked_for(count: int) -> None:
    assert gaussian(LEAST_DEVIATION, count).shape == (count,)


@pytest.mark.parametrize("deviation", [0.0, -1.0, 999.9, 2.0**51, float("nan"), float("inf")])
def test_noise_that_the_grid_cannot_hold_is_refused(deviation: float) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        gaussian(deviation, 10)
