"""The sums that there are, by name; a file of its own, so that commands load no cryptography."""

from __future__ import annotations

from typing import Literal

Sum = Literal["training", "evaluation", "comparison"]
"""Trained states with rows and losses; counts of held-out scores with their loss; or the owners'
figures alone and federated, and how many are better off how."""
