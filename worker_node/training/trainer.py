"""The trainer: a child process of the node that holds the owner's rows and does the arithmetic.

It never imports PySyft, so its torch is the plain one: PySyft's hook slows every torch call of the
process it is in. The node speaks to it over its standard input and output
(worker_node/training/pipes.py) and stays responsive meanwhile; a training that dies takes nothing
with it. When the node closes the pipe, or goes away, the trainer stops between two batches and
ends.

    python -m worker_node.training.trainer THREADS [FILES]

FILES is the number of a socket over which files come (worker_node/training/handing_over.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import FedsmsError
from shared.model.classifier import initial_state
from shared.model.coverage import coverage
from shared.model.many_texts import encode_all
from shared.model.metrics import Counts
from shared.model.recipe import Recipe, TextRecipe
from worker_node.data.shard import drawn_evenly, drawn_once
from worker_node.training import pipes
from worker_node.training.alone import against, train_alone
from worker_node.training.encoded_rows import EncodedRows
from worker_node.training.handing_over import HandedOver
from worker_node.training.local_training import TrainingDiverged, TrainingStopped, score, train
from worker_node.training.private_requests import counts_of, forget_features, release_of
from worker_node.training.secret_seed import mixed_seed, secret_of

MAX_CAUSE = 300  # characters
DIVERGED = "the loss is no finite number any more; a smaller learning rate may help"

REMARKED_ROWS = 2000
"""How many rows, evenly drawn, are looked at for what a recipe does not see of them."""

Rows = tuple[EncodedRows, npt.NDArray[np.integer]]
"""Ids (rows, recipe.text.width), and labels (rows,) with 1 for spam."""


class Trainer:
    """Answers the node's requests, one after the other."""

    def __init__(
        self, inbox: BinaryIO, outbox: BinaryIO, files: socket.socket | None = None
    ) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._rows_given = HandedOver(files)
        self._labels: dict[str, npt.NDArray[np.integer]] = {}
        self._encoded: dict[tuple[str, str], EncodedRows] = {}
        self._scored: Sequence[int] = ()
        self._kept_bytes = 0
        self._secret = b""

    def serve(self) -> None:
        """Runs until the node closes the pipe."""
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "forget": self._forget,
            "load": self._rows_given.load,
            "share": self._rows_given.share,
            "ends": self._rows_given.ends,
            "choose": self._rows_given.choose,
            "loaded": self._loaded,
            "train": self._train,
            "score": self._score,
            "compare": self._compare,
            "release": partial(release_of, self._every_row),
            "count": partial(counts_of, self._every_row),
        }
        _warm_up()
        self._tell({"event": "ready"})
        while (request := pipes.read(self._inbox)) is not None:
            try:
                self._tell({"event": "done", **actions[request["op"]](request)})
            except TrainingStopped:
                return
            except TrainingDiverged:
                self._tell({"event": "failed", "cause": DIVERGED, "by_numbers": True})
            except (FedsmsError, ValueError, RuntimeError, MemoryError) as error:
                traceback.print_exc()  # for the owner, in the node's log
                by_numbers = isinstance(error, ValueError)
                self._tell({"event": "failed", "cause": cause_of(error), "by_numbers": by_numbers})

    def _tell(self, message: dict[str, Any]) -> None:
        self._outbox.write(pipes.pack(message))
        self._outbox.flush()

    def _forget(self, _: dict[str, Any]) -> dict[str, Any]:
        self._rows_given.forget()
        self._labels.clear()
        self._encoded.clear()
        forget_features()
        return {}

    def _loaded(self, request: dict[str, Any]) -> dict[str, Any]:
        parts = self._rows_given.parts
        both = parts.values()
        self._secret = secret_of((messages.in_utf8(), messages.labels) for messages in both)
        for part, messages in parts.items():
            self._labels[part] = np.frombuffer(messages.labels, np.uint8)
        held_out = self._labels["held_out"]
        self._scored = drawn_once(len(held_out), request["most_scored"])
        self._kept_bytes = request["kept_bytes"]
        self._labels["held_out"] = held_out[list(self._scored)]
        return {}

    def _rows(self, part: str, text: TextRecipe) -> Rows:
        key = (part, text.model_dump_json())
        if key not in self._encoded:
            if all(text_key != key[1] for _, text_key in self._encoded):
                self._encoded.clear()  # of another recipe: kept, they would add up
            texts: Sequence[str] = self._rows_given.parts[part].texts
            if part == "held_out":
                texts = self._rows_given.parts[part].choice(self._scored).texts
            self._encoded[key] = EncodedRows(texts, text, self._kept_bytes)
            if part == "train":
                for line in self._remarks(text):  # for the owner, in the node's log
                    print(line, file=sys.stderr, flush=True)
        return self._encoded[key], self._labels[part]

    def _every_row(self, part: str, text: TextRecipe) -> Rows:
        """Likewise, and all of them: which ones are drawn of many hangs on how many there are, so
        that one message more would move all that a sum over them tells."""
        messages = self._rows_given.parts[part]
        return EncodedRows(messages.texts, text, 0), np.frombuffer(messages.labels, np.uint8)

    def _remarks(self, text: TextRecipe) -> list[str]:
        texts = self._rows_given.parts["train"].texts
        looked_at = [texts[index] for index in drawn_evenly(len(texts), REMARKED_ROWS)]
        lines = coverage(encode_all(looked_at, text), text).remarks(text)
        if lines and len(looked_at) < len(texts):
            lines.append(f"(looked at: {len(looked_at):,} of {len(texts):,} messages)")
        return lines

    def _train(self, request: dict[str, Any]) -> dict[str, Any]:
        recipe = Recipe.from_json(request["recipe"])
        tokens, labels = self._rows("train", recipe.text)
        order = request.get("order")
        result = train(
            np.frombuffer(request["state"], dtype="<f4"),
            tokens,
            labels,
            recipe,
            seed=mixed_seed(self._secret, request["seed"]),
            on_progress=self._progress,
            should_stop=self._should_stop,
            round_index=request["round"] - 1,
            order=None if order is None else mixed_seed(self._secret, order),
        )
        return {
            "state": result.state.astype("<f4", copy=False).tobytes(),
            "rows": result.rows,
            "batches": result.batches,
            "loss": result.loss,
            "seconds": result.seconds,
        }

    def _score(self, request: dict[str, Any]) -> dict[str, Any]:
        recipe = Recipe.from_json(request["recipe"])
        started = time.perf_counter()
        tokens, labels = self._rows("held_out", recipe.text)
        state = np.frombuffer(request["state"], dtype="<f4")
        summary = score(state, tokens, labels, recipe, self._progress)
        return {
            "ham": _sparse(summary.ham),
            "spam": _sparse(summary.spam),
            "loss_sum": summary.loss_sum,
            "seconds": time.perf_counter() - started,
        }

    def _compare(self, request: dict[str, Any]) -> dict[str, Any]:
        recipe = Recipe.from_json(request["recipe"])
        started = time.perf_counter()
        alone = train_alone(
            *self._rows("train", recipe.text),
            recipe,
            request["rounds"],
            request["start"],
            lambda number: mixed_seed(self._secret, (request["seed"] + number) % 2**63),
            mixed_seed(self._secret, request["seed"]),
            self._progress,
            self._should_stop,
        )
        federated = np.frombuffer(request["state"], dtype="<f4")
        rows = self._rows("held_out", recipe.text)
        found = against(alone, federated, *rows, recipe, mixed_seed(self._secret, request["seed"]))
        return {
            "ham": _sparse(found.federated.ham),
            "spam": _sparse(found.federated.spam),
            "loss_sum": found.federated.loss_sum,
            "alone_ham": _sparse(found.alone.ham),
            "alone_spam": _sparse(found.alone.spam),
            "alone_loss_sum": found.alone.loss_sum,
            "bounds": found.bounds,
            "seconds": time.perf_counter() - started,
        }

    def _progress(self, done: int, total: int, loss: float | None = None) -> None:
        self._tell({"event": "progress", "done": done, "total": total, "loss": loss})

    def _should_stop(self) -> bool:
        # The node asks one thing at a time, so what can be read now is the end of the pipe.
        return pipes.is_readable(self._inbox)


