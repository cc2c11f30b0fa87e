"""The two sums of a round, by name; a file of its own, so that commands load no cryptography."""

from __future__ import annotations

from typing import Literal

Sum = Literal["training", "evaluation"]
"""Trained states with rows and losses, or counts of held-out scores with their loss."""
