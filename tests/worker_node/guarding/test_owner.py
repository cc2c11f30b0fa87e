"""Whom the guard asks: the terminal, the page, or both at once; in this process, without a node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.helpers.federating import until
from worker_node.guarding.owner import Owner
from worker_node.guarding.owner_prompt import Terminal


class Sitting(Terminal):
    """A terminal whose answers the test gives, by question. there: whether somebody sits at it."""

    def __init__(self, there: bool = True, seconds: float = 60.0) -> None:
        super().__init__(seconds)
        self.there = there
        self.asked: dict[str, asyncio.Future[bool]] = {}
        self.withdrawn: list[str] = []

    @property
    def is_there(self) -> bool:
        return self.there

    async def ask(self, question: str) -> bool:
        self.asked[question] = asyncio.get_running_loop().create_future()
        try:
            return await self.asked[question]
        except asyncio.CancelledError:
            for _ in range(5):  # a terminal says so, which takes a moment
                await asyncio.sleep(0)
            self.withdrawn.append(question)
            raise


async def come(asked: Callable[[], bool], *ways: asyncio.Task[bool]) -> None:
    """Waits for questions, no longer than they wait for answers."""
    await until(lambda: asked() or any(way.done() for way in ways), "the question")
    assert asked()


def scene(
    of: Callable[[Owner, Sitting], Awaitable[None]], there: bool = True, page: bool = True
) -> None:
    """Runs it with an owner of whom nothing is asked afterwards."""

    async def begun() -> None:
        terminal = Sitting(there)
        owner = Owner(terminal)
        owner.has_page = page
        await of(owner, terminal)
        assert owner.waiting == []

    asyncio.run(begun())


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("page", [True, False])
def test_an_owner_is_there_at_the_terminal_or_on_the_page(there: bool, page: bool) -> None:
    owner = Owner(Sitting(there))
    assert owner.is_there is there  # nobody has a page before it is served
    owner.has_page = page
    assert owner.is_there is (there or page)


@pytest.mark.parametrize("yes", [True, False])
def test_without_a_page_the_terminals_answer_counts_alone(yes: bool) -> None:
    async def asked(owner: Owner, terminal: Sitting) -> None:
        way = asyncio.create_task(owner.ask("May anne?"))
        await come(lambda: "May anne?" in terminal.asked, way)
        assert owner.waiting == []
        terminal.asked["May anne?"].set_result(yes)
        assert await way is yes

    scene(asked, page=False)


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("where", ["terminal", "page"])
def test_of_both_the_first_answer_counts_and_the_question_goes_from_the_other(
    where: str, yes: bool
) -> None:
    async def asked(owner: Owner, terminal: Sitting) -> None:
        way = asyncio.create_task(owner.ask("May anne?"))
        await come(lambda: "May anne?" in terminal.asked, way)
        changes: list[int] = []
        owner.changed = lambda: changes.append(len(owner.waiting))
        at_terminal = terminal.asked["May anne?"]
        if where == "terminal":
            at_terminal.set_result(yes)
        else:
            assert owner.answer(1, yes) is True
        assert await way is yes
        assert terminal.withdrawn == (["May anne?"] if where == "page" else [])
        assert changes == [0]
        assert owner.answer(1, not yes) is False
        assert changes == [0]

    scene(asked)


@pytest.mark.parametrize("on_page", [True, False])
def test_of_two_answers_at_once_a_no_counts(on_page: bool) -> None:
    async def asked(owner: Owner, terminal: Sitting) -> None:
        way = asyncio.create_task(owner.ask("May anne?"))
        await come(lambda: "May anne?" in terminal.asked, way)
        assert owner.answer(1, on_page)
        terminal.asked["May anne?"].set_result(not on_page)
        assert await way is False

    scene(asked)


def test_where_nobody_sits_at_the_terminal_only_the_page_asks() -> None:
    async def asked(owner: Owner, terminal: Sitting) -> None:
        way = asyncio.create_task(owner.ask("May anne?"))
        await come(lambda: len(owner.waiting) == 1, way)
        assert owner.answer(1, True)
        assert await way
        assert terminal.asked == {}

    scene(asked, there=False)


def test_a_question_says_when_it_was_asked_and_until_when_it_waits() -> None:
    async def asked(owner: Owner, terminal: Sitting) -> None:
        before = datetime.now(UTC)
        ways = [asyncio.create_task(owner.ask(one)) for one in ("May anne?", "May bob?")]
        await come(lambda: len(owner.waiting) == 2, *ways)
        assert [one.number for one in owner.waiting] == [1, 2]
        for one in owner.waiting:
            assert before <= one.asked <= datetime.now(UTC)
            assert one.until - one.asked == timedelta(seconds=60)
        for number in (1, 2):
            assert owner.answer(number, True)
        assert all(await asyncio.gather(*ways))

    scene(asked)


@pytest.mark.parametrize("steps", range(6))
def test_an_answer_to_a_question_that_is_being_withdrawn_is_none(steps: int) -> None:
    """Whoever asked has gone away; the page is told a moment later."""

    async def asked(owner: Owner, terminal: Sitting) -> None:
        way = asyncio.create_task(owner.ask("May anne?"))
        await come(lambda: "May anne?" in terminal.asked, way)
        way.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        owner.answer(1, True)
        with pytest.raises(asyncio.CancelledError):
            await way
        assert terminal.withdrawn == ["May anne?"]

    scene(asked)
