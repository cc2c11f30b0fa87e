"""The owner's policy: what this node does, for whom, how much of it and when.

Every rule stands here once, with its default and its explanation: policy_file.py writes the example
from them. A refusal names the rule and the policy's own number, and never tells of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, time, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.errors import POLICY_ADVICE, PolicyRefused
from shared.identity.names import NODE_ID_PATTERN
from shared.model.recipe import MAX_PARAMETERS, PrivacyRecipe, Recipe, TrainingRecipe, Unit
from worker_node.data import SCORED_ROWS

Mode = Literal["train", "evaluate", "compare", "pointers", "shared"]
Question = Literal["first-time-coordinator", "train", "evaluate", "compare", "pointers", "shared"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _zone(name: str) -> str:
    if name != "local":
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError):
            raise ValueError("no time zone of that name is known here") from None
    return name


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError('no time of day; write it as "08:30", "00:00" to "24:00"')
    return text


OwnerName = Annotated[str, Field(pattern=f"^{NODE_ID_PATTERN}$")]
CoordinatorName = Annotated[str, Field(pattern=f"^{NODE_ID_PATTERN}$")]
Clock = Annotated[str, AfterValidator(_time_of_day)]
Zone = Annotated[str, AfterValidator(_zone)]


class _Table(BaseModel):
    """A table of a policy: frozen, and with no key or type that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RecipeBounds(_Table):
    """The largest recipes that are trained and evaluated here, and the smallest trainings."""

    parameters: int = Field(
        4_000_000,
        ge=1,
        le=MAX_PARAMETERS,
        description="Numbers in the model; the built-in recipes have under half a million.\n"
        "It also bounds what a coordinator may send in one piece: 4 bytes a number, and a little.",
    )
    tokens: int = Field(1000, ge=1, le=1000, description="Words read of a message.")
    local_epochs: int = Field(100, ge=1, le=100, description="Passes over the rows in a round.")
    batch_size: int = Field(4096, ge=1, le=4096, description="Rows a step.")
    rounds: int = Field(1000, ge=1, le=100_000, description="Rounds in a run.")
    fewest_rows_a_step: int = Field(
        8,
        ge=1,
        le=2048,
        description="Rows that each step of a training has at least, or all if there are fewer.\n"
        "What a single row did to a model lies open in it. A batch_size of b has steps of\n"
        "b / 2 rows or more.",
    )
    fewest_rows_mixed: int = Field(
        128,
        ge=1,
        description="Rows that a training goes over at least, where max_batches ends it early: as\n"
        "many steps of batch_size / 2 rows.",
    )
    fewest_steps: int = Field(
        1,
        ge=1,
        description="Steps that max_batches must leave a training. The result of one step alone\n"
        "is the sum of what each of its rows did.",
    )
    proximal_mu: float = Field(
        1.0,
        ge=0,
        description="Pull of FedProx towards the state that was sent. A strong one undoes what a\n"
        "training's first steps did, so the steps that are left count in the three rules above.",
    )


class DailyBounds(_Table):
    """How much is done in a day, for all coordinators together, whatever they call themselves."""

    rounds: int = Field(
        5000,
        ge=0,
        description="Trainings a day, of which each tells the coordinator about the rows anew. A\n"
        "session of pointer operations counts as one.",
    )
    evaluations: int = Field(5000, ge=0, description="Evaluations a day.")
    comparisons: int = Field(
        100,
        ge=0,
        description="Comparisons a day, each of which trains as long as a whole run does.",
    )
    models: int = Field(
        100, ge=0, description="Models that are kept a day, each of which is written to the disk."
    )


BITS_A_NUMBER = 72
"""Of a number that is fetched alone: value, type, whether it failed, and when the answer came."""


class PointerBounds(_Table):
    """What leaves in pointer mode, of all that is computed from the rows there."""

    gradients: bool = Field(
        True,
        description="Give back gradients, and parameters that a step has changed. Without them\n"
        "nothing can be trained. With them a malicious coordinator can read the rows, and so\n"
        "nothing that leaves is counted.",
    )
    numbers: int = Field(
        100_000,
        ge=0,
        description="With gradients = false: how much a day may be told of what is computed from\n"
        "rows, for all coordinators together, in numbers. A number is 72 bits: a fetched one\n"
        "takes 68, and each frame of commands 4, for whether it failed and when it was\n"
        "done. Sizes take 264 bits, and counts of scores 13 a row. What takes more than is left\n"
        "is not run.",
    )
    megabytes: int = Field(
        4096,
        ge=256,
        description="Memory that one session may take; an operation that wants more fails.",
    )
    seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds that the operations of one frame, some hundred, may take. A session\n"
        "that wants more is ended.",
    )


