"""A saved model whose predictions are computed on shares by three nodes, as `predict` has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from server.nodes.addresses import parse_node
from shared.errors import UsageError

if TYPE_CHECKING:  # it loads torch
    from server.encrypted.scorer import EncryptedScorer
    from shared.trained_model.saved_model import SavedModel

MOST_ROWS = 100
"""Messages in one go. A node holds some 2 MB of numbers for each while it computes."""


class Cost(NamedTuple):
    """What the coordinator's lines carried.

    bytes: both ways, of all nodes together. waits: how often an answer was waited for.
    """

    bytes: int
    waits: int

    def __str__(self) -> str:
        return f"{self.bytes / 1e6:.1f} MB, and {self.waits:,} waits for an answer."


def cost_of(workers: Sequence[Any]) -> Cost:
    """So far, the sharing of the model among it."""
    links = [one.link for one in workers]
    carried = sum(link.bytes_sent + link.bytes_received for link in links)
    return Cost(carried, sum(one.waits for one in workers))


class SealedScores(NamedTuple):
    """What a coordinator is told of an owner's messages.

    rows: that were scored. spam: probabilities, where the owner tells them, else None.
    """

    rows: int
    spam: list[float] | None
    cost: Cost


class SharedPrediction:
    """Logits of ids, as a plain scorer gives them, computed on shares.

    Args:
        workers: two that hold shares, and the one that makes triples.
    """

    def __init__(self, scorer: EncryptedScorer, workers: Sequence[Any]) -> None:
        self._scorer = scorer
        self._workers = workers

    def logits(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Logits (n,) of rows of ids (n, tokens).

        Raises:
            NodeFailed: a node could not do it. NodeUnreachable: a line broke.
        """
        starts = range(0, len(ids), MOST_ROWS)
        parts = [self._scorer.logits(ids[start : start + MOST_ROWS]) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def cost(self) -> Cost:
        """So far, the sharing of the model among it."""
        return cost_of(self._workers)


@contextmanager
def shared_prediction(
    saved: SavedModel, nodes: Sequence[str], identity: Path, insecure: bool
) -> Iterator[SharedPrediction]:
    """A model that is shared between the first two nodes, while the block runs.

    Args:
        nodes: ID=URL of three: two that hold shares, and the one that makes triples.

    Raises:
        UsageError: these are not three nodes, an address is none or has no TLS, or the model is no
            GRU of the article's. IdentityError: the identity folder is unfit. NodeUnreachable,
            HandshakeRefused: no such node. PolicyRefused: its owner does not allow sharing.
    """
    check_three(nodes)
    from server.encrypted.scorer import EncryptedScorer, check_encrypted
    from server.encrypted.secret import Parties
    from server.pointers import connect_shared, disconnect

    check_encrypted(saved.recipe)  # before anybody is dialled
    workers: list[Any] = []
    try:
        workers.extend(connect_shared(node, identity=identity, insecure=insecure) for node in nodes)
        first, second, provider = workers
        scorer = EncryptedScorer(saved.recipe, saved.state, Parties((first, second), provider))
        yield SharedPrediction(scorer, workers)
    finally:
        for one in workers:
            disconnect(one)


def sealed_prediction(
    saved: SavedModel, nodes: Sequence[str], owner: str, most: int, identity: Path, insecure: bool
) -> SealedScores:
    """Scores an owner's held-out messages with a model that no node sees, and nobody here them.

    Args:
        nodes: as of sealed_session. most: messages.

    Raises:
        UsageError: the nodes or the model are not fit. Others as sealed_session.
    """
    for node in nodes:
        check_place(node)
    from server.encrypted.scorer import check_encrypted
    from server.encrypted.sealed import sealed_session
    from server.encrypted.sealed_scorer import SealedScorer

    check_encrypted(saved.recipe)
    with sealed_session(nodes, owner, saved.recipe, identity=identity, insecure=insecure) as us:
        rows = min(most, us.owner.link.greeting.rows.get("held_out", most))
        spam = SealedScorer(saved.recipe, saved.state, us).score(rows)
        return SealedScores(rows, None if spam is None else spam.tolist(), cost_of(us.workers))


def check_place(node: str) -> None:
    """Raises UsageError for a node without an address."""
    if node and not set("=/:") & set(node):
        raise UsageError(
            f"{node!r} does not say where it is",
            "nodes that compute on shares are dialled",
            f"Write --node ID=URL, for example --node {node}=wss://10.0.0.7:8777.",
        )


def check_three(nodes: Sequence[str]) -> None:
    """Raises UsageError where these are not three different nodes that can be dialled."""
    for node in nodes:
        check_place(node)
    ids = [parse_node(node).id for node in nodes]
    if len(ids) != 3 or len(set(ids)) != 3:
        raise UsageError(
            "an encrypted prediction takes three nodes",
            f"{', '.join(ids) or 'none'} given",
            "Name the two that hold shares, and the one that makes random numbers for them: "
            "--node bob=URL --node anne=URL --node carol=URL",
        )
