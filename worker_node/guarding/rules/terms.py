"""On what terms numbers leave: in secure sums, with noise, and as far as a receipt allows."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from shared.model.recipe import Unit
from worker_node.guarding.rules.table import OwnerName, Table


class SecureAggregationTerms(Table):
    """Secure sums: the coordinator gets the sum of several owners' numbers, and nobody's own."""

    required: bool = Field(
        False,
        description="Train and evaluate inside secure sums alone; pointer operations are refused.\n"
        "How many rows there are, and how many are spam, is not told then either.",
    )
    fewest_owners: int = Field(
        3,
        ge=2,
        le=100,
        description="Owners whose sum may be opened, this one among them. Of two, each can\n"
        "subtract itself, and the coordinator learns the sum of both.",
    )
    pinned: tuple[OwnerName, ...] = Field(
        (),
        strict=False,
        description="Owners whose keys you compared with them: python -m worker_node peers keeps\n"
        "their fingerprints. Who is not pinned is whoever the CA says that it is.",
    )
    fewest_pinned: int = Field(
        0,
        ge=0,
        le=100,
        description="How many of the pinned must be in each sum. With 0, whoever holds the CA's\n"
        "key can invent all other owners, and subtract them.",
    )
    dropouts: float = Field(
        0.33,
        ge=0,
        le=1,
        description="Share of a round's owners that may be lost, 0 to 1. No more than a third can\n"
        "be, whatever stands here.",
    )

    @model_validator(mode="after")
    def _has_enough_pinned(self) -> Self:
        if self.fewest_pinned > len(self.pinned):
            raise ValueError(
                f"fewest_pinned is {self.fewest_pinned}, and {len(self.pinned)} are pinned"
            )
        return self


class DifferentialPrivacyTerms(Table):
    """Differential privacy: noise on all that is told of the rows, and a budget for all of it."""

    epsilon: float = Field(
        0.0,
        ge=0,
        le=64,
        description="What training may tell of a unit, in total, for ever, to all coordinators\n"
        "together. Above 0, private recipes alone are trained and evaluated here, comparisons and\n"
        "pointer operations are refused, and no coordinator is told how many rows there are, nor\n"
        "their losses. 0 demands no noise.",
    )
    delta: float = Field(
        1e-5,
        ge=1e-12,
        le=1e-2,
        description="At which epsilon counts; well below one divided by the number of rows.",
    )
    unit: Unit = Field(
        "message",
        description='Of what epsilon counts: of each "message", or of you as an "owner", with all\n'
        "your messages or with none. The second takes recipes of that unit, such as\n"
        "private-owner, and thirty owners or more. Recipes of the first are refused then: of all\n"
        "your messages together they bound nothing. An owner's budget also bounds each message.",
    )
    held_out_epsilon: float = Field(
        4.0,
        ge=0,
        le=64,
        description="What evaluations may tell of a unit's held-out messages, likewise; 0 allows\n"
        "none.",
    )
    honest_owners: int = Field(
        0,
        ge=0,
        le=99,
        description="In secure sums: how many other owners you trust to add their share of the\n"
        "noise. So many and this one are then the fewest whose sum is opened. With 0 this node's\n"
        "own noise is enough, whoever the others are. Others who know their own noise, and work\n"
        "together, see this node's share alone.",
    )

    @property
    def is_on(self) -> bool:
        return self.epsilon > 0


class LeakTerms(Table):
    """Leak receipts: each update is attacked before it leaves, and what it would tell is noted."""

    receipts: bool = Field(
        True,
        description="Take them; python -m worker_node receipts shows them. They stay here. They\n"
        "are taken of trainings, and not of evaluations, comparisons or pointer operations.",
    )
    most_words: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Largest share of its words, 0 to 1, that may be recognised, less the share\n"
        "of other words that are taken for its own. An update that tells more stays here; 0\n"
        "lets out what guessing does as well as, 1 all. What has noise is not bound by it: a\n"
        "refusal would tell of the rows without noise.",
    )
    most_messages: float = Field(1.0, ge=0, le=1, description="The same of its messages.")

    @model_validator(mode="after")
    def _are_taken(self) -> Self:
        if self.is_bounded and not self.receipts:
            raise ValueError("most_words and most_messages are bounds on receipts, which are off")
        return self

    @property
    def is_bounded(self) -> bool:
        return min(self.most_words, self.most_messages) < 1

    def broken_by(self, words: float, messages: float) -> str:
        """The rule that shares of both break; "" where they may be."""
        if words > self.most_words:
            return "most_words"
        return "most_messages" if messages > self.most_messages else ""
