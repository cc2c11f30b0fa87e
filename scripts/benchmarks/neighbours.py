"""How many neighbours each owner of a secure sum would need: `scripts/benchmark.py neighbours`.

What a neighbour graph would save, if there were one (Bell, Bonawitz, Gascón, Lepoint, Raykova:
Secure Single-Server Aggregation with (Poly)Logarithmic Overhead, CCS 2020): the owners stand in a
ring in an order that nobody chooses, and each masks with, and deals shares to, the k/2 on either
side alone. Chances are exact: tails of the hypergeometric distribution, in whole numbers.

Of n owners, c help the coordinator and up to d may be lost, whom the coordinator names, once it
knows the ring. Then, but for a chance of 2^-secrecy,

- nobody's secret is opened by its helping neighbours: fewer than t of k
- the honest owners who stay hang together, so that no part of them is a sum of its own: whoever
  cuts a ring takes two runs of k/2 places from it, and in any two there are more than d honest ones

and the sum is opened, but for a chance of 2^-loss, where d owners are lost by chance: t of each
owner's k neighbours stay. Helping owners' keys come last and are theirs to choose, so the
coordinator may try orders: 2^tries of them weaken secrecy by so many bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import click

SECRECY, TRIES, LOSS = 40, 40, 30
HELPING_AND_LOST = (
    (1 / 3, 0.33),
    (1 / 3, 0.2),
    (1 / 3, 0.1),
    (1 / 3, 0.05),
    (0.2, 0.2),
    (0.1, 0.1),
)


@dataclass(frozen=True)
class Ring:
    """neighbours: k, of each owner. threshold: shares that open a secret, t."""

    neighbours: int
    threshold: int


def is_rarer(drawn: int, marked: int, of: int, least: int, times: int, bits: int) -> bool:
    """Whether `times` times the chance of `least` marked ones or more is 2^-bits at most.

    Args:
        drawn: how many of `of` are drawn without putting back, `marked` of which are marked.
    """
    span = range(max(least, 0), min(drawn, marked) + 1)
    ways = sum(comb(marked, found) * comb(of - marked, drawn - found) for found in span)
    return times * ways << bits <= comb(of, drawn)


def fewest_neighbours(
    owners: int, helping: int, lost: int, secrecy: int = SECRECY + TRIES, loss: int = LOSS
) -> Ring | None:
    """The smallest ring that holds; None where only the complete graph does.

    Args:
        helping: owners that help the coordinator. lost: owners that may be lost.
        secrecy, loss: bits of the chances.
    """
    pairs = owners * (owners - 1) // 2
    for k in range(2, owners - 1, 2):
        if not is_rarer(k, helping, owners, k - lost, pairs, secrecy):
            continue
        for t in range(k // 2, k + 1):
            if is_rarer(k, helping, owners - 1, t, owners, secrecy):
                if is_rarer(k, lost, owners - 1, k - t + 1, owners, loss):
                    return Ring(k, t)
                break
    return None


@click.command()
@click.option("--owners", type=click.IntRange(3), multiple=True, default=(100, 300, 1000))
def neighbours(owners: tuple[int, ...]) -> None:
    """Neighbours that each owner would need for what the complete graph gives."""
    click.echo(
        f"chances: 2^-{SECRECY} after 2^{TRIES} tries that anything is opened that must not be, "
        f"2^-{LOSS} that a sum is lost"
    )
    click.echo("| owners | help the coordinator | may be lost | neighbours | of all | threshold |")
    click.echo("|---" * 6 + "|")
    for count in owners:
        for helping, lost in HELPING_AND_LOST:
            ring = fewest_neighbours(count, int(helping * count), int(lost * count))
            what = "all | 100 % | |"
            if ring is not None:
                share = ring.neighbours / (count - 1)
                what = f"{ring.neighbours} | {share:.0%} | {ring.threshold} |"
            click.echo(f"| {count} | {helping:.0%} | {lost:.0%} | {what}")
