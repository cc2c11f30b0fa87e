"""The guard alone: every rule for every kind of work, what counts, and what cannot be kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import NodeFailed, PolicyRefused, StorageError
from shared.model.recipe import Recipe
from shared.wire.commands import (
    CompareCommand,
    CountersignCommand,
    EvaluateCommand,
    ProposeCommand,
    TrainCommand,
)
from worker_node.audit.lines import Entry
from worker_node.data.shard import Message, Shard
from worker_node.guarding.day_counts import DayCounts
from worker_node.guarding.guard import Guard, Who
from worker_node.guarding.owner_prompt import Terminal
from worker_node.guarding.pace import Pace
from worker_node.guarding.policy import Policy

ROWS = tuple(Message(number % 2, f"message {number}") for number in range(20))
SHARD = Shard(ROWS[:12], ROWS[12:])
RECIPE = Recipe.model_validate(
    {
        "text": {"tokens": 12, "buckets": 512},
        "model": {"embedding": 8, "hidden": 6},
        "training": {"batch_size": 16, "local_epochs": 2},
    }
)
ME = Who("10.0.0.1:5", "hospital", "ab:cd")
WORKS = ("train", "evaluate", "compare", "pointers", "propose train", "propose evaluate")


def tables(*parts: dict[str, Any]) -> Policy:
    """A policy that allows all work, with these tables changed."""
    whole: dict[str, Any] = {"modes": ["train", "evaluate", "compare", "pointers"]}
    for part in parts:
        whole |= part
    return Policy.model_validate(whole)


async def ask(guard: Guard, work: str, who: Who = ME, **changes: Any) -> None:
    """As a session does, for one kind of work."""
    recipe = changes.pop("recipe", RECIPE.to_json())
    told: dict[str, Any]
    if work == "pointers":
        await guard.may_point(who, recipe, SHARD)
    elif work == "train":
        wanted = {"state_id": 1, "result_id": 2, "run": "r", "seed": 0, "round": 1, "rounds": 3}
        await guard.may_train(who, TrainCommand(recipe=recipe, **{**wanted, **changes}), SHARD)
    elif work == "compare":
        told = {"state_id": 1, "run": "r", "rounds": 3, "start": 1, "seed": 2, **changes}
        await guard.may_compare(who, CompareCommand(recipe=recipe, **told), SHARD)
    elif work == "evaluate":
        told = {"state_id": 1, "base_id": None, "secure": ("r", 1) if changes else None}
        await guard.may_evaluate(who, EvaluateCommand(recipe=recipe, **told), SHARD)
    else:
        is_known = changes.pop("is_known", False)
        told = {"work": work.split()[1], "run": "r", "rounds": 3}
        command = ProposeCommand(recipe=recipe, **{**told, **changes})
        await guard.may_propose(who, command, SHARD, is_known=is_known)


def refused_by(guard: Guard, work: str, **changes: Any) -> str | None:
    """The rule that says no; None where none does."""
    try:
        asyncio.run(ask(guard, work, **changes))
    except PolicyRefused as error:
        return error.rule
    return None


@pytest.mark.parametrize("work", WORKS)
def test_what_no_rule_forbids_is_allowed(work: str) -> None:
    assert refused_by(Guard(tables()), work) is None


EVERYTHING = frozenset(WORKS)
TRAINING = frozenset({"train", "propose train"})
MEASURING = frozenset({"evaluate", "propose evaluate"})
POINTING = frozenset({"pointers"})
COMPARING = frozenset({"compare"})
# each with the kinds of work that it must stop, and no other
STOPPING: dict[str, tuple[dict[str, Any], str, frozenset[str]]] = {
    "no training": ({"modes": ["evaluate", "compare", "pointers"]}, "modes", TRAINING),
    "no evaluation": ({"modes": ["train", "compare", "pointers"]}, "modes", MEASURING),
    "no pointers": ({"modes": ["train", "evaluate", "compare"]}, "modes", POINTING),
    "no comparison": ({"modes": ["train", "evaluate", "pointers"]}, "modes", COMPARING),
    "comparisons of a day": ({"day": {"comparisons": 0}}, "day.comparisons", COMPARING),
    "no yes for comparing": ({"ask": ["compare"]}, "ask", COMPARING),
    "sums alone": (
        {"secure_aggregation": {"required": True}},
        "secure_aggregation.required",
        EVERYTHING,
    ),
    "noise": (
        {"differential_privacy": {"epsilon": 1.0}},
        "differential_privacy.epsilon",
        EVERYTHING,
    ),
    "hours": ({"hours": {"days": []}}, "hours", EVERYTHING),
    "rows": ({"fewest_rows": 13}, "fewest_rows", TRAINING | POINTING | COMPARING),
    "held-out rows": (
        {"fewest_held_out_rows": 9},
        "fewest_held_out_rows",
        MEASURING | POINTING | COMPARING,
    ),
    "parameters": ({"recipe": {"parameters": 4390}}, "recipe.parameters", EVERYTHING),
    "tokens": ({"recipe": {"tokens": 11}}, "recipe.tokens", EVERYTHING),
    "batch size": ({"recipe": {"batch_size": 15}}, "recipe.batch_size", EVERYTHING),
    "local epochs": ({"recipe": {"local_epochs": 1}}, "recipe.local_epochs", EVERYTHING),
    "rounds": (
        {"recipe": {"rounds": 2}},
        "recipe.rounds",
        TRAINING | COMPARING | {"propose evaluate"},
    ),
    "steps of few rows": (
        {"recipe": {"fewest_rows_a_step": 9}},
        "recipe.fewest_rows_a_step",
        TRAINING | COMPARING,
    ),
    "no yes for training": ({"ask": ["train"]}, "ask", TRAINING),
    "no yes for evaluation": ({"ask": ["evaluate"]}, "ask", MEASURING),
    "no yes for pointers": ({"ask": ["pointers"]}, "ask", POINTING),
    "rounds of a day": ({"day": {"rounds": 0}}, "day.rounds", TRAINING | POINTING),
    "evaluations of a day": ({"day": {"evaluations": 0}}, "day.evaluations", MEASURING),
}


class Nobody(Terminal):
    """A terminal that nobody sits at."""

    @property
    def is_there(self) -> bool:
        return False


@pytest.mark.parametrize("name", STOPPING)
def test_each_rule_stops_each_kind_of_work_that_it_is_about_and_no_other(name: str) -> None:
    rule = STOPPING[name]
    policy, named, stopped = rule
    found = {work: refused_by(Guard(tables(policy), terminal=Nobody()), work) for work in WORKS}
    assert found == {work: named if work in stopped else None for work in WORKS}


@pytest.mark.parametrize(
    ("work", "changes"),
    [
        ("train", {"secure": True}),
        ("evaluate", {"secure": True}),
        ("propose train", {"secure": True}),
        ("propose evaluate", {"secure": True}),
    ],
)
def test_work_inside_a_secure_sum_is_what_the_policy_demands(
    work: str, changes: dict[str, Any]
) -> None:
    assert (
        refused_by(Guard(tables({"secure_aggregation": {"required": True}})), work, **changes)
        is None
    )


@pytest.mark.parametrize("work", ["train", "evaluate", "propose train", "propose evaluate"])
def test_pulls_of_fedprox_are_bounded_for_all_work(work: str) -> None:
    strong = RECIPE.model_dump()
    strong["training"]["proximal_mu"] = 0.2
    guard = Guard(tables({"recipe": {"proximal_mu": 0.1, "fewest_rows_mixed": 1}}))
    found = refused_by(guard, work, recipe=Recipe.model_validate(strong).to_json())
    assert found == "recipe.proximal_mu"


def allowed(guard: Guard, *works: str) -> list[bool]:
    return [refused_by(guard, work) is None for work in works]


def test_trainings_and_pointer_sessions_share_a_days_rounds_and_evaluations_do_not() -> None:
    guard = Guard(tables({"day": {"rounds": 2, "evaluations": 1}}))
    works = ("train", "evaluate", "evaluate", "pointers", "train", "pointers")
    assert allowed(guard, *works) == [True, True, False, True, False, False]


def test_a_proposal_counts_for_nothing_and_is_refused_where_nothing_is_left() -> None:
    guard = Guard(tables({"day": {"rounds": 1, "evaluations": 1}}))
    proposals = ("propose train", "propose evaluate")
    assert allowed(guard, *proposals, *proposals) == [True] * 4
    assert allowed(guard, "train", "evaluate") == [True, True]
    assert [refused_by(guard, work) for work in proposals] == ["day.rounds", "day.evaluations"]
    assert [refused_by(guard, work, is_known=True) for work in proposals] == [None, None]


def test_what_a_rule_refuses_counts_for_nothing() -> None:
    guard = Guard(tables({"day": {"rounds": 1}, "recipe": {"rounds": 3}}))
    assert refused_by(guard, "train", rounds=4) == "recipe.rounds"
    assert refused_by(guard, "train") is None
    assert refused_by(guard, "train") == "day.rounds"


class Full(DayCounts):
    """Counts on a disk that is full."""

    def count(self, *_: Any, **__: Any) -> bool:
        raise StorageError("cannot write counts.json", "no space left on device")


@pytest.mark.parametrize("work", ["train", "evaluate", "pointers"])
def test_work_whose_count_cannot_be_kept_is_not_done(work: str) -> None:
    with pytest.raises(NodeFailed, match="cannot keep count"):
        asyncio.run(ask(Guard(tables(), counts=Full()), work))


def test_numbers_that_cannot_be_counted_are_not_told() -> None:
    with pytest.raises(NodeFailed, match="cannot keep count"):
        Guard(tables(), counts=Full()).take_bits(1)


@given(
    most=st.integers(0, 300),
    taken=st.lists(st.one_of(st.integers(0, 72), st.integers(0, 72 * 200)), max_size=40),
)
def test_no_more_bits_are_told_than_the_numbers_of_a_day_have(most: int, taken: list[int]) -> None:
    """Against plain sums: what is refused would have been too much, but for one number's bits."""
    guard = Guard(tables({"pointers": {"numbers": most}}))
    told = 0
    for bits in taken:
        try:
            guard.take_bits(bits)
        except PolicyRefused:
            # numbers are counted whole, and bits that were counted ahead may be less than one
            assert told + bits > 72 * most - 72
            continue
        told += bits
        assert told <= 72 * most


