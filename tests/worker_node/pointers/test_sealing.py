"""How a node begins a sealed session: each refusal is reached by one thing that is wrong."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import NodeFailed, PolicyRefused
from shared.identity.certificates import key_fingerprint
from shared.identity.folder import load
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.pointers.commands import JoinSealed, OpenSealed
from shared.pointers.sealed_sessions import (
    Seal,
    SealedContext,
    SealedKey,
    common_secrets,
    read_keys,
)
from shared.secure_aggregation.contents import recipe_digest
from shared.secure_aggregation.key_agreement import PrivateKey
from shared.secure_aggregation.trust import Signer
from tests.helpers.identities import make_federation
from tests.helpers.pointers import write_recipe
from tests.helpers.sealed import context_of
from worker_node.audit.log import AuditLog
from worker_node.data.messages import Message
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard, Who
from worker_node.guarding.policy import Policy
from worker_node.guarding.sealing_terms import SealingTerms
from worker_node.node import DataOwnerNode
from worker_node.pointers.sealing import Sealing
from worker_node.training.trainer_process import TrainerProcess

HELD_OUT = tuple(Message(number % 2, f"message number {number}") for number in range(6))
WHO = Who("127.0.0.1:5", "hospital", "AB:12")
OTHERS = ("anne", "carol")


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    made = make_federation(tmp_path_factory.mktemp("sealing"))
    return {
        name: Signer.of(load(made.node(name), "node")) for name in ("bob", "anne", "carol", "dora")
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return load_recipe(write_recipe(tmp_path_factory.mktemp("recipe")))


def terms_of(signers: Mapping[str, Signer], folder: Path) -> SealingTerms:
    pinned = {one: key_fingerprint(signers[one].key.public_key()) for one in OTHERS}
    return SealingTerms(lambda: signers["bob"], pinned, folder / "scores.csv")


def policy_of(**shared: Any) -> dict[str, Any]:
    named = {"coordinators": ["hospital"], "messages_with": list(OTHERS), **shared}
    return {"modes": ["shared"], "shared": named, "fewest_held_out_rows": 1}


class Bob:
    """Bob's node, and what a coordinator asks of it."""

    def __init__(
        self,
        signers: Mapping[str, Signer],
        recipe: Recipe,
        folder: Path,
        policy: Mapping[str, Any] | None = None,
        terms: SealingTerms | str | None = "his own",
    ) -> None:
        self.signers, self.recipe, self.folder = signers, recipe, folder
        self.audit = AuditLog(folder / "audit.jsonl")
        guard = Guard(Policy.model_validate(policy or policy_of()), self.audit)
        shard = Shard(HELD_OUT, HELD_OUT)
        found = terms_of(signers, folder) if isinstance(terms, str) else terms
        self.node = DataOwnerNode("bob", shard, TrainerProcess(shard), guard=guard, sealing=found)
        self.sealing = Sealing(self.node)

    def context(self, **changed: Any) -> SealedContext:
        digest = recipe_digest(self.recipe.to_json())
        return context_of(**changed).model_copy(update={"recipe": digest})

    async def open(self, context: SealedContext, recipe: Recipe | None = None) -> bytes:
        text = (recipe or self.recipe).to_json()
        return await self.sealing.open(OpenSealed(context=context.pack(), recipe=text), WHO)

    def others(self, context: SealedContext, **by: Signer) -> dict[str, tuple[PrivateKey, bytes]]:
        """Everybody else's keys. Args: by: who signs in place of somebody."""
        found = {}
        for name in context.parties:
            if name == "bob":
                continue
            own, signer = PrivateKey(), by.get(name, self.signers[name])
            key = SealedKey(
                context=context.pack(), party=name, certificate=signer.certificate, key=own.public
            )
            found[name] = (own, key.sign(signer.key))
        return found

    async def join(self, *keys: bytes) -> dict[str, Any]:
        return await self.sealing.join(JoinSealed(keys=list(keys)), WHO)

    def lines(self) -> list[dict[str, Any]]:
        text = (self.folder / "audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


Scene = Callable[[Bob], Awaitable[None]]


@pytest.fixture
def with_bob(signers: dict[str, Signer], recipe: Recipe, tmp_path: Path) -> Callable[..., None]:
    """Runs a scene with bob's node."""

    def run(scene: Scene, **options: Any) -> None:
        async def all_of_it() -> None:
            bob = Bob(signers, recipe, tmp_path, **options)
            try:
                await scene(bob)
            finally:
                await bob.node.trainer.close()
                await bob.audit.close()

        asyncio.run(all_of_it())

    return run


def refused(rule: str, why: str = "") -> Any:
    return pytest.raises(PolicyRefused, match=f"rule {rule.replace('.', '[.]')}\\b.*{why}")


def in_order(signed: Mapping[str, bytes]) -> list[bytes]:
    return [signed[name] for name in sorted(signed)]


@pytest.mark.parametrize("owner", ["bob", "anne", "dora"])
def test_a_session_begins_with_everybodys_keys_and_what_it_tells_its_process(
    with_bob: Callable[..., None], owner: str
) -> None:
    async def scene(bob: Bob) -> None:
        context = bob.context(owner=owner)
        own = await bob.open(context)
        assert bob.sealing.about == (
            f"bob and anne hold shares, carol makes triples, messages of {owner}"
        )
        signer = bob.signers["bob"]
        found = SealedKey.signed_by(own, signer.key.public_key(), "bob")
        assert (found.context, found.party) == (context.pack(), "bob")
        assert found.certificate == signer.certificate
        others = bob.others(context)
        signed = in_order({"bob": own, **{name: one for name, (_, one) in others.items()}})
        told = await bob.join(*signed)
        parties = read_keys(signed, context, signer.trust, datetime.now(UTC))
        for name, (key, _) in others.items():
            theirs = common_secrets(key, signed, parties)
            sealed = Seal(name, theirs).seal("bob", "x", (), b"data")
            assert Seal("bob", told["common"]).open(name, "x", (), sealed) == b"data"
        assert set(told["common"]) == set(context.parties)
        ids = np.frombuffer(told.pop("ids"), np.int64).reshape(told.pop("shape"))
        texts = [one.text for one in HELD_OUT]
        plain = encode_all(texts, bob.recipe.text) if owner == "bob" else np.empty((0, 6))
        assert ids.shape == plain.shape
        assert (ids == plain).all()
        del told["common"]
        assert told == {"own": "bob", "context": context.pack(), "words": 512, "tells": False}

    with_bob(scene)


def test_whether_scores_are_told_is_the_owners_word(with_bob: Callable[..., None]) -> None:
    async def scene(bob: Bob) -> None:
        context = bob.context()
        own = await bob.open(context)
        others = {name: one for name, (_, one) in bob.others(context).items()}
        assert (await bob.join(*in_order({"bob": own, **others})))["tells"] is True

    with_bob(scene, policy=policy_of(tells_scores=True))


def test_a_key_is_made_for_each_session_and_joins_one(with_bob: Callable[..., None]) -> None:
    async def scene(bob: Bob) -> None:
        with pytest.raises(NodeFailed, match="no sealed session was begun"):
            await bob.join()
        context = bob.context()
        first, own = await bob.open(context), await bob.open(context)
        assert first != own
        signed = {"bob": own, **{name: one for name, (_, one) in bob.others(context).items()}}
        await bob.join(*in_order(signed))
        with pytest.raises(NodeFailed, match="no sealed session was begun"):
            await bob.join(*in_order(signed))
        await bob.open(context)
        with refused("secure_aggregation.own_keys"):  # of the key before
            await bob.join(*in_order(signed))
        with pytest.raises(
            NodeFailed, match="no sealed session was begun"
        ):  # nor is it tried again
            await bob.join(*in_order(signed))

    with_bob(scene)


def test_keys_of_others_are_looked_at(with_bob: Callable[..., None]) -> None:
    async def scene(bob: Bob) -> None:
        for rule, by, left_out in (
            ("certificate", {"carol": bob.signers["dora"]}, ""),
            ("roster", {}, "carol"),
        ):
            context = bob.context()
            own = await bob.open(context)
            others = {name: one for name, (_, one) in bob.others(context, **by).items()}
            others.pop(left_out, None)
            with refused(f"secure_aggregation.{rule}"):
                await bob.join(*in_order({"bob": own, **others}))

    with_bob(scene)


@pytest.mark.parametrize("wrong", ["anne", "carol"])
def test_messages_are_shared_with_pinned_keys_alone(
    with_bob: Callable[..., None], signers: dict[str, Signer], tmp_path: Path, wrong: str
) -> None:
    """With another key than the pinned one; where bob holds shares of others', it is no matter."""
    terms = terms_of(signers, tmp_path)
    pinned = {**terms.pinned, wrong: key_fingerprint(signers["dora"].key.public_key())}

    async def scene(bob: Bob) -> None:
        for owner in ("bob", "anne"):
            context = bob.context(owner=owner)
            own = await bob.open(context)
            others = {name: one for name, (_, one) in bob.others(context).items()}
            signed = in_order({"bob": own, **others})
            if owner == "anne":
                assert (await bob.join(*signed))["own"] == "bob"
                continue
            with refused("shared.messages_with", f"{wrong} has another key"):
                await bob.join(*signed)

    with_bob(scene, terms=replace(terms, pinned=pinned))


def test_a_session_of_another_recipe_or_without_this_node_is_refused(
    with_bob: Callable[..., None],
) -> None:
    async def scene(bob: Bob) -> None:
        text = bob.recipe.text.model_copy(update={"buckets": 256})
        other = bob.recipe.model_copy(update={"text": text})
        with refused("secure_aggregation.recipe"):
            await bob.open(bob.context(), other)
        with refused("secure_aggregation.roster", "no part"):
            await bob.open(bob.context(holders=("dora", "anne"), owner="anne"))
        with refused("secure_aggregation.malformed"):
            command = OpenSealed(context=b"x", recipe=bob.recipe.to_json())
            await bob.sealing.open(command, WHO)
        assert bob.sealing.about == ""
        with pytest.raises(NodeFailed, match="no sealed session was begun"):
            await bob.join()

    with_bob(scene)


@pytest.mark.parametrize("part", ["owner", "holder", "provider"])
def test_a_coordinator_that_is_not_named_begins_nothing(
    with_bob: Callable[..., None], part: str
) -> None:
    parts: dict[str, dict[str, Any]] = {
        "owner": {},
        "holder": {"owner": "anne"},
        "provider": {"holders": ("dora", "anne"), "provider": "bob", "owner": "anne"},
    }

    async def scene(bob: Bob) -> None:
        with refused("shared.coordinators"):
            await bob.open(bob.context(**parts[part]))

    with_bob(scene, policy=policy_of(coordinators=["clinic"]))


def test_messages_are_shared_with_whom_their_owner_names_and_others_may_hold_others(
    with_bob: Callable[..., None],
) -> None:
    async def scene(bob: Bob) -> None:
        with refused("shared.messages_with", "carol"):
            await bob.open(bob.context())
        await bob.open(bob.context(owner="anne"))

    with_bob(scene, policy=policy_of(messages_with=["anne"]))


def test_a_recipe_that_the_owner_does_not_take_scores_no_messages_of_theirs(
    with_bob: Callable[..., None],
) -> None:
    async def scene(bob: Bob) -> None:
        with refused("recipe.tokens"):
            await bob.open(bob.context())
        await bob.open(bob.context(owner="anne"))

    with_bob(scene, policy={**policy_of(), "recipe": {"tokens": 5}})


def test_without_a_place_for_scores_no_messages_are_scored_and_others_still_are(
    with_bob: Callable[..., None], signers: dict[str, Signer], tmp_path: Path
) -> None:
    async def scene(bob: Bob) -> None:
        with pytest.raises(NodeFailed, match="no place for scores"):
            await bob.open(bob.context())
        await bob.open(bob.context(owner="anne"))

    with_bob(scene, terms=replace(terms_of(signers, tmp_path), scores=None))


def test_without_a_certificate_there_is_no_sealed_session(with_bob: Callable[..., None]) -> None:
    async def scene(bob: Bob) -> None:
        with pytest.raises(NodeFailed, match="no certificate, and sealed sessions take one"):
            await bob.open(bob.context(owner="anne"))

    with_bob(scene, terms=None)


@pytest.mark.parametrize("tells", [False, True])
def test_scores_are_kept_with_their_messages_and_the_log_says_who_knows_them(
    with_bob: Callable[..., None], tmp_path: Path, tells: bool
) -> None:
    async def scene(bob: Bob) -> None:
        await bob.sealing.keep(WHO, 0, [0.25, 0.5])
        await bob.sealing.keep(WHO, 3, [0.75])
        rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
        assert [
            (one["coordinator"], one["message"], one["label"], one["spam"]) for one in rows
        ] == [
            ("hospital", "1", "ham", "0.2500"),
            ("hospital", "2", "spam", "0.5000"),
            ("hospital", "4", "spam", "0.7500"),
        ]
        words = "told" if tells else "told nobody else"
        assert [(one["what"], one["who"], one["detail"]) for one in bob.lines()[-2:]] == [
            ("scores", "hospital", f"2 of this owner's messages, {words}"),
            ("scores", "hospital", f"1 of this owner's messages, {words}"),
        ]

    with_bob(scene, policy=policy_of(tells_scores=tells))
