"""The worker commands of a round, as both sides see them: names, arguments and reports.

They travel inside PySyft's WorkerCommandMessage: `command_name` is the name, `kwargs` are the
arguments below. Each side validates what the other sent; an unknown or missing field is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import NodeFailed
from shared.quoting import MAX_QUOTED, escaped
from shared.secure_aggregation.kinds import Sum

PROPOSE: Final = "propose"
TRAIN: Final = "train"
EVALUATE: Final = "evaluate"
COMPARE: Final = "compare"
CANCEL: Final = "cancel"
SUM_KEYS: Final = "sum_keys"
SUM_STEP: Final = "sum_step"
COUNTERSIGN: Final = "countersign"
HAND_OUT: Final = "hand_out"

MAX_ROWS = 2**29 - 1
"""Rows that a node may tell of; the largest weight that the exact sum of states takes
(server/aggregation/exact_sum.py)."""

ObjectId = Annotated[int, Field(ge=0, lt=2**63)]
RunId = Annotated[str, Field(min_length=1, max_length=64)]
RecipeJson = Annotated[str, Field(max_length=65_536)]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Figure = Annotated[str, Field(pattern="^(roc_auc|average_precision|best_f1|mcc)$")]
GainBound = Annotated[int, Field(ge=-20_000, le=20_000)]
RoundNumber = Annotated[int, Field(ge=1, lt=2**31)]
Work = Literal["train", "evaluate", "compare", "hand_out"]
"""What a coordinator may have a node do in rounds, and after them."""
SumStep = Literal["share", "receive", "agree", "open"]
"""What is asked of an owner in a secure sum besides its keys and its numbers, in order."""


class WireTable(BaseModel):
    """What one side validates of what the other sent; an unknown or missing field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Any) -> Self:
        """Raises NodeFailed that names each wrong field, never its value."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}"
                for item in error.errors()
            )
            raise NodeFailed(f"a malformed {cls.__name__}", escaped(wrong, MAX_QUOTED)) from None


class ProposeCommand(WireTable):
    """Ask whether such work would be done, before a state is sent for it.

    work: the command that will be asked for.
    run: the run's id, as of TrainCommand.
    recipe: the recipe as JSON.
    rounds: how many there will be.
    secure: whether the numbers will leave inside a secure sum alone.
    """

    work: Work
    run: RunId
    recipe: RecipeJson
    rounds: RoundNumber
    secure: bool = False


class TrainCommand(WireTable):
    """Train the state that was sent before, on the owner's training rows.

    state_id: id of the state (P,) that was sent before and evaluated or trained from.
    result_id: id under which the trained state can be fetched once; a patch of the state that it
        was trained from where that is smaller (shared/wire/patches.py).
    run: the run's id, drawn at random; a request that is repeated in a run, with the same state,
        recipe, seed and round, is answered from memory.
    recipe: the recipe as JSON.
    seed: of this node in this round; the same inputs and seed give the same bits.
    order: of this node in all rounds of a run; in which order rows are gone through that are too
        many for a round. None draws them anew in each round.
    round: 1-based. rounds: how many there will be.
    secure: the result is the masked vector of this round's secure sum, as Masked encodes it in a
        uint8 tensor; it answers with a SecureReport, and its progress has no losses.
    """

    state_id: ObjectId
    result_id: ObjectId
    run: RunId
    recipe: RecipeJson
    seed: int = Field(ge=0, lt=2**63)
    order: int | None = Field(default=None, ge=0, lt=2**63)
    round: RoundNumber
    rounds: RoundNumber
    secure: bool = False


class TrainReport(WireTable):
    """What a node says after training.

    rows: training rows, a claim; FedAvg's weight as far as it counts (server/rounds/claims.py).
    loss: mean training loss in the last local epoch.
    seconds_waiting: from the command's arrival until the trainer was free.
    """

    rows: int = Field(ge=1, le=MAX_ROWS)
    batches: int = Field(ge=1, lt=2**63)
    loss: float = Field(ge=0, le=1e12)
    seconds_training: float = Field(ge=0)
    seconds_waiting: float = Field(ge=0)


class EvaluateCommand(WireTable):
    """Measure the state that was sent before on the owner's held-out rows.

    base_id: id of the state that a patch was made from; None where the whole state was sent.
    secure: the run and round in whose secure sum the counts leave, with a SecureReport for an
        answer; None tells them in clear.
    """

    state_id: ObjectId
    base_id: ObjectId | None
    recipe: RecipeJson
    secure: tuple[RunId, RoundNumber] | None = None


class EvaluateReport(WireTable):
    """Counts of held-out rows by label and bin of their score; no label or score of a row.

    ham, spam: bin number -> count, only bins that hold rows; bins as in shared/model/metrics.py.
    loss_sum: sum of the rows' losses, in nats.
    seconds_waiting: from the command's arrival until the trainer was free.
    """

    ham: dict[int, int]
    spam: dict[int, int]
    loss_sum: float = Field(ge=0, le=1e12)
    seconds_evaluating: float = Field(ge=0)
    seconds_waiting: float = Field(ge=0)


class CompareCommand(WireTable):
    """Train on the owner's rows alone, and measure that model and the state that was sent before.

    rounds: how many rounds of the recipe it trains, as many as the federated state (P,) had.
    start: the seed of the run's first state, from which the training begins.
    seed: of this node's training; the same inputs and seed give the same counts.
    secure: the run's only secure "comparison" is what the figures leave in, with a SecureReport
        for an answer, and its progress has no losses; False tells them in clear.
    """

    state_id: ObjectId
    run: RunId
    recipe: RecipeJson
    rounds: RoundNumber
    start: int = Field(ge=0, lt=2**63)
    seed: int = Field(ge=0, lt=2**63)
    secure: bool = False


class CompareReport(WireTable):
    """Counts of held-out rows, as an EvaluateReport has them, for each of two models.

    ham, spam, loss_sum: of the state that was sent. alone_...: of the one that was trained here.
    bounds: the interval of each figure's gain (shared/model/comparison.py), in 1 / SCALE.
    seconds_comparing: of training and measuring.
    """

    COUNTS: ClassVar = ("ham", "spam", "loss_sum", "alone_ham", "alone_spam", "alone_loss_sum")

    ham: dict[int, int]
    spam: dict[int, int]
    loss_sum: float = Field(ge=0, le=1e12)
    alone_ham: dict[int, int]
    alone_spam: dict[int, int]
    alone_loss_sum: float = Field(ge=0, le=1e12)
    bounds: dict[Figure, tuple[GainBound, GainBound]]
    seconds_comparing: float = Field(ge=0)
    seconds_waiting: float = Field(ge=0)


class SecureReport(WireTable):
    """What a node says after work whose numbers leave in a secure sum.

    masked: the Masked of an evaluation; that of a training is fetched, and this is empty.
    seconds_waiting: from the command's arrival until the trainer was free.
    """

    masked: bytes = Field(max_length=2**20)
    seconds_working: float = Field(ge=0)
    seconds_waiting: float = Field(ge=0)


class SumKeysCommand(WireTable):
    """Begin a secure sum: the answer is a map whose `data` is the owner's signed Keys.

    state_id: of the state that the round begins with, which was sent before; whose recipe, and
        which round of how many it is, the keys are bound to (docs/privacy.md).
    """

    sum: Sum
    state_id: ObjectId
    run: RunId
    recipe: RecipeJson
    round: RoundNumber
    rounds: RoundNumber


class SumStepCommand(WireTable):
    """Take the next step of a secure sum: the answer is a map whose `data` is the message due.

    data: a Roster to "share", a Delivery to "receive", a Proposal to "agree", an Agreement to
        "open" (shared/secure_aggregation/messages.py); the answers are Dealt, nothing, a signed
        Statement and an Opening.
    """

    sum: Sum
    step: SumStep
    run: RunId
    round: RoundNumber
    data: bytes = Field(max_length=2**20)


class SumAnswer(WireTable):
    """The owner's message in a secure sum; the coordinator reads it as the protocol says."""

    data: bytes = Field(max_length=2**20)


