"""The beginning of a sealed session at a node: its key, everybody's keys, and what they may do."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from shared.errors import NodeFailed
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe
from shared.pointers.commands import JoinSealed, OpenSealed
from shared.pointers.sealed_sessions import (
    Party,
    SealedContext,
    SealedKey,
    common_secrets,
    read_keys,
)
from shared.secure_aggregation.contents import recipe_digest
from shared.secure_aggregation.key_agreement import PrivateKey
from shared.secure_aggregation.trust import Signer
from shared.secure_aggregation.violation import Violation
from worker_node.audit.lines import Entry
from worker_node.guarding.guard import Who
from worker_node.guarding.policy import refusal
from worker_node.guarding.sealing_terms import SealingTerms
from worker_node.node import DataOwnerNode
from worker_node.secure_aggregation.refusing import refusing

log = logging.getLogger("fedsms.node")


class _Begun(NamedTuple):
    context: SealedContext
    recipe: Recipe
    key: PrivateKey
    signed: bytes
    signer: Signer


class Sealing:
    """One connection's sealed sessions, one at a time."""

    def __init__(self, node: DataOwnerNode) -> None:
        self._node = node
        self._begun: _Begun | None = None
        self.about = ""
        """Of the session that was begun last, for the log."""

    async def open(self, command: OpenSealed, who: Who) -> bytes:
        """This node's signed SealedKey.

        Raises:
            PolicyRefused: the owner does not allow it, not to this coordinator, or not with these
                nodes. NodeFailed: it has no certificate, or no place for scores.
        """
        terms, recipe = self._terms(), Recipe.from_json(command.recipe)
        with refusing():
            context = SealedContext.unpack(command.context)
            if context.recipe != recipe_digest(recipe.to_json()):
                raise Violation("recipe", "the session is for another recipe")
            if self._node.id not in context.parties:
                raise Violation("roster", "this node has no part in the session")
        if context.owner == self._node.id:
            if terms.scores is None:
                raise NodeFailed("this node has no place for scores", "it keeps no counts")
            others = set(context.parties) - {self._node.id}
            await self._node.guard.may_share_messages(who, others, self._node.shard)
            self._node.guard.policy.check_recipe(recipe)
        else:
            await self._node.guard.may_share(who)
        first, second = context.holders
        self.about = (
            f"{first} and {second} hold shares, {context.provider} makes triples, "
            f"messages of {context.owner}"
        )
        signer = await asyncio.to_thread(terms.signer)
        key = PrivateKey()
        signed = SealedKey(
            context=command.context,
            party=signer.id,
            certificate=signer.certificate,
            key=key.public,
        ).sign(signer.key)
        self._begun = _Begun(context, recipe, key, signed, signer)
        return signed

    async def join(self, command: JoinSealed, who: Who) -> dict[str, Any]:
        """What the session's process is told: secrets, parts, and at the owner's node its ids.

        Raises PolicyRefused where a key is not what it must be, or not the pinned one.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            raise NodeFailed("no sealed session was begun here", "", "Begin it with open_sealed.")
        context, own = begun.context, str(self._node.id)
        with refusing():
            if begun.signed not in command.keys:
                raise Violation("own_keys", "this node's key does not stand among them")
            trust = begun.signer.trust
            parties = read_keys(command.keys, context, trust, datetime.now(UTC))
            common = common_secrets(begun.key, command.keys, parties)
        ids = np.empty((0, begun.recipe.text.width), np.int64)
        if context.owner == own:
            self._check_pinned(parties)
            texts = [message.text for message in self._node.shard.scored]
            found = await asyncio.to_thread(encode_all, texts, begun.recipe.text)
            ids = np.ascontiguousarray(found, np.int64)
        log.info("%s begins a sealed session of %s", who.name, ", ".join(context.parties))
        return {
            "own": own,
            "context": context.pack(),
            "common": common,
            "ids": ids.tobytes(),
            "shape": ids.shape,
            "words": begun.recipe.text.buckets,
            "tells": self._node.guard.policy.shared.tells_scores,
        }

    def _check_pinned(self, parties: dict[str, Party]) -> None:
        for name, party in parties.items():
            if name != self._node.id and party.fingerprint != self._terms().pinned.get(name):
                raise refusal(
                    "shared.messages_with",
                    f"{name} has another key than the one pinned here",
                    "Compare keys with its owner; nothing was shared with it.",
                )

    async def keep(self, who: Who, first: int, spam: list[float]) -> None:
        """Writes scores of this owner's messages down; `first` is counted from 0."""
        shard, terms = self._node.shard, self._terms()
        labels = [one.label for one in shard.scored[first : first + len(spam)]]
        await asyncio.to_thread(terms.keep, who.name, first + 1, labels, spam)
        told = "told" if self._node.guard.policy.shared.tells_scores else "told nobody else"
        entry = Entry("scores", detail=f"{len(spam)} of this owner's messages, {told}")
        await self._node.guard.record(who, entry)

    def _terms(self) -> SealingTerms:
        if self._node.sealing is None:
            raise NodeFailed(
                "this node has no certificate, and sealed sessions take one",
                next_step="Its owner makes one with: python -m worker_node init --id ID",
            )
        return self._node.sealing
