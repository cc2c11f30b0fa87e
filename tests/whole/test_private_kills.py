"""A node is killed amid a private run, again and again: what it told was charged."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scripts.local.nodes import LocalNode, local_nodes
from server.nodes.members import Member
from server.rounds.exchange import Exchange
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from server.rounds.secure_exchange import SecureExchange
from shared.errors import NodeUnreachable, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import load_recipe
from tests.helpers.federating import members_of, of_rounds
from tests.helpers.messages import marked, write_tsv
from tests.helpers.secure_rounds import QUICK
from worker_node.privacy.accounts import Run
from worker_node.privacy.ledger import LEDGER, Ledger

KILLS = int(os.environ.get("FEDSMS_TESTS_KILLS", "3"))
"""50 were tried for docs/privacy.md; each is the start of a node."""
ROUNDS = 1000
RECIPE = of_rounds(load_recipe("private"), ROUNDS)
PLAN = Plan(seed=1, run="a")
pytestmark = pytest.mark.timeout(120 + 60 * KILLS)

Told = dict[int, str]
"""Round -> digest of the numbers that left."""


async def ask_until_killed(node: LocalNode, told: Told, seconds: float, at_once: bool) -> None:
    """Asks for a round after the other, from the newest that was told on; kills the node amid them.

    Args:
        told: what left before, which must be the same again where it is told again.
        seconds: after which it is killed; from now on where it is to be at once, else from the
            first answer on.
    """

    def kill_later() -> None:
        asyncio.get_running_loop().call_later(seconds, node.process.kill)

    async with members_of({"bob": node.url}, QUICK) as members:
        if at_once:
            kill_later()
        with pytest.raises(NodeUnreachable):
            await ask_for_rounds(members.all[0], told, None if at_once else kill_later)


async def ask_for_rounds(member: Member, told: Told, answered: Callable[[], None] | None) -> None:
    plain = Exchange(RECIPE, PLAN, lambda *_: None)
    exchange = SecureExchange(plain, RECIPE, PLAN, secure=False)
    state = initial_state(RECIPE, 1)
    newest = max(told, default=0)
    for number in range(max(newest, 1), ROUNDS + 1):
        base, part = OutgoingState(state.copy()), NodePart("bob")
        await plain.hold(number, member, base)
        try:
            numbers = np.asarray(await exchange.train(number, member, part, base))
        except PolicyRefused as error:
            # a later one was told to nobody, for the node was killed: only that one is stored
            if (number, error.rule) != (newest, "differential_privacy.one_release"):
                raise
            member.wake()
            continue
        if answered is not None:
            answered()
            answered = None
        digest = hashlib.sha256(numbers.tobytes()).hexdigest()
        assert told.setdefault(number, digest) == digest, "two noises for one round"


def check_ledger(path: Path, told: Told) -> float:
    """What is charged covers what was told. Gives what is spent."""
    ledger = Ledger(path)
    try:
        if not told and not ledger.accounts.runs:
            return 0.0  # killed before anything was asked
        ((which, run),) = ledger.accounts.runs.items()
        assert which == Run(which.who, PLAN.run, "training")
        assert {number: run.answered[number] for number in told} == told
        assert set(told) <= set(run.charged)
        return ledger.accounts.spent("training")[0]
    finally:
        ledger.close()


def test_what_a_node_told_before_it_was_killed_is_charged_and_told_again(tmp_path: Path) -> None:
    policy, counts = tmp_path / "policy.toml", tmp_path / "counts.json"
    policy.write_text("[differential_privacy]\nepsilon = 8.0\n", encoding="utf-8")
    data = write_tsv(tmp_path / "messages.tsv", marked(200))
    flags = ("--data", str(data), "--policy", str(policy), "--counts", str(counts))
    moments, told = random.Random(11), Told()
    for kill in range(KILLS):
        with local_nodes({"bob": flags}) as (node,):
            before = len(told)
            seconds = moments.uniform(0, min(0.5, 12 / KILLS))
            asyncio.run(ask_until_killed(node, told, seconds, at_once=kill % 2 == 1))
            node.process.wait()
        spent = check_ledger(tmp_path / LEDGER, told)
        assert (spent > 0) is bool(told)
        assert len(told) >= before
    assert told