class HandedOutModels(_Table):
    """Models that coordinators hand out after a run, kept here for your own predictions."""

    kept: int = Field(
        3,
        ge=0,
        le=100,
        description="How many are kept, of all coordinators together, one of each run; a newer\n"
        "one takes the place of the oldest. 0 takes none. It is the model that every node of the\n"
        "run gets each round anyway; kept, it can be read by whoever reads this disk.",
    )
    megabytes: int = Field(
        16,
        ge=1,
        le=1024,
        description="Size of the largest that is kept, in units of a million bytes.",
    )
    of_own_runs: bool = Field(
        True,
        description="Keep a model only of a run, and a recipe, that this node trained in.",
    )


class SharedBounds(_Table):
    """Mode "shared": computing on shares of what others keep secret, without any of your rows."""

    coordinators: tuple[CoordinatorName, ...] = Field(
        (),
        strict=False,
        description="Names of the coordinators that may; empty allows nobody. They must be let in\n"
        "besides, as for everything. Without TLS a name is what somebody calls himself.",
    )
    messages_with: tuple[OwnerName, ...] = Field(
        (),
        strict=False,
        description="Nodes between which your held-out messages may be shared, to be scored by a\n"
        "model that you do not see; empty shares them with nobody. You compared their keys with\n"
        "their owners: python -m worker_node peers keeps the fingerprints. Two of them who work\n"
        "together can read the messages.",
    )
    tells_scores: bool = Field(
        False,
        description="Tell the coordinator the scores of your messages, in thousandths, and not\n"
        "you alone. A model that is made for it can tell ten bits of a message by its score.",
    )
    megabytes: int = Field(1024, ge=256, description="Memory that one session may take.")
    seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds that the operations of one frame, some hundred, may take.",
    )


class Hours(_Table):
    """When the node works; at other times it says who it is, and no more."""

    begin: Clock = Field("00:00", description="From this time of day ...")
    end: Clock = Field(
        "24:00", description="... to this one; before `begin`, it is the next day's."
    )
    days: tuple[Day, ...] = Field(DAYS, strict=False, description="Days on which it begins.")
    zone: Zone = Field("local", description='Of the clock: "local" or a name like "Europe/Vienna".')

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.begin == self.end:
            raise ValueError(
                f"begin and end are both {self.begin}, which may mean never or always; "
                'always is "00:00" to "24:00"'
            )
        return self

    def now(self) -> datetime:
        return datetime.now(None if self.zone == "local" else ZoneInfo(self.zone)).astimezone(
            None if self.zone == "local" else ZoneInfo(self.zone)
        )

    def contain(self, now: datetime) -> bool:
        """Args: now: local time, in the policy's zone."""
        begin, end = _minutes(self.begin), _minutes(self.end)
        minute = now.hour * 60 + now.minute
        today = DAYS[now.weekday()] in self.days
        if begin < end:
            return today and begin <= minute < end
        yesterday = DAYS[(now - timedelta(days=1)).weekday()] in self.days
        return (today and minute >= begin) or (yesterday and minute < end)

    def next_begin(self, now: datetime) -> datetime | None:
        """When it works next, after a moment at which it does not; None for never.

        Args:
            now: local time, in the policy's zone.
        """
        hour, minute = divmod(_minutes(self.begin), 60)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for days in range(8):  # the same day of the next week may be the first
            found = midnight + timedelta(days=days, hours=hour, minutes=minute)
            if found > now and self.contain(found):
                return found
        return None


class SecureAggregationTerms(_Table):
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


class DifferentialPrivacyTerms(_Table):
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


class LeakTerms(_Table):
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


class Policy(_Table):
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


def _minutes(clock: str) -> int:
    if clock == "24:00":
        return 24 * 60
    found = time.fromisoformat(clock)
    return found.hour * 60 + found.minute
