"""What a run tells while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from server.rounds.records import Round


@dataclass(frozen=True)
class Progress:
    """What one node does in a round.

    round: its number. stage: "sending", "training", "fetching", "evaluating" or "waiting".
    done, total: batches, or percent of 100; 0 where a stage has none. loss: mean training loss so
    far in the epoch, in nats a row; None where there is none.
    """

    round: int
    node: str
    stage: str
    done: int = 0
    total: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Notice:
    """Something that a person should know: a node is out or back, or a round waits for nodes.

    round: its number; 0 before the first. node: whom it is about; "" for the round as such.
    """

    round: int
    node: str
    text: str


@dataclass(frozen=True)
class Ended:
    """The run is over. error: what it ended with; None where nothing was wrong."""

    error: BaseException | None


Event = Progress | Notice | Round | Ended
