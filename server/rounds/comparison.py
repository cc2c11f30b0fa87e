"""Was it worth joining: what a comparison of a run's model with the owners' own found.

Of each owner where the nodes told their counts; of all owners together where the coordinator saw
sums alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any

from shared.model.comparison import FIGURES, Gain
from shared.secure_aggregation.contents import FigureSum


@dataclass(frozen=True)
class OwnerGains:
    """One owner's. rows: held-out rows that both models were measured on. figures: by name."""

    rows: int
    figures: Mapping[str, Gain]


@dataclass(frozen=True)
class Comparison:
    """What was found.

    rounds: that each owner trained alone, as many as the federated model had.
    owners: by node id; empty where sums alone were seen.
    summed: each figure over all owners, by name, where sums alone were seen; None else.
    left_out: why nodes that were asked are not in it, by node id.
    """

    rounds: int
    owners: Mapping[str, OwnerGains] = field(default_factory=dict)
    summed: Mapping[str, FigureSum] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def mean(self, name: str) -> FigureSum:
        """The mean owner of one figure, and how many are better or worse off for sure."""
        if self.summed is not None:
            return self.summed[name]
        known = [one for one in self._each(name) if one.gain is not None]
        return FigureSum(
            len(known),
            mean(one.alone for one in known if one.alone is not None) if known else None,
            mean(one.federated for one in known if one.federated is not None) if known else None,
            sum(one.is_better for one in known),
            sum(one.is_worse for one in known),
        )

    def worst(self, name: str) -> Gain:
        """The lowest figure that an owner has alone, and the lowest that one has federated.

        They may be of two owners: what is compared is how the worst-off does, whoever it is.
        """
        known = [one for one in self._each(name) if one.gain is not None]
        return Gain(
            min((one.alone for one in known if one.alone is not None), default=None),
            min((one.federated for one in known if one.federated is not None), default=None),
        )

    def _each(self, name: str) -> list[Gain]:
        return [one.figures[name] for one in self.owners.values()]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as comparison.json holds it."""
        return {
            "rounds": self.rounds,
            "secure_aggregation": self.summed is not None,
            "owners": {
                node: {"rows": one.rows, "figures": _with_gain(one.figures)}
                for node, one in self.owners.items()
            },
            "mean": {name: {**asdict(one), "gain": one.gain} for name, one in self._means()},
            "worst_off": _with_gain({name: self.worst(name) for name in FIGURES}),
            "left_out": dict(self.left_out),
        }

    def _means(self) -> list[tuple[str, FigureSum]]:
        return [(name, self.mean(name)) for name in FIGURES]


def comparison_from(values: Mapping[str, Any]) -> Comparison:
    """The comparison that gave such a dictionary.

    Raises:
        KeyError, TypeError, AttributeError: it is none.
    """
    summed = None
    if values["secure_aggregation"]:
        summed = {name: FigureSum(**_without_gain(values["mean"][name])) for name in FIGURES}
    return Comparison(
        values["rounds"],
        {
            node: OwnerGains(
                one["rows"],
                {name: Gain(**_without_gain(one["figures"][name])) for name in FIGURES},
            )
            for node, one in values["owners"].items()
        },
        summed,
        values["left_out"],
    )


def _with_gain(figures: Mapping[str, Gain]) -> dict[str, Any]:
    return {name: {**asdict(one), "gain": one.gain} for name, one in figures.items()}


def _without_gain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "gain"}
