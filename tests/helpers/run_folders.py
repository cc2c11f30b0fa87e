"""Run folders of made-up rounds, with the files that real runs leave."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from server.rounds.records import NodeRound, Round
from server.runs.run_folder import RunFolder
from shared.files import append_lines
from shared.model.classifier import initial_state
from shared.model.metrics import BINS, ScoreSummary, metrics_from
from shared.model.recipe import Recipe
from shared.wire.timeouts import Timeouts
from tests.helpers.federating import of_rounds

OWNERS = ("anne", "bob", "carol")


def scores(quality: float, rows: int = 200) -> ScoreSummary:
    """Counts of a model: 0 guesses, 1 tells all ham from all spam."""
    generator = np.random.default_rng(int(1000 * quality))
    ham, spam = (
        np.bincount(
            np.clip(
                generator.normal(BINS / 2 + way * 500 * quality, 200, many), 0, BINS - 1
            ).astype(np.int64),
            minlength=BINS,
        )
        for way, many in ((-1, rows - rows // 5), (1, rows // 5))
    )
    return ScoreSummary(ham, spam, rows * (1.0 - 0.9 * quality))


def made_round(number: int, rounds: int, names: Sequence[str] = OWNERS) -> Round:
    """A round like a real one: figures grow, and each owner has its own."""
    quality = 1 - 0.8 / (1 + number / 3)
    found = scores(quality)
    nodes = [
        NodeRound.of(
            name,
            100 + 10 * place,
            1 - quality,
            metrics_from(scores(quality * (1 - 0.3 * place / len(names)))),
            1.5,
            training=0.9,
            evaluating=0.1,
            transfer=0.2,
            bytes_sent=200_000,
            bytes_received=150_000,
        )
        for place, name in enumerate(names)
    ]
    record = Round.of(number, rounds, nodes, metrics_from(found), 1.5, seconds_training=0.9)
    return replace(record, scores=found)


def made_run(
    parent: Path,
    recipe: Recipe,
    rounds: int,
    names: Sequence[str] = OWNERS,
    status: str = "completed",
    change: Callable[[Round], Round] = lambda record: record,
    **settings: Any,
) -> Path:
    """A run folder that has ended.

    Args:
        change: what becomes of each round.
        settings: what settings.json says otherwise.
    """
    found: dict[str, Any] = {
        "run": "0123",
        "recipe_name": "quick",
        "seed": 1,
        "checkpoints": 0,
        "min_nodes": "0.5",
        "cohort": 0,
        "timeouts": vars(Timeouts()),
        "mode": "rounds",
        "replay": False,
        "resumed_after": [],
        "coordinator": {"host": "here", "versions": {"fedsms": "0.1.0"}},
        "nodes": {name: {"url": "ws://h:1"} for name in names},
    }
    run = RunFolder(parent, "test", of_rounds(recipe, rounds), found | settings, 0)
    records = [change(made_round(number, rounds, names)) for number in range(1, rounds + 1)]
    before = [json.dumps(row) for record in records[:-1] for row in record.rows()]
    if before:
        append_lines(run.path / "metrics.jsonl", before)
    run.on_round(records[-1], initial_state(recipe, 1))
    run.finish(status)
    return run.path