class CountersignCommand(WireTable):
    """Sign what a passport says of this node's own part in a run, if that is so.

    recipe, model: SHA-256 in hexadecimal, of the recipe's JSON and of the model's numbers.
    rounds: in which the node trained. rows: to train on, as it told; None where it told none.
    """

    run: RunId
    recipe: Hex
    model: Hex
    rounds: list[RoundNumber] = Field(min_length=1, max_length=100_000)
    rows: int | None = Field(ge=1, le=MAX_ROWS)


class CountersignReport(WireTable):
    """A Countersignature as JSON (shared/passport/statements.py)."""

    signed: str = Field(max_length=2**21)


class HandOutCommand(WireTable):
    """Keep the state that was sent before for the node's owner; the answer is no more than done.

    run: in which it was trained, as of TrainCommand. round: after which. rounds: how many there
        were to be.
    recipe: the recipe as JSON.
    model: SHA-256 in hexadecimal of the state's numbers, as a passport has it.
    """

    state_id: ObjectId
    run: RunId
    recipe: RecipeJson
    round: RoundNumber
    rounds: RoundNumber
    model: Hex


class Progress(WireTable):
    """An event while a node trains: batches done, of how many, and their mean loss so far.

    Of a training whose numbers leave in a secure sum, and of an evaluation whose counts do not:
    percent, of 100, and no loss.
    """

    done: int = Field(ge=0)
    total: int = Field(ge=1)
    loss: float | None = Field(default=None, ge=0)


OnProgress = Callable[[Progress], None]
