"""A rule of the protocol that was broken, as the owner's refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import PolicyRefused
from shared.secure_aggregation.violation import Violation

TABLE = "secure_aggregation"
"""The table of policy.toml that the rules belong to."""
_NEXT_STEP = (
    "docs/privacy.md says what each rule asks for. Nothing of this owner's was opened by it."
)


@contextmanager
def refusing() -> Iterator[None]:
    """Turns a Violation inside into PolicyRefused, whose rule is `secure_aggregation.NAME`."""
    try:
        yield
    except Violation as violation:
        rule = f"{TABLE}.{violation.rule}"
        fact = f"the owner's node takes no part in this (rule {rule})"
        error = PolicyRefused(fact, violation.why, _NEXT_STEP)
        error.rule = rule
        raise error from None