def test_numbers_are_told_to_the_last_bit_also_where_less_than_a_block_is_left() -> None:
    guard = Guard(tables({"pointers": {"numbers": 70}}))
    guard.take_bits(64 * 72)  # a block, to the bit
    guard.take_bits(6 * 72)
    with pytest.raises(PolicyRefused):
        guard.take_bits(1)


class Recorded(DayCounts):
    """What is counted, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def count(self, what: Any, most: int, now: Any, more: int = 1) -> bool:
        self.calls.append((what, most, more))
        return super().count(what, most, now, more)


def test_numbers_are_counted_a_block_at_a_time_and_not_one_by_one() -> None:
    counts = Recorded()
    guard = Guard(tables({"pointers": {"numbers": 1000}}), counts=counts)
    for _ in range(64):
        guard.take_bits(72)
    assert counts.calls == [("numbers", 1000, 64)]
    guard.take_bits(72 * 100 + 1)
    assert counts.calls[1:] == [("numbers", 1000, 101)]


class Owner(Terminal):
    """Somebody at the terminal, who says what the test has them say."""

    def __init__(self, *answers: bool) -> None:
        super().__init__()
        self._answers = list(answers)
        self.questions: list[str] = []

    @property
    def is_there(self) -> bool:
        return True

    async def ask(self, question: str) -> bool:
        self.questions.append(question)
        return self._answers.pop(0)


def test_an_owners_yes_holds_for_one_kind_of_work_and_one_connection() -> None:
    owner = Owner(True, True, False)
    guard = Guard(tables({"ask": ["train", "evaluate"]}), terminal=owner)
    first = Who("10.0.0.1:5", "hospital", "ab:cd")
    assert refused_by(guard, "train", who=first) is None
    assert refused_by(guard, "train", who=first) is None
    assert refused_by(guard, "evaluate", who=first) is None
    assert refused_by(guard, "train", who=Who("10.0.0.1:6", "hospital", "ab:cd")) == "ask"
    assert [one.rpartition(") ")[2] for one in owner.questions] == ["train?", "evaluate?", "train?"]


def test_a_question_says_who_asks_and_whether_that_is_proved() -> None:
    owner = Owner(True, True)
    guard = Guard(tables({"ask": ["train"]}), terminal=owner)
    fingerprint = ":".join(["ab"] * 32)
    assert refused_by(guard, "train", who=Who("10.0.0.1:5", "hospital", fingerprint)) is None
    assert refused_by(guard, "train", who=Who("10.0.0.2:6", "x\x1b[2J\n", "")) is None
    proved, claimed = owner.questions
    assert proved == f"May hospital at 10.0.0.1:5 (certificate {fingerprint[:23]}...) train?"
    assert "(not proved)" in claimed
    assert claimed.isprintable()


def admitted(guard: Guard, who: Who) -> str | None:
    async def scene() -> str | None:
        try:
            guard.admit(who)
        except PolicyRefused as error:
            for _ in range(5):  # the question that it led to is asked and answered
                await asyncio.sleep(0)
            return error.rule
        return None

    return asyncio.run(scene())


def test_without_tls_a_coordinator_must_call_itself_by_one_of_the_policys_names() -> None:
    guard = Guard(tables({"coordinators": ["hospital"]}))
    assert admitted(guard, Who(name="hospital")) is None
    assert admitted(guard, Who(name="stranger")) == "coordinators"
    assert admitted(Guard(tables()), Who(name="stranger")) is None
    # with a certificate it is Admission that has compared the name
    assert admitted(guard, Who(name="stranger", certificate="ab:cd")) is None


def test_a_new_coordinator_waits_for_a_yes_that_is_remembered_with_its_certificate() -> None:
    asks = tables({"ask": ["first-time-coordinator"]})
    owner = Owner(False, True, True)
    guard = Guard(asks, terminal=owner)
    assert admitted(guard, ME) == "ask"  # and the owner says no
    assert admitted(guard, ME) == "ask"  # and yes
    assert admitted(guard, ME) is None
    assert admitted(guard, Who("10.0.0.1:5", "hospital", "ef:01")) == "ask"
    assert len(owner.questions) == 3
    assert all(one.endswith("work with this node?") for one in owner.questions)


def test_nobody_is_asked_about_where_nobody_sits_at_the_terminal() -> None:
    guard = Guard(tables({"ask": ["first-time-coordinator"]}), terminal=Nobody())
    with pytest.raises(PolicyRefused, match="nobody sits at its terminal"):
        guard.admit(ME)


def test_one_question_about_strangers_waits_at_a_time() -> None:
    class Slow(Owner):
        async def ask(self, question: str) -> bool:
            self.questions.append(question)
            await asyncio.Event().wait()
            return True

    owner = Slow()
    guard = Guard(tables({"ask": ["first-time-coordinator"]}), terminal=owner)

    async def scene() -> None:
        for number in range(5):
            with pytest.raises(PolicyRefused):
                guard.admit(Who(name=f"stranger{number}"))
            await asyncio.sleep(0)

    asyncio.run(scene())
    assert len(owner.questions) == 1


def test_a_message_may_be_as_large_as_the_largest_model_that_the_policy_allows() -> None:
    assert Guard(tables({"recipe": {"parameters": 1000}})).most_message_bytes == 4000 + 2**20


@pytest.mark.parametrize("modes", [["train"], ["pointers"], []])
def test_pointers_are_allowed_where_they_are_a_mode(modes: list[str]) -> None:
    assert Guard(tables({"modes": modes})).allows_pointers is ("pointers" in modes)


class Lines:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.kept: list[tuple[Entry, bool]] = []

    async def record(self, entry: Entry, durable: bool = True) -> None:
        self.kept.append((entry, durable))


def test_a_line_of_the_log_says_who_it_was_and_quotes_what_was_said() -> None:
    lines = Lines()
    guard = Guard(audit=lines)
    first = Entry("train", who="me", detail="a\nb" + "c" * 1000)
    asyncio.run(guard.record(ME, first, durable=False))
    asyncio.run(guard.record(ME, Entry("keep")))
    (entry, durable), (_, by_default) = lines.kept
    assert (entry.who, entry.certificate, entry.address) == (ME.name, ME.certificate, ME.address)
    assert entry.detail.startswith(r"a\nbc")
    assert len(entry.detail) < 600
    assert (durable, by_default) == (False, True)


def paced(who: Who, other: Who) -> list[float]:
    """What each waits, of a pace of one request, where the first has just had it."""
    pace = Pace(burst=1, rate=0.001, clock=lambda: 0.0)
    guard = Guard(pace=pace)
    asyncio.run(guard.keep_pace(who))
    return [pace.wait(one.certificate or one.address.rpartition(":")[0]) for one in (who, other)]


@pytest.mark.parametrize(
    ("who", "other", "is_same"),
    [
        (Who("10.0.0.1:5", "a", "ab"), Who("10.0.0.2:6", "b", "ab"), True),
        (Who("10.0.0.1:5", "a", "ab"), Who("10.0.0.1:5", "a", "cd"), False),
        (Who("10.0.0.1:5", "a"), Who("10.0.0.1:6", "b"), True),
        (Who("10.0.0.1:5", "a"), Who("10.0.0.2:5", "a"), False),
    ],
)
def test_pace_goes_by_certificate_and_without_one_by_machine(
    who: Who, other: Who, is_same: bool
) -> None:
    first, second = paced(who, other)
    assert first > 0
    assert (second > 0) is is_same


def test_a_training_that_may_be_is_remembered_for_the_passport(tmp_path: Path) -> None:
    guard = Guard(tables({"recipe": {"rounds": 5}}))
    asyncio.run(ask(guard, "train", round=2))
    runs = guard._countersigning.participation._kept.runs
    assert list(runs) == ["r"]
    part = runs["r"]
    assert (part.coordinator, part.rows, part.rounds) == ("hospital", len(SHARD.train), [2])


def test_countersigning_is_the_owners_choice_and_tells_no_rows_that_sums_hide() -> None:
    told: dict[str, Any] = {"run": "r", "recipe": "0" * 64, "model": "1" * 64, "rounds": [1]}

    def signs(policy: Policy, rows: int | None) -> str | None:
        with pytest.raises((PolicyRefused, NodeFailed)) as refused:
            Guard(policy).countersign(ME, CountersignCommand(rows=rows, **told))
        return getattr(refused.value, "rule", None)

    assert signs(tables({"countersign": False}), None) == "countersign"
    hidden = tables({"secure_aggregation": {"required": True}})
    assert signs(hidden, 12) == "secure_aggregation.required"
    for policy, rows in ((hidden, None), (tables(), 12)):
        with pytest.raises(NodeFailed, match="no key to sign with"):
            Guard(policy).countersign(ME, CountersignCommand(rows=rows, **told))


SHARING = {"modes": ["shared"], "shared": {"coordinators": ["hospital"]}}


def test_a_coordinator_that_is_named_computes_on_shares_and_nothing_is_counted() -> None:
    guard = Guard(tables(SHARING, {"day": {"rounds": 0}}))
    asyncio.run(guard.may_share(ME))
    assert guard.allows_sessions
    assert not guard.allows_pointers


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"modes": ["pointers"]}, "modes"),
        ({"shared": {}}, "shared.coordinators"),
        ({"shared": {"coordinators": ["Hospital", "clinic"]}}, "shared.coordinators"),
        ({"hours": {"days": []}}, "hours"),
        ({"ask": ["shared"]}, "ask"),
    ],
)
def test_computing_on_shares_is_refused_by_the_rule_that_says_no(
    change: dict[str, Any], rule: str
) -> None:
    with pytest.raises(PolicyRefused) as refused:
        asyncio.run(Guard(tables(SHARING, change)).may_share(ME))
    assert refused.value.rule == rule
