"""How much noise a node adds, whether its budget has room, and what it says where it has not."""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

from shared.errors import NodeFailed, PolicyRefused
from shared.model.recipe import Recipe, load_recipe
from worker_node.guarding.private_releases import PrivateReleases, Release
from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
from worker_node.privacy.accounts import Part, Run
from worker_node.privacy.chain_file import anchor_of
from worker_node.privacy.ledger import LEDGER, Ledger

PRIVATE = load_recipe("private")
ROUNDS, DELTA = PRIVATE.federation.rounds, PRIVATE.privacy.delta


def asking(epsilon: float, held_out: float = 2.0) -> Recipe:
    privacy = PRIVATE.privacy.model_copy(update={"epsilon": epsilon, "held_out_epsilon": held_out})
    return PRIVATE.model_copy(update={"privacy": privacy})


def releases(
    epsilon: float = 8.0, held_out: float = 4.0, owners: int = 0, ledger: Ledger | None = None
) -> PrivateReleases:
    terms = DifferentialPrivacyTerms(
        epsilon=epsilon, held_out_epsilon=held_out, honest_owners=owners, delta=DELTA
    )
    return PrivateReleases(terms, ledger)


def run(act: Callable[[], Awaitable[None]]) -> None:
    async def begun() -> None:
        await act()

    asyncio.run(begun())


async def refused(work: Awaitable[object]) -> PolicyRefused:
    with pytest.raises(PolicyRefused) as caught:
        await work
    return caught.value


def google(deviation: float, times: int) -> float:
    """The epsilon of so many releases with so much noise, by Google's accountant."""
    one = from_gaussian_mechanism(deviation, value_discretization_interval=1e-3)
    return float(one.self_compose(times).get_epsilon_for_delta(DELTA))


@pytest.mark.parametrize(
    ("part", "epsilon", "times"), [("training", 3.0, ROUNDS), ("held_out", 1.5, 1)]
)
@pytest.mark.parametrize("others", [0, 3])
def test_all_releases_of_a_run_tell_what_its_recipe_asks_for_with_the_noise_of_who_is_trusted(
    part: Part, epsilon: float, times: int, others: int
) -> None:
    node = releases(owners=others)
    recipe = asking(3.0, 1.5)
    alone = node.noise_of(recipe, part, is_secure=False)
    together = node.noise_of(recipe, part, is_secure=True)
    assert google(alone.multiplier, times) == pytest.approx(epsilon, rel=5e-3)
    assert alone.terms.mu == alone.terms.alone == pytest.approx(math.sqrt(times) / alone.multiplier)
    # variances add up: this node's and that of the others who are trusted
    whole = math.sqrt((others + 1) * together.multiplier**2)
    assert google(whole, times) == pytest.approx(epsilon, rel=5e-3)
    assert together.terms.mu == pytest.approx(math.sqrt(times) / whole)
    assert together.terms.alone == pytest.approx(math.sqrt(times) / together.multiplier)
    digest = hashlib.sha256(recipe.to_json().encode()).hexdigest()
    for one in (alone, together):
        assert (one.terms.releases, one.terms.recipe) == (times, digest)


def test_a_recipe_without_noise_for_others_than_the_node_trusts_is_no_way_round() -> None:
    """The trust is the owner's: a recipe says nothing of it."""
    few, many = (releases(owners=owners).noise_of(PRIVATE, "training", True) for owners in (0, 8))
    assert few.multiplier == pytest.approx(3 * many.multiplier)


def test_a_run_fits_up_to_the_very_budget_and_the_refusal_names_the_whole_of_it() -> None:
    async def act() -> None:
        node = releases(epsilon=3.0)
        await node.may_begin("hospital", "one", asking(3.0), False)
        assert node.ledger.accounts.runs == {}  # nothing is spent by asking
        error = await refused(node.may_begin("hospital", "one", asking(3.001), False))
        assert error.rule == "differential_privacy.epsilon"
        assert "3 in total" in error.words
        assert "budget shows what is left" in str(error)

    run(act)


def test_who_demands_no_noise_sets_no_bound() -> None:
    async def act() -> None:
        await releases(epsilon=0.0).may_begin("hospital", "one", asking(64.0), False)

    run(act)


def test_a_secure_run_is_charged_what_it_tells_through_the_sum() -> None:
    async def act() -> None:
        node = releases(epsilon=3.0, owners=3)
        noise = node.noise_of(asking(3.0), "training", True)
        await node.may_begin("hospital", "one", asking(3.0), True)
        await node.charge(Release(Run("hospital", "one", "training"), 1, "x"), noise.terms)
        mu, alone = node.ledger.accounts.spent("training")
        assert alone == pytest.approx(2 * mu)
        # the same run asked for outside a secure sum is another
        error = await refused(node.may_begin("hospital", "one", asking(3.0), False))
        assert error.rule == "differential_privacy.run"
        assert "Begin a new run." in str(error)

    run(act)


