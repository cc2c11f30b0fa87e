"""A coordinator that wants more than a sum, against real nodes over TLS; and what it gets.

What the protocol refuses step by step is attacked message by message, in one process, in
tests/worker_node/secure_aggregation/; here the same kinds come over the wire, where a node also
decides what belongs to which run, round, state and connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.nodes.client import pack_state
from server.nodes.members import Member
from server.rounds.cohort import MinNodes
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.secure_rounds import SecureRounds
from server.rounds.secure_sums import RoundSums
from shared.errors import NodeFailed, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.secure_aggregation.fixed_point import decode
from shared.secure_aggregation.messages import Agreement, Delivery, Masked, Proposal, Roster
from shared.wire.timeouts import Timeouts
from tests.helpers.federating import Watcher, members_of
from tests.helpers.identities import Federation, make_federation
from tests.helpers.running import ROOT
from tests.helpers.secure_rounds import Federated, federated
from worker_node.guarding.policy import Policy
from worker_node.membership.peers import add_peer

pytestmark = pytest.mark.timeout(240)
OWNERS = ["anne", "bob", "carol", "dora"]
_RUNS = count()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("federation"))
    made.coordinator()  # nodes that join after it work with it
    return made


@dataclass
class Scene:
    """Real nodes, and a coordinator that takes the protocol's steps one by one."""

    found: Federated
    rounds: SecureRounds
    members: list[Member]
    base: OutgoingState
    parts: dict[str, NodePart]
    sums: RoundSums

    @property
    def bob(self) -> Member:
        return self.members[1]

    async def to_shares(self) -> None:
        """Keys, roster and shares of everybody."""
        await self.rounds._share_keys(self.sums, self.members, self.parts, self.base, {})

    async def to_vectors(self) -> None:
        """Everybody's masked vector is here."""
        await self.to_shares()
        for member in self.members:
            await self.rounds._deliver(self.sums, member)
            masked = await self.train(member)
            self.sums["training"].take_masked(member.id, masked)

    async def train(self, member: Member, state: OutgoingState | None = None) -> bytes:
        part = self.parts[member.id]
        return await self.rounds._exchange.train(self.sums.number, member, part, state or self.base)

    async def to_agreement(self) -> bytes:
        await self.to_vectors()
        total = self.sums["training"]
        for member in self.members:
            signed = await self.step(member, "agree", total.make_proposal())
            total.take_statement(member.id, signed)
        return total.make_agreement()

    async def step(self, member: Member, step: Any, data: bytes, number: int = 1) -> bytes:
        return await self.rounds._exchange.step(number, member, "training", step, data)

    async def finishes(self) -> None:
        """After all that, the same nodes train in a sum of another coordinator's run."""
        self.found.run = f"after-{next(_RUNS)}"
        watcher = Watcher()
        await self.found.trained(watcher)
        assert [len(record.nodes) for record in watcher.rounds] == [4, 4]


@asynccontextmanager
async def scene(
    federation: Federation,
    recipe: Recipe,
    policies: dict[str, Policy] | None = None,
    state: Vector | None = None,
) -> AsyncIterator[Scene]:
    """Args: state: (P,), that the round begins with; None takes a run's first."""
    async with federated(federation, OWNERS, recipe, policies) as found:
        found.run = f"attacked-{next(_RUNS)}"
        async with found.members() as members:
            lead = found.lead(members, Watcher())
            rounds = lead._gathering
            assert isinstance(rounds, SecureRounds)
            base = OutgoingState(initial_state(recipe, 1) if state is None else state)
            parts = {one.id: NodePart(one.id) for one in members.all}
            sums = rounds._new_sums(1, base)
            yield Scene(found, rounds, list(members.all), base, parts, sums)


Attack = Callable[[Scene], Awaitable[object]]


async def two_rosters(scene: Scene) -> None:
    await scene.to_shares()
    keys = Roster.unpack(scene.sums["training"].make_roster()).keys
    await scene.step(scene.bob, "share", Roster(keys=keys[:3]).pack())


async def a_roster_without_its_own_keys(scene: Scene) -> None:
    await scene.to_shares()
    keys = [
        await scene.rounds._exchange.keys(2, member, "training", scene.base.id)
        for member in scene.members
    ]
    await scene.step(scene.members[3], "share", Roster(keys=tuple(keys[:3])).pack(), number=2)


async def keys_of_an_earlier_round(scene: Scene) -> None:
    await scene.to_vectors()
    keys = Roster.unpack(scene.sums["training"].make_roster()).keys
    fresh = scene.rounds._new_sums(2, scene.base)
    own = await scene.rounds._exchange.keys(2, scene.bob, "training", scene.base.id)
    assert fresh.number == 2
    roster = Roster(keys=(keys[0], own, *keys[2:]))
    await scene.step(scene.bob, "share", roster.pack(), number=2)


