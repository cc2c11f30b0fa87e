"""What a message of the protocol can break, by name."""

from __future__ import annotations

from typing import Literal

Rule = Literal[
    "agreement",
    "certificate",
    "dropouts",
    "fewest_owners",
    "fresh_keys",
    "malformed",
    "masking",
    "most_owners",
    "one_delivery",
    "one_roster",
    "one_set",
    "one_vector",
    "order",
    "own_keys",
    "pinned",
    "recipe",
    "revoked",
    "roster",
    "round",
    "rounds",
    "run",
    "shares",
    "signature",
    "small_order",
    "state",
    "sum",
    "survivor_and_lost",
    "survivors",
    "threshold",
]
"""docs/privacy.md says what each asks for."""


class Violation(ValueError):
    """A message that the protocol does not allow.

    Args:
        rule: the rule that it breaks.
        why: what is wrong, one clause, with nothing of the peer's that was not validated.
    """

    def __init__(self, rule: Rule, why: str) -> None:
        super().__init__(why)
        self.rule: Rule = rule
        self.why = why
