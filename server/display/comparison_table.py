"""Was it worth joining: what owners have alone, beside what they have together, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.display.fitting import Column, Fitted
from server.display.words import percent
from server.rounds.comparison import Comparison
from shared.model.comparison import FIGURES, Gain
from shared.secure_aggregation.contents import FigureSum

NAMES = {"roc_auc": "AUC", "average_precision": "AP", "best_f1": "best F1", "mcc": "MCC"}
"""What each figure is called in tables."""


def comparison_table(found: Comparison) -> Fitted:
    """A row an owner, with each figure in % alone and federated, and the gain in points with its
    95 % interval; where sums alone were seen, a row a figure."""
    title = f"Worth joining? {found.rounds} rounds alone and federated, on own held-out rows"
    if found.summed is not None:
        return Fitted(title, _summed(found.summed))
    rows = [*found.owners.values()]
    names, counts = [*found.owners], [str(one.rows) for one in rows]
    if len(rows) > 1:  # no node's id holds a blank
        names += ["mean of owners", "worst of owners"]
        counts += ["", ""]
    columns = [Column("node", names), Column("rows", counts, right=True)]
    for figure in FIGURES:
        gains = [one.figures[figure] for one in rows]
        if len(rows) > 1:
            mean = found.mean(figure)
            gains += [Gain(mean.alone, mean.federated), found.worst(figure)]
        columns += _columns(NAMES[figure], gains)
    return Fitted(title, columns)


def verdict(found: Comparison) -> list[str]:
    """What the table says, in sentences: for how many owners it was worth it for sure."""
    lines = []
    for figure in FIGURES:
        mean = found.mean(figure)
        if mean.owners:
            lines.append(
                f"{NAMES[figure]}: {mean.better} of {mean.owners} owners surely better off "
                f"together, {mean.worse} surely better off alone (95 %); "
                f"on average {_signed(mean.gain)} points"
            )
    lines += [f"node {node} is not in it: {why}" for node, why in sorted(found.left_out.items())]
    return lines


def _columns(name: str, gains: Sequence[Gain]) -> list[Column]:
    alone = [percent(one.alone) for one in gains]
    federated = [percent(one.federated) for one in gains]
    return [
        Column(f"{name} % alone", alone, f"{name} %\nalone", right=True),
        Column("federated", federated, "feder-\nated", right=True),
        Column("gain (95 %)", [gain_words(one) for one in gains], "gain\n(95 %)", right=True),
    ]


def gain_words(one: Gain) -> str:
    """A gain in points with its interval, where it has one."""
    if one.low is None or one.high is None:
        return _signed(one.gain)
    return f"{_signed(one.gain)} ({_signed(one.low)} to {_signed(one.high)})"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f}"


def _summed(summed: Mapping[str, FigureSum]) -> list[Column]:
    each = [summed[name] for name in FIGURES]
    return [
        Column("mean of owners", [f"{NAMES[name]} %" for name in FIGURES]),
        Column("owners", [str(one.owners) for one in each], right=True),
        Column("alone", [percent(one.alone) for one in each], right=True),
        Column("federated", [percent(one.federated) for one in each], right=True),
        Column("gain", [_signed(one.gain) for one in each], right=True),
        Column("surely better", [str(one.better) for one in each], "surely\nbetter", right=True),
        Column("surely worse", [str(one.worse) for one in each], "surely\nworse", right=True),
    ]