async def a_share_that_was_changed(scene: Scene) -> None:
    await scene.to_shares()
    envelopes = Delivery.unpack(scene.sums["training"].make_delivery("bob")).envelopes
    data, path, dealing = envelopes[-1]
    changed = (data[:-1] + bytes([data[-1] ^ 1]), path, dealing)
    delivery = Delivery(envelopes=(*envelopes[:-1], changed))
    await scene.step(scene.bob, "receive", delivery.pack())


async def another_model_than_the_keys_are_for(scene: Scene) -> None:
    await scene.to_shares()
    await scene.rounds._deliver(scene.sums, scene.bob)
    other = OutgoingState(np.zeros_like(scene.base.state))
    await scene.bob.client.send_state(pack_state(other.state, None, other.id))
    await scene.train(scene.bob, other)


async def another_place_in_the_schedule(scene: Scene) -> None:
    """Others would be trained at the schedule's end, with rates near 0, and bob at its height."""
    await scene.to_shares()
    await scene.rounds._deliver(scene.sums, scene.bob)
    command = scene.rounds._plain.training(1, "bob", scene.base, secure=True)
    false = command.model_copy(update={"rounds": command.rounds + 5})
    await scene.bob.client.train_secretly(false, lambda _: None)


async def another_recipe_than_the_keys_are_for(scene: Scene) -> None:
    await scene.to_shares()
    await scene.rounds._deliver(scene.sums, scene.bob)
    command = scene.rounds._plain.training(1, "bob", scene.base, secure=True)
    recipe = scene.found.recipe
    false = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"learning_rate": 0.5})}
    )
    await scene.bob.client.train_secretly(
        command.model_copy(update={"recipe": false.to_json()}), lambda _: None
    )


async def a_vector_before_anybody_dealt(scene: Scene) -> None:
    await scene.to_shares()
    await scene.train(scene.bob)


async def the_round_once_more_from_another_state(scene: Scene) -> None:
    await scene.to_vectors()
    other = OutgoingState(np.ones_like(scene.base.state))
    await scene.bob.client.send_state(pack_state(other.state, None, other.id))
    await scene.rounds._exchange.keys(1, scene.bob, "training", other.id)


async def survivor_and_lost(scene: Scene) -> None:
    await scene.to_vectors()
    masking = scene.sums["training"].masking
    false = Proposal(masking=masking, survivors=tuple(OWNERS), lost=("dora",))
    await scene.step(scene.bob, "agree", false.pack())


async def two_sets(scene: Scene) -> None:
    await scene.to_vectors()
    await scene.step(scene.bob, "agree", scene.sums["training"].make_proposal())
    masking = scene.sums["training"].masking
    other = Proposal(masking=masking, survivors=("anne", "bob", "carol"), lost=("dora",))
    await scene.step(scene.bob, "agree", other.pack())


async def too_few_survivors(scene: Scene) -> None:
    await scene.to_vectors()
    masking = scene.sums["training"].masking
    alone = Proposal(masking=masking, survivors=("bob",), lost=("anne", "carol", "dora"))
    await scene.step(scene.bob, "agree", alone.pack())


async def an_agreement_that_too_few_signed(scene: Scene) -> None:
    await scene.to_vectors()
    total = scene.sums["training"]
    proposal = total.make_proposal()
    signed = await scene.step(scene.bob, "agree", proposal)
    await scene.step(scene.bob, "open", Agreement(statements=(signed,)).pack())


async def shares_of_a_round_that_is_over(scene: Scene) -> None:
    agreement = await scene.to_agreement()
    for number in (2, 3):
        await scene.rounds._exchange.keys(number, scene.bob, "training", scene.base.id)
    await scene.step(scene.bob, "open", agreement, number=1)


async def somebody_elses_agreement(scene: Scene) -> None:
    agreement = await scene.to_agreement()
    scene.found.run = "another"
    await scene.rounds._exchange.keys(2, scene.bob, "training", scene.base.id)
    await scene.step(scene.bob, "open", agreement, number=2)


ATTACKS: list[tuple[str, str, Attack]] = [
    ("one_roster", "two rosters for one sum", two_rosters),
    ("own_keys", "a roster without the node's own keys", a_roster_without_its_own_keys),
    ("round", "others' keys of an earlier round", keys_of_an_earlier_round),
    ("signature", "a share that was changed on its way", a_share_that_was_changed),
    ("state", "another model than the keys are for", another_model_than_the_keys_are_for),
    ("rounds", "another place in the schedule for one owner", another_place_in_the_schedule),
    ("recipe", "another recipe for one owner", another_recipe_than_the_keys_are_for),
    ("order", "a vector before anybody dealt shares", a_vector_before_anybody_dealt),
    ("state", "the round once more, from another state", the_round_once_more_from_another_state),
    ("survivor_and_lost", "an owner as survivor and as lost", survivor_and_lost),
    ("one_set", "two sets of survivors", two_sets),
    ("fewest_owners", "a sum of one", too_few_survivors),
    ("agreement", "an agreement that too few signed", an_agreement_that_too_few_signed),
    ("order", "shares of a round that is over", shares_of_a_round_that_is_over),
    ("order", "another sum's agreement", somebody_elses_agreement),
]


