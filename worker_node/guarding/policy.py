"""The owner's policy: what this node does, for whom, how much of it and when.

Every rule stands once, here or in a table of rules/, with its default and its explanation, from
which policy_file.py writes the example. A refusal names the rule and the policy's own number, and
never tells of the rows.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.errors import POLICY_ADVICE, PolicyRefused
from shared.model.recipe import PrivacyRecipe, Recipe, TrainingRecipe
from worker_node.data import SCORED_ROWS
from worker_node.guarding.rules.hours import Hours
from worker_node.guarding.rules.pointers import PointerBounds, SharedBounds
from worker_node.guarding.rules.table import CoordinatorName, Table
from worker_node.guarding.rules.terms import (
    DifferentialPrivacyTerms,
    LeakTerms,
    SecureAggregationTerms,
)
from worker_node.guarding.rules.work import DailyBounds, HandedOutModels, RecipeBounds
from worker_node.training import KEPT_BYTES

Mode = Literal["train", "evaluate", "compare", "pointers", "shared"]
Question = Literal["first-time-coordinator", "train", "evaluate", "compare", "pointers", "shared"]


class Policy(Table):
    """One owner's policy; every rule has a default."""

    coordinators: tuple[CoordinatorName, ...] = Field(
        (),
        strict=False,
        description="Names of the coordinators to work with. Empty leaves it to coordinators.txt\n"
        "in the identity folder; names here count alone, and the file is not read.\n"
        "serve --coordinator NAME comes before both.",
    )
    modes: tuple[Mode, ...] = Field(
        ("train", "evaluate", "compare"),
        strict=False,
        description='What coordinators may have done: "train", "evaluate", "compare" with a model\n'
        'that you train alone and that stays here, and "pointers", which lets them run tensor\n'
        "operations on the rows and tells them more. Comparisons are allowed from the start, for\n"
        "they show you whether joining was worth it, and tell hardly more than the first two do:\n"
        "whoever may have you train and measure can do both with you alone, and gets that model\n"
        "too. A comparison adds how sure the gain is. [day] bounds the work, each a run's.\n"
        '"shared" lends this machine to computing on shares of what others keep secret, for the\n'
        "coordinators that [shared] names; your rows have no part in it.",
    )
    ask: tuple[Question, ...] = Field(
        (),
        strict=False,
        description="What needs your yes at the terminal, or on the page of serve --page:\n"
        '"first-time-coordinator", "train", "evaluate", "compare", "pointers", "shared" (each\n'
        "once a connection). Where there is neither it is refused.",
    )
    fewest_rows: int = Field(
        0, ge=0, description="With fewer rows to train on, the node refuses to train."
    )
    fewest_held_out_rows: int = Field(
        0,
        ge=0,
        description="With fewer rows to measure with, it refuses to evaluate: counts of scores of\n"
        "few rows say nearly what each score was.",
    )
    most_scored_rows: int = Field(
        SCORED_ROWS,
        ge=0,
        description="Held-out rows that models are measured with; with more, so many are drawn,\n"
        "once and for all, and coordinators hear of those alone. A ROC AUC of 99.5 % then\n"
        "has a standard error of 0.1 points where 13 % are spam, and of 0.35 where 1 % is:\n"
        "the node says it of yours. 0 measures with all; so do private runs, whatever\n"
        "stands here.",
    )
    most_kept_megabytes: int = Field(
        KEPT_BYTES // 1_000_000,
        ge=0,
        description="Memory for messages that are kept encoded between rounds and runs: so much\n"
        "for those to train on, and as much for those to measure with. 64 are 25,800\n"
        "messages of `default`. Of more than fit none are kept, and they are encoded anew\n"
        "where they are used; 0 keeps none. No model changes by it.",
    )
    tell_label_counts: bool = Field(
        True, description="Tell coordinators how many of the rows are spam, before any work."
    )
    countersign: bool = Field(
        True,
        description="Countersign what the passport of a model says of this node's part in it, if\n"
        "it is so. Tells the digest of this policy, and how far the audit log has got.",
    )
    recipe: RecipeBounds = RecipeBounds()
    day: DailyBounds = DailyBounds()
    pointers: PointerBounds = PointerBounds()
    models: HandedOutModels = HandedOutModels()
    shared: SharedBounds = SharedBounds()
    hours: Hours = Hours()
    secure_aggregation: SecureAggregationTerms = SecureAggregationTerms()
    differential_privacy: DifferentialPrivacyTerms = DifferentialPrivacyTerms()
    leak: LeakTerms = LeakTerms()

    @property
    def hides_rows(self) -> bool:
        """Whether no coordinator is told how many rows there are."""
        return self.secure_aggregation.required or self.differential_privacy.is_on

    def check_private(self, mode: Mode, privacy: PrivacyRecipe) -> None:
        """Args: privacy: the noise that all has that would be told of the rows."""
        terms = self.differential_privacy
        if not terms.is_on:
            return
        if mode in ("pointers", "compare") or not privacy.epsilon:
            recipes = "private-owner" if terms.unit == "owner" else "private, or private-strict"
            raise refusal(
                "differential_privacy.epsilon",
                f"nothing is told of its rows without noise, and {mode} would",
                f"Train a private recipe: --recipe {recipes}.",
            )
        if (terms.unit, privacy.unit) == ("owner", "message"):
            raise refusal(
                "differential_privacy.unit",
                f"epsilon {privacy.epsilon:g} of the recipe is for one message, and of an owner's "
                f"{terms.epsilon:g} for all of them together",
                'Train a recipe whose privacy.unit is "owner": --recipe private-owner.',
            )
        if mode == "evaluate" and not terms.held_out_epsilon:
            raise refusal(
                "differential_privacy.held_out_epsilon", "it measures nothing on its held-out rows"
            )

    def check_mode(self, mode: Mode) -> None:
        if mode not in self.modes:
            allowed = ", ".join(self.modes) or "nothing"
            raise refusal("modes", f"{mode} is not allowed here, only {allowed}")

    def check_shared(self, coordinator: str) -> None:
        """Args: coordinator: its name."""
        self.check_mode("shared")
        if coordinator not in self.shared.coordinators:
            raise refusal("shared.coordinators", "it computes on shares for others alone")

    def check_messages(self, others: Collection[str]) -> None:
        """Args: others: who else would have a part in scoring this owner's messages."""
        strangers = sorted(set(others) - set(self.shared.messages_with))
        if strangers:
            why = f"its messages are not shared with {', '.join(strangers)}"
            raise refusal("shared.messages_with", why)
        if self.shared.tells_scores and self.hides_rows:
            needed = self.secure_aggregation.required
            rule = "secure_aggregation.required" if needed else "differential_privacy.epsilon"
            raise refusal(rule, "it tells no scores of single messages")

    def check_secure(self, is_secure: bool) -> None:
        """Args: is_secure: whether the numbers would leave inside a secure sum alone."""
        if self.secure_aggregation.required and not is_secure:
            raise refusal(
                "secure_aggregation.required",
                "its numbers leave inside secure sums alone",
                "Train with --secure-aggregation on; it takes at least "
                f"{self.secure_aggregation.fewest_owners} owners here.",
            )

    def check_hours(self, now: datetime) -> None:
        if not self.hours.contain(now):
            hours = self.hours
            when = f"{hours.begin} to {hours.end} on {', '.join(hours.days) or 'no day'}"
            following = hours.next_begin(now)
            back = f"{following:%a %Y-%m-%d %H:%M}" if following is not None else "never"
            raise refusal("hours", f"it works {when} ({hours.zone} time), next from {back}")

    def check_rows(self, train: int, held_out: int, mode: Mode) -> None:
        """Args: train, held_out: the owner's numbers of rows; the refusal tells neither."""
        if mode in ("train", "compare", "pointers") and train < self.fewest_rows:
            raise refusal("fewest_rows", "it has too few rows to train on")
        if mode in ("evaluate", "compare", "pointers") and held_out < self.fewest_held_out_rows:
            raise refusal("fewest_held_out_rows", "it has too few rows to measure with")

    def check_recipe(self, recipe: Recipe, rounds: int = 1) -> None:
        """Args: rounds: of the run, as its coordinator says."""
        found = {
            "parameters": recipe.parameters,
            "tokens": recipe.text.tokens,
            "local_epochs": recipe.training.local_epochs,
            "batch_size": recipe.training.batch_size,
            "proximal_mu": recipe.training.proximal_mu,
            "rounds": rounds,
        }
        value: float
        for name, value in found.items():
            most = getattr(self.recipe, name)
            if value > most:
                what = name.replace("_", " ")
                raise refusal(
                    f"recipe.{name}", f"{value:,} {what} were asked for; at most {most:,} may be"
                )

    def check_model(self, recipe: Recipe) -> None:
        """Refuses to keep a model of this recipe, where none or none so large is kept."""
        if not self.models.kept:
            raise refusal("models.kept", "it keeps no models that coordinators hand out")
        size = 4 * recipe.parameters
        if size > self.models.megabytes * 1_000_000:
            raise refusal(
                "models.megabytes",
                f"the model has {size / 1e6:,.1f} MB; at most {self.models.megabytes:,} may be",
            )

    def check_mixing(self, training: TrainingRecipe) -> None:
        """Refuses a training whose result would tell of a few rows alone.

        The refusal depends on no number of the owner's rows: where there are fewer than a rule
        says, all of them are in one step.
        """
        rows_a_step = (training.batch_size + 1) // 2  # of rows that are dealt out evenly
        found = {"fewest_rows_a_step": rows_a_step}
        if steps := training.most_steps_told:
            found["fewest_rows_mixed"] = steps * rows_a_step
            found["fewest_steps"] = steps
        for name, value in found.items():
            least = getattr(self.recipe, name)
            if value < least:
                what = name.removeprefix("fewest_").replace("_", " ")
                raise refusal(
                    f"recipe.{name}",
                    f"as few as {value:,} {what} were asked for; at least {least:,} must be",
                )


def refusal(rule: str, cause: str, next_step: str = POLICY_ADVICE) -> PolicyRefused:
    """The error for a rule of policy.toml that says no."""
    fact = f"the owner's policy does not allow this (rule {rule})"
    error = PolicyRefused(fact, cause, next_step)
    error.rule = rule
    return error