def cause_of(error: Exception) -> str:
    """What a coordinator is told of an error: our own words, or its kind where they are torch's.

    A library's words may hold paths, or values that it was working on.
    """
    if isinstance(error, (UnicodeError, RuntimeError, MemoryError)):
        return f"an error of the kind {type(error).__name__}; the node's own log has the rest"
    return str(error).splitlines()[0][:MAX_CAUSE] if str(error) else type(error).__name__


def _warm_up() -> None:
    """One made-up batch: torch loads much of itself at the first step, 2 s that no round should
    wait for."""
    recipe = Recipe()
    row = encode_all(["a made-up message"], recipe.text)
    train(initial_state(recipe, seed=0), row, np.array([1]), recipe, seed=0)


def _sparse(counts: Counts) -> dict[int, int]:
    """Bin number -> count, for the bins that hold rows."""
    return {int(number): int(counts[number]) for number in np.flatnonzero(counts)}


def run(threads: int, files: int | None = None) -> NoReturn:
    """Serves on standard input and output until the node closes it, and ends the process.

    Args:
        files: the descriptor of a socket over which files come.
    """
    # Whatever a library prints must not end up between the messages: keep the pipe for ourselves.
    outbox = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    # a node that ended, as one that was refused does at once, hears nothing more
    with open(0, "rb", closefd=False) as inbox, contextlib.suppress(BrokenPipeError):
        Trainer(inbox, outbox, None if files is None else socket.socket(fileno=files)).serve()
    # Taking torch apart object by object takes over a second, and the node waits for the end.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
