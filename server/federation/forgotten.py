"""What came of forgetting an owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.federation.run import Run

if TYPE_CHECKING:  # it loads torch
    from server.passport.verification import SignedForgotten
    from shared.passport.statements import Forgotten


@dataclass(frozen=True, repr=False)
class OwnerForgotten:
    """run: the new run, in which the owner never was. signed: its forgotten.json."""

    run: Run
    signed: SignedForgotten

    @property
    def said(self) -> Forgotten:
        """The statement: both models, their distance, and the remaining owners' metrics."""
        return self.signed.forgotten

    def records(self) -> list[dict[str, Any]]:
        """A dictionary for each remaining owner and model, then those of all ("*")."""
        return [
            {"node": node, "model": which, **metrics}
            for node, both in self.said.metrics.items()
            for which, metrics in both.items()
        ]

    def __repr__(self) -> str:
        said = self.said
        owners, share = ", ".join(said.owners), 100 * said.distance["relative"]
        lines = [
            f"{said.owner} is out: {self.run.path} was trained from seed {said.seed} by {owners}",
            f"distance of both models: {said.distance['l2']:.4g}, {share:.2g} % of the old norm",
        ]
        for node, both in said.metrics.items():
            name = "all" if node == "*" else node
            aucs = " -> ".join(_percent(both[one].get("roc_auc")) for one in ("before", "after"))
            lines.append(f"{name}: ROC AUC {aucs}")
        lines.append("signed" if self.signed.signature else f"unsigned: {self.signed.unsigned}")
        return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "not defined" if value is None else f"{100 * value:.2f} %"
