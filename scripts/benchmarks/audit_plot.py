"""The audit's areas under the curve as a picture: how far above guessing each attack gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.needs import need

ATTACKS = ("bob's words", "bob's or anne's", "member, by loss", "member, by likelihood")
_COLOURS = {"plain": "#b03a2e", "secure": "#ca8a04", "private": "#2874a6", "both": "#1e8449"}
_GOAL = 55


def plot(areas: Mapping[str, Sequence[float]], path: Path) -> None:
    """Writes a PNG.

    Args:
        areas: of each kind of run, in %, in the order of ATTACKS.
    """
    need("matplotlib")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    width = 0.8 / len(areas)
    for place, (kind, values) in enumerate(areas.items()):
        where = [attack + (place - (len(areas) - 1) / 2) * width for attack in range(len(values))]
        # from 50, where guessing is, upwards or downwards
        above = [value - 50 for value in values]
        bars = axes.bar(where, above, width, bottom=50, color=_COLOURS[kind], label=kind)
        axes.bar_label(bars, [f"{value:.1f}" for value in values], fontsize=8, padding=1)
    axes.axhline(50, color="black", linewidth=0.8)
    axes.axhline(_GOAL, color="grey", linewidth=0.8, linestyle="dashed")
    axes.set_xticks(range(len(ATTACKS)), ATTACKS)
    axes.set_ylim(45, 105)
    axes.set_ylabel("ROC AUC, %; 50 is guessing")
    axes.legend(frameon=False, ncols=len(areas), loc="upper right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
