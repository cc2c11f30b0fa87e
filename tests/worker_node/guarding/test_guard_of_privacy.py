"""The guard where recipes are private, and what it does with what it was given."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from shared.errors import NodeFailed, PolicyRefused
from shared.model.recipe import load_recipe
from shared.secure_aggregation.contents import recipe_digest
from shared.wire.commands import CountersignCommand, TrainCommand
from tests.worker_node.guarding.test_guard import ME, ROWS, SHARD, refused_by, tables
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.owner_prompt import Terminal
from worker_node.guarding.pace import Pace
from worker_node.guarding.private_releases import PrivateReleases

PRIVATE = load_recipe("private")
NOISE = {"differential_privacy": {"epsilon": 8.0, "held_out_epsilon": 2.0}}
LITTLE = {"differential_privacy": {"epsilon": 0.5, "held_out_epsilon": 2.0}}
ROUNDS = PRIVATE.federation.rounds


def private(**changes: Any) -> dict[str, Any]:
    return {"recipe": PRIVATE.to_json(), "rounds": ROUNDS, **changes}


def test_a_private_run_that_does_not_fit_is_refused_when_it_is_proposed() -> None:
    assert refused_by(Guard(tables(NOISE)), "propose train", **private()) is None
    little = Guard(tables(LITTLE))
    assert refused_by(little, "propose train", **private()) == "differential_privacy.epsilon"
    # what is remembered is told again without a charge; an evaluation has a budget of its own
    assert refused_by(little, "propose train", **private(is_known=True)) is None
    assert refused_by(little, "propose evaluate", **private()) is None


def test_a_run_without_noise_asks_the_ledger_nothing() -> None:
    class Untouched(PrivateReleases):
        async def may_begin(self, *_: Any) -> None:
            raise AssertionError("it was asked")

    policy = tables()
    guard = Guard(policy, releases=Untouched(policy.differential_privacy))
    assert refused_by(guard, "propose train") is None
    assert isinstance(guard.releases, Untouched)


def test_a_private_training_has_one_step_of_all_rows_and_no_bound_on_few() -> None:
    few = tables({"recipe": {"fewest_rows_a_step": 2000}})
    assert refused_by(Guard(few), "train", **private(rounds=ROUNDS)) is None
    assert refused_by(Guard(few), "train") == "recipe.fewest_rows_a_step"


@pytest.mark.parametrize("work", ["evaluate", "pointers"])
def test_an_evaluation_and_a_session_count_as_one_round(work: str) -> None:
    assert refused_by(Guard(tables({"recipe": {"rounds": 1}})), work) is None


def test_who_is_not_at_the_terminal_says_nothing_whatever_it_would_answer() -> None:
    class Away(Terminal):
        @property
        def is_there(self) -> bool:
            return False

        async def ask(self, question: str) -> bool:
            return True

    guard = Guard(tables({"ask": ["train"]}), terminal=Away())
    assert refused_by(guard, "train") == "ask"


def test_numbers_that_are_used_up_are_the_rule_of_pointers() -> None:
    guard = Guard(tables({"pointers": {"numbers": 0}}))
    with pytest.raises(PolicyRefused) as caught:
        guard.take_bits(1)
    assert caught.value.rule == "pointers.numbers"


@pytest.mark.parametrize(
    ("part", "rule"),
    [
        (NOISE, "differential_privacy.epsilon"),
        ({"secure_aggregation": {"required": True}}, "secure_aggregation.required"),
    ],
)
def test_rows_that_are_hidden_are_not_confirmed_by_a_signature(
    part: dict[str, Any], rule: str
) -> None:
    guard = Guard(tables(part, {"countersign": True}))
    asked: Any = CountersignCommand.model_construct
    asked = asked(rows=12)
    with pytest.raises(PolicyRefused) as caught:
        guard.countersign(ME, asked)
    assert caught.value.rule == rule


@pytest.mark.parametrize("hides", [True, False])
def test_rows_that_are_hidden_do_not_show_in_what_is_known_of_a_run(hides: bool) -> None:
    """Rows that are added amid a run are not told by rounds that are not known any more."""
    guard = Guard(tables(NOISE if hides else {}))

    async def two_rounds() -> None:
        recipe = PRIVATE.to_json()
        command = TrainCommand(
            state_id=1, result_id=2, run="r", recipe=recipe, seed=0, round=1, rounds=ROUNDS
        )
        await guard.may_train(ME, command, SHARD)
        more = Shard(ROWS, ())
        await guard.may_train(ME, command.model_copy(update={"round": 2}), more)

    asyncio.run(two_rounds())
    digest = recipe_digest(PRIVATE.to_json()).hex()
    known = guard._countersigning.participation
    told = CountersignCommand(run="r", recipe=digest, model="ab" * 32, rounds=[1, 2], rows=None)
    with contextlib.nullcontext() if hides else pytest.raises(NodeFailed, match="round 2"):
        known.check("hospital", told)


def test_who_asks_too_often_waits_as_long_as_the_pace_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    class Slow(Pace):
        def wait(self, who: str) -> float:
            return {"ab:cd": 2.5}.get(who, 0.0)

    monkeypatch.setattr("worker_node.guarding.guard.asyncio.sleep", sleep)
    asyncio.run(Guard(tables(), pace=Slow()).keep_pace(ME))
    assert slept == [2.5]
    slept.clear()

    class Quick(Pace):
        def wait(self, who: str) -> float:
            return 0.0

    asyncio.run(Guard(tables(), pace=Quick()).keep_pace(ME))
    assert slept == []
