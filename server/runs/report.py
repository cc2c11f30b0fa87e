"""report.html: what a run folder holds, as one page that opens offline.

It is made from the folder's files alone, when a run ends and whenever somebody asks to see it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from server.display.page.html import page_of
from server.rounds.records import NodeRound, Round
from server.runs.comparison_file import read_comparison
from server.runs.resume import read_rounds, read_settings
from server.runs.scores_file import read_scores
from shared.errors import FedsmsError, one_line
from shared.files import is_present, read_bytes, write_whole
from shared.model.metrics import BINS_PER_LOGIT, LOWEST

REPORT = "report.html"
_MAX_BYTES = 64 * 2**20
_FIGURES = ("roc_auc", "average_precision", "precision", "recall", "f1", "mcc")
_DIGITS = 6
log = logging.getLogger("fedsms.coordinator")


def try_report(folder: Path) -> None:
    """Writes a run's report; what keeps it from that is a line in the log, and harms no run."""
    try:
        make_report(folder)
    except FedsmsError as error:
        log.warning("there is no report: %s", one_line(error))


def make_report(folder: Path) -> Path:
    """Writes a run's report.html anew, and gives its path.

    Raises:
        StorageError: it is no run folder, or damaged, or cannot be written to.
    """
    path = folder / REPORT
    write_whole(path, page_of({"runs": [run_data(folder)]}, f"fedsms: {folder.name}"))
    return path


def make_side_by_side(folders: Sequence[Path], path: Path) -> Path:
    """Writes one page of several runs; raises as `make_report` does.

    Args:
        path: of the page.
    """
    runs = [run_data(folder) for folder in folders]
    title = " and ".join(folder.name for folder in folders)
    write_whole(path, page_of({"runs": runs}, f"fedsms: {title}"))
    return path


def run_data(folder: Path) -> dict[str, Any]:
    """What the page shows of a run.

    Raises:
        StorageError: it is no run folder, or damaged.
    """
    values, settings = read_settings(folder)
    records = read_rounds(folder)
    last = records[-1].number if records else 0
    comparison = read_comparison(folder)
    return {
        "name": folder.name,
        "recipe_name": settings.recipe_name,
        "rounds": settings.recipe.federation.rounds,
        "summary": _summary(folder),
        "secure": values.get("secure_sums") is True,
        "settings": plain_settings(values),
        "versions": values.get("coordinator", {}).get("versions", {}),
        "nodes": {name: _node(one) for name, one in values["nodes"].items()},
        "overall": _overall(records),
        "by_node": _by_node(records, sorted(values["nodes"])),
        "scores": read_scores(folder, last),
        "bins": {"lowest": LOWEST, "per_logit": BINS_PER_LOGIT},
        "comparison": None if comparison is None else comparison.as_dict(),
    }


def round_data(record: Round, names: Sequence[str]) -> dict[str, Any]:
    """What a round adds to what `run_data` gives.

    Args:
        names: of the run's nodes.
    """
    return {"overall": _overall([record]), "by_node": _by_node([record], names)}


def _summary(folder: Path) -> dict[str, Any]:
    """summary.json; a run that has none goes on, or was killed."""
    path = folder / "summary.json"
    try:
        found = json.loads(read_bytes(path, _MAX_BYTES)) if is_present(path) else {}
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def plain_settings(values: dict[str, Any]) -> dict[str, Any]:
    """What settings.json says besides nodes and versions, in one level."""
    others = {"recipe", "nodes", "coordinator", "rows_at_start", "resumed_after"}
    kept = {name: value for name, value in values.items() if name not in others}
    kept["resumed after rounds"] = ", ".join(map(str, values["resumed_after"])) or "-"
    timeouts = kept.pop("timeouts", {})
    return {**_flat(values["recipe"], "recipe"), **kept, **_flat(timeouts, "timeouts")}


def _flat(tables: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{name}.{key}")
        else:
            found[f"{name}.{key}"] = value
    return found


def _node(one: dict[str, Any]) -> dict[str, Any]:
    names = ("rows", "labels", "versions", "certificate")
    return {name: one.get(name) for name in names}


def _overall(records: Sequence[Round]) -> dict[str, list[Any]]:
    """A list a figure, with an entry a round."""
    metrics = [record.metrics.as_dict() for record in records]
    counts = ("true_negatives", "false_positives", "false_negatives", "true_positives", "rows")
    return {
        "round": [record.number for record in records],
        "loss": _short(record.loss for record in records),
        "held_out_loss": _short(one["loss"] for one in metrics),
        **{name: _short(one[name] for one in metrics) for name in (*_FIGURES, *counts)},
        "seconds": _short(record.seconds for record in records),
        "seconds_outside": _short(record.seconds_outside for record in records),
        "bytes_sent": [sum(node.bytes_sent for node in one.nodes) for one in records],
        "bytes_received": [sum(node.bytes_received for node in one.nodes) for one in records],
    }


def _by_node(records: Sequence[Round], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A node's figures of the rounds that it is in, and why it is not in the others."""
    found: dict[str, dict[str, Any]] = {
        name: {
            "round": [],
            "loss": [],
            **{figure: [] for figure in _FIGURES},
            "seconds": dict.fromkeys(_PHASES, 0.0),
            "bytes_sent": 0,
            "bytes_received": 0,
            "left_out": [],
            "last": None,
        }
        for name in names
    }
    for record in records:
        for part in record.nodes:
            if part.node in found:
                _add(found[part.node], record.number, part)
        for name, why in record.without.items():
            if name in found:
                found[name]["left_out"].append([record.number, why])
    for one in found.values():
        one["left_out"] = _joined(one["left_out"])
        one["seconds"] = {phase: _rounded(value) for phase, value in one["seconds"].items()}
    return found


_PHASES = ("training", "evaluating", "transfer", "waiting")


def _add(kept: dict[str, Any], number: int, part: NodeRound) -> None:
    kept["round"].append(number)
    kept["loss"].append(_rounded(part.loss))
    metrics = part.metrics.as_dict() if part.metrics is not None else {}
    for figure in _FIGURES:
        kept[figure].append(_rounded(metrics.get(figure)))
    for phase in _PHASES:
        kept["seconds"][phase] += getattr(part, f"seconds_{phase}")
    kept["bytes_sent"] += part.bytes_sent
    kept["bytes_received"] += part.bytes_received
    if part.metrics is not None and (part.metrics.rows or kept["last"] is None):
        kept["last"] = {"train_rows": part.rows, **metrics}


def _joined(reasons: Iterable[tuple[int, str]]) -> list[list[Any]]:
    """Spans of rounds that follow each other for the same reason: first, last, why."""
    spans: list[list[Any]] = []
    for number, why in reasons:
        if spans and spans[-1][1] == number - 1 and spans[-1][2] == why:
            spans[-1][1] = number
        else:
            spans.append([number, number, why])
    return spans


def _short(values: Iterable[Any]) -> list[Any]:
    return [_rounded(value) for value in values]


def _rounded(value: Any) -> Any:
    """A figure with six digits, which is more than anybody sees; the files have them all."""
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