@pytest.mark.parametrize(
    ("part", "rule", "words"),
    [
        ("training", "epsilon", "3 in total"),
        ("held_out", "held_out_epsilon", "1.5 in total"),
    ],
)
def test_each_part_of_the_rows_has_its_own_budget(part: Part, rule: str, words: str) -> None:
    async def act() -> None:
        node = releases(epsilon=3.0, held_out=1.5)
        terms = node.noise_of(asking(3.0, 1.5), part, False).terms
        await node.charge(Release(Run("hospital", "one", part), 1, "x"), terms)
        error = await refused(node.charge(Release(Run("hospital", "two", part), 1, "x"), terms))
        assert error.rule == f"differential_privacy.{rule}"
        assert words in error.words
        other: Part = "held_out" if part == "training" else "training"
        terms = node.noise_of(asking(3.0, 1.5), other, False).terms
        await node.charge(Release(Run("hospital", "two", other), 1, "x"), terms)

    run(act)


def test_what_was_told_is_told_again_and_nothing_else_under_its_number(tmp_path: Path) -> None:
    release = Release(Run("hospital", "one", "training"), 1, "x")

    async def act() -> None:
        node = releases(ledger=Ledger(tmp_path / LEDGER))
        assert await node.told(release) is None
        await node.charge(release, node.noise_of(PRIVATE, "training", False).terms)
        assert await node.told(release) is None
        await node.answer(release, b"numbers")
        assert await node.told(release) == b"numbers"
        error = await refused(node.told(release._replace(inputs="y")))
        assert error.rule == "differential_privacy.one_release"
        assert "a budget of its own" in str(error)
        assert await node.look(lambda accounts: len(accounts.runs)) == 1
        node.ledger.close()
        again = releases(ledger=Ledger(tmp_path / LEDGER))
        assert await again.told(release) == b"numbers"
        again.ledger.close()

    run(act)


def test_a_ledger_that_cannot_be_written_is_the_nodes_trouble_and_no_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act() -> None:
        node = releases(ledger=Ledger(tmp_path / LEDGER))
        anchor_of(tmp_path / LEDGER).unlink()
        terms = node.noise_of(PRIVATE, "training", False).terms
        with pytest.raises(NodeFailed, match="cannot keep its privacy ledger") as caught:
            await node.charge(Release(Run("hospital", "one", "training"), 1, "x"), terms)
        assert str(tmp_path) not in str(caught.value)
        node.ledger.close()

    run(act)
    assert str(tmp_path) in caplog.text  # the owner is told where


def test_whoever_stops_waiting_ends_no_write_and_the_next_one_comes_after_it() -> None:
    """Two at once would both see room for a budget that has room for one."""
    began, another = threading.Event(), threading.Event()

    class Slow(Ledger):
        def charge(self, *arguments: object) -> None:
            if began.is_set():
                another.set()
            began.set()
            overlaps.append(another.wait(0.3 if not overlaps else 0))
            super().charge(*arguments)  # type: ignore[arg-type]

    overlaps: list[bool] = []

    async def act() -> None:
        node = releases(epsilon=3.0, ledger=Slow())
        terms = node.noise_of(asking(3.0), "training", False).terms
        first, second = (
            asyncio.create_task(
                node.charge(Release(Run("hospital", run, "training"), 1, "x"), terms)
            )
            for run in ("one", "two")
        )
        assert await asyncio.to_thread(began.wait, 30)
        first.cancel()
        error = await refused(second)
        assert error.rule == "differential_privacy.epsilon"
        assert [one.run for one in node.ledger.accounts.runs] == ["one"]
        assert overlaps[0] is False

    run(act)


def test_releases_of_one_run_come_one_by_one_and_those_of_others_beside_them() -> None:
    one, other = Run("hospital", "one", "training"), Run("hospital", "other", "training")
    order: list[str] = []

    async def takes(node: PrivateReleases, which: Run, name: str, ends: asyncio.Event) -> None:
        async with node.turn_of(which):
            order.append(f"{name} begins")
            await ends.wait()
            order.append(f"{name} ends")
            if name == "first":
                raise ValueError("it failed")

    async def act() -> None:
        node, ends = releases(), asyncio.Event()
        ways = [
            asyncio.create_task(takes(node, which, name, ends))
            for which, name in ((one, "first"), (one, "second"), (other, "beside"))
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        assert order == ["first begins", "beside begins"]
        ends.set()
        failed, *_ = await asyncio.gather(*ways, return_exceptions=True)
        assert isinstance(failed, ValueError)
        assert order[-2:] == ["second begins", "second ends"]

    run(act)