@pytest.mark.parametrize(
    ("rule", "words", "attack"), ATTACKS, ids=[attack.__name__ for *_, attack in ATTACKS]
)
def test_a_coordinator_gets_a_refusal_by_rule_and_nothing_else(
    federation: Federation, recipe: Recipe, rule: str, words: str, attack: Attack
) -> None:
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    assert f"| {words} | `{rule}` |" in page

    async def work() -> None:
        async with scene(federation, recipe) as attacked:
            with pytest.raises(PolicyRefused) as refused:
                await attack(attacked)
            assert refused.value.rule == f"secure_aggregation.{rule}"
            await attacked.finishes()

    asyncio.run(work())


def test_a_repeated_step_has_the_same_answer_and_no_other_shares(
    federation: Federation, recipe: Recipe
) -> None:
    async def work() -> None:
        async with scene(federation, recipe) as attacked:
            agreement = await attacked.to_agreement()
            first = await attacked.step(attacked.bob, "open", agreement)
            assert await attacked.step(attacked.bob, "open", agreement) == first
            assert await attacked.train(attacked.bob) == await attacked.train(attacked.bob)

    asyncio.run(work())


def test_what_leaves_is_not_the_plain_vector_and_no_index_of_a_row(
    federation: Federation, recipe: Recipe
) -> None:
    async def work() -> None:
        async with scene(federation, recipe) as attacked:
            await attacked.to_shares()
            for member in attacked.members:
                await attacked.rounds._deliver(attacked.sums, member)
            masked = Masked.unpack(await attacked.train(attacked.bob), 2**30)
            numbers = np.frombuffer(masked.numbers, "<u8")
            # dense, and none of the numbers of rows that nobody wrote is what it was
            assert numbers.size == recipe.parameters + 3
            reached = np.abs(decode(numbers.copy(), 1)[: recipe.parameters].astype(float))
            assert np.median(reached) > 2.0**60

    asyncio.run(work())


def test_a_policy_that_demands_sums_is_not_passed_by_what_is_remembered(
    federation: Federation, recipe: Recipe
) -> None:
    """A training for a sum is remembered, and asked for in clear, by its own coordinator."""
    demanding = Policy.model_validate({"secure_aggregation": {"required": True}})

    async def work() -> None:
        async with scene(federation, recipe, {"bob": demanding}) as attacked:
            await attacked.to_vectors()
            command = attacked.rounds._plain.training(1, "bob", attacked.base)
            with pytest.raises(PolicyRefused) as refused:
                await attacked.bob.client.train(command, lambda _: None)
            assert refused.value.rule == "secure_aggregation.required"
            await attacked.finishes()

    asyncio.run(work())


def test_a_node_without_a_certificate_takes_part_in_nothing(
    nodes: Any, recipe: Recipe, tmp_path: Path
) -> None:

    async def work() -> None:
        async with members_of({nodes[1].id: nodes[1].url}, Timeouts()) as members:
            (bob,) = members.all
            assert bob.link is not None
            assert not bob.link.greeting.secure_aggregation
            state = OutgoingState(initial_state(recipe, 1))
            await bob.client.send_state(pack_state(state.state, None, state.id))
            found = Federated({}, tmp_path, recipe)
            lead = found.lead(members, Watcher())
            assert isinstance(lead._gathering, SecureRounds)
            with pytest.raises(NodeFailed, match="takes part in no secure sums"):
                await lead._gathering._exchange.keys(1, bob, "training", state.id)

    asyncio.run(work())


def test_a_minted_owner_is_refused_by_whoever_pins_another_key(
    federation: Federation, recipe: Recipe
) -> None:
    """The CA certifies somebody else as anne; bob compared her key by telephone."""
    add_peer(federation.node("bob"), "anne", ":".join(["ab"] * 32))
    pinning = Policy.model_validate(
        {"secure_aggregation": {"pinned": ["anne"], "fewest_pinned": 1}}
    )

    async def work() -> None:
        async with scene(federation, recipe, {"bob": pinning}) as attacked:
            watcher = Watcher()
            await attacked.found.trained(watcher, min_nodes=MinNodes.parse("0.5"))
            assert len(watcher.rounds) == recipe.federation.rounds
            for record in watcher.rounds:
                assert [node.node for node in record.nodes] == ["anne", "carol", "dora"]
                assert "rule secure_aggregation.pinned" in record.left_out["bob"]

    asyncio.run(work())
