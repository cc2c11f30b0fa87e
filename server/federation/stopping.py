"""When a training has come far enough."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.federation.results import RoundResult


@dataclass
class EarlyStopping:
    """Stops once a metric has not got better for some rounds. For one run: it remembers.

    Prechelt, Early Stopping - But When?, 1998.

    Args:
        metric: a figure of Metrics; "loss" is the held-out one, and better where it is smaller.
        patience: measured rounds without a better value after which it stops, 1 or more.
        min_delta: how much better counts as better; 0 counts anything.
    """

    metric: str = "roc_auc"
    patience: int = 3
    min_delta: float = 0.0
    _best: float | None = field(default=None, init=False)
    _rounds: int = field(default=0, init=False)

    def __call__(self, result: RoundResult) -> bool:
        """True where the training should stop. Raises AttributeError for an unknown metric."""
        found = getattr(result.metrics, self.metric)
        if found is None:  # the rows cannot tell
            return False
        value = -float(found) if self.metric == "loss" else float(found)
        if self._best is None or value > self._best + self.min_delta:
            self._best, self._rounds = value, 0
        else:
            self._rounds += 1
        return self._rounds >= self.patience
