"""An owner's policy: its file, its rules one by one, and how a refusal reaches the coordinator."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scripts.local.nodes import LocalNode, local_nodes
from shared.errors import PolicyRefused, UsageError
from shared.model.recipe import Recipe
from shared.wire.commands import EVALUATE, TRAIN
from shared.wire.frames import Kind, unpack_error, unpack_map
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, error, reply, run, send_state, training
from tests.helpers.peers import coordinator, stranger
from tests.helpers.running import ROOT, Finished, greeting_of
from tests.helpers.served_nodes import served_node
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.guarding.policy_file import (
    POLICY,
    example,
    find_policy,
    read_policy,
    write_example,
)
from worker_node.guarding.rules.hours import DAYS, Day
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess


def policy_of(text: str, tmp_path: Path) -> Policy:
    path = tmp_path / POLICY
    path.write_text(text, encoding="utf-8")
    return read_policy(path)


def test_the_example_is_the_defaults_and_explains_every_rule() -> None:
    written = example()
    assert Policy.model_validate(tomllib.loads(written)) == Policy()
    tables = [
        Policy(),
        *(getattr(Policy(), name) for name in ("recipe", "day", "hours", "pointers")),
    ]
    for table in tables:
        for name, field in type(table).model_fields.items():
            assert f"\n{name} = " in written or f"\n[{name}]\n" in written
            assert field.description or f"[{name}]" in written
    assert max(map(len, written.splitlines())) <= 100


def test_the_policy_that_the_page_shows_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    (shown,) = [part for part in text.split("```") if part.startswith("toml\ncoordinators")]
    policy = policy_of(shown.removeprefix("toml\n"), tmp_path)
    assert policy.coordinators == ("hospital",)
    assert policy.hours.begin == "20:00"


def test_init_writes_the_example_once(tmp_path: Path, cli: Callable[..., Finished]) -> None:
    first = cli("worker_node", "init", "--id", "bob", "--identity", tmp_path)
    assert str(tmp_path / POLICY) in first.out
    (tmp_path / POLICY).write_text("fewest_rows = 3\n", encoding="utf-8")
    cli("worker_node", "init", "--id", "bob", "--identity", tmp_path)
    assert write_example(tmp_path) is None
    assert read_policy(tmp_path / POLICY).fewest_rows == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fewest_row = 3", "unknown key 'fewest_row'; did you mean 'fewest_rows'?"),
        ("[recipe]\ntoken = 3", "did you mean 'tokens'?"),
        ("[days]\nrounds = 3", "did you mean 'day'?"),
        ('modes = ["trian"]', "modes"),
        ("fewest_rows = -1", "fewest_rows"),
        ("fewest_rows = true", "fewest_rows"),
        ('coordinators = ["a b"]', "coordinators"),
        ('[hours]\nzone = "Mars/Olympus"', "no time zone of that name"),
        ('[hours]\nbegin = "25:00"', "hours.begin: no time of day"),
        ("modes = [", "not TOML"),
    ],
)
def test_a_policy_that_is_wrong_is_one_error_that_says_where(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(UsageError) as wrong:
        policy_of(text, tmp_path)
    assert words in str(wrong.value)


def test_the_named_policy_comes_first_then_the_identitys_then_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, identity = tmp_path / "here", tmp_path / "identity"
    for number, folder in enumerate((here, identity)):
        folder.mkdir()
        (folder / POLICY).write_text(f"fewest_rows = {number}\n", encoding="utf-8")
    monkeypatch.chdir(here)
    named = tmp_path / "named.toml"
    named.write_text("fewest_rows = 7\n", encoding="utf-8")
    assert find_policy(named, identity)[0].fewest_rows == 7
    assert find_policy(None, identity) == (Policy(fewest_rows=1), identity / POLICY)
    assert find_policy(None, None) == (Policy(fewest_rows=0), Path(POLICY))
    (here / POLICY).unlink()
    assert find_policy(None, None) == (Policy(), None)
    with pytest.raises(UsageError, match="cannot read the policy"):
        find_policy(tmp_path / "missing.toml", identity)


@pytest.mark.parametrize(
    ("hours", "when", "works"),
    [
        ({}, "2026-11-22T03:00", True),
        ({"begin": "08:00", "end": "18:00"}, "2026-11-22T07:59", False),
        ({"begin": "08:00", "end": "18:00"}, "2026-11-22T08:00", True),
        ({"begin": "08:00", "end": "18:00"}, "2026-11-22T18:00", False),
        ({"begin": "22:00", "end": "06:00", "days": ["sun"]}, "2026-11-22T23:00", True),
        ({"begin": "22:00", "end": "06:00", "days": ["sun"]}, "2026-11-23T05:59", True),
        ({"begin": "22:00", "end": "06:00", "days": ["sun"]}, "2026-11-22T05:00", False),
        ({"days": []}, "2026-11-22T12:00", False),
    ],
)
def test_hours_are_those_of_the_day_on_which_they_begin(
    hours: dict[str, Any], when: str, works: bool
) -> None:
    policy = Policy.model_validate({"hours": hours})
    assert policy.hours.contain(datetime.fromisoformat(when)) is works  # a Sunday, in November


@settings(max_examples=40, deadline=None)
@given(
    begin=st.integers(0, 1439),
    length=st.integers(1, 1439),
    days=st.sets(st.sampled_from(DAYS), min_size=1),
    minute=st.integers(0, 365 * 1440),
)
def test_a_refusal_for_hours_says_the_first_moment_to_come_back(
    begin: int, length: int, days: set[Day], minute: int
) -> None:
    now = datetime.fromisoformat("2026-01-01T00:00:30") + timedelta(minutes=minute)
    end = (begin + length) % 1440
    clocks = {"begin": f"{begin // 60:02}:{begin % 60:02}", "end": f"{end // 60:02}:{end % 60:02}"}
    policy = Policy.model_validate({"hours": {**clocks, "days": sorted(days)}})
    assume(not policy.hours.contain(now))
    with pytest.raises(PolicyRefused) as refused:
        policy.check_hours(now)
    told = datetime.fromisoformat(refused.value.cause[-16:])
    assert policy.hours.contain(told)
    minutes = range(1, ceil((told - now) / timedelta(minutes=1)))
    assert not any(policy.hours.contain(now + timedelta(minutes=late)) for late in minutes)


def test_who_never_works_says_never() -> None:
    with pytest.raises(PolicyRefused, match="next from never"):
        Policy.model_validate({"hours": {"days": []}}).check_hours(
            datetime.fromisoformat("2026-01-01")
        )


RULES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    # policy, changes of the recipe, what is asked for, the rule that says no
    "modes": ('modes = ["evaluate"]', {}, TRAIN, "modes"),
    "evaluation": ('modes = ["train"]', {}, EVALUATE, "modes"),
    "parameters": ("[recipe]\nparameters = 4390", {}, TRAIN, "recipe.parameters"),
    "tokens": ("[recipe]\ntokens = 11", {}, TRAIN, "recipe.tokens"),
    "epochs": ("[recipe]\nlocal_epochs = 2", {"local_epochs": 3}, TRAIN, "recipe.local_epochs"),
    "batch": ("[recipe]\nbatch_size = 15", {}, EVALUATE, "recipe.batch_size"),
    "a step of few rows": (
        "[recipe]\nfewest_rows_a_step = 9",
        {"batch_size": 16},
        TRAIN,
        "recipe.fewest_rows_a_step",
    ),
    "a training of few rows": (
        "[recipe]\nfewest_rows_mixed = 25",
        {"batch_size": 16, "max_batches": 3},
        TRAIN,
        "recipe.fewest_rows_mixed",
    ),
    "a training of few steps": (
        "[recipe]\nfewest_rows_mixed = 1\nfewest_steps = 4",
        {"max_batches": 3},
        TRAIN,
        "recipe.fewest_steps",
    ),
    "rounds of a run": ("[recipe]\nrounds = 1", {}, TRAIN, "recipe.rounds"),
    "rounds of a day": ("[day]\nrounds = 0", {}, TRAIN, "day.rounds"),
    "evaluations": ("[day]\nevaluations = 0", {}, EVALUATE, "day.evaluations"),
    "rows": ("fewest_rows = 141", {}, TRAIN, "fewest_rows"),
    "held-out rows": ("fewest_held_out_rows = 51", {}, EVALUATE, "fewest_held_out_rows"),
    "hours": ("[hours]\ndays = []", {}, TRAIN, "hours"),
    "ask": ('ask = ["train"]', {}, TRAIN, "ask"),
}


def test_each_rule_refuses_and_is_named_and_tells_nothing_of_the_rows(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path
) -> None:
    """One node in this process, whose guard is another for each rule; nothing is ever trained."""
    shard = Shard(tuple(owners[1].train), tuple(owners[1].held_out))

    async def refused(url: str, changes: dict[str, Any], what: str) -> PolicyRefused:
        tables = recipe.model_dump()
        tables["training"] |= changes
        async with coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            wanted = training(Recipe.parse(tables, "test"), state_id, rounds=2)
            if what == EVALUATE:
                wanted = {"state_id": state_id, "base_id": None, "recipe": wanted["recipe"]}
            why = error(await peer.ask(command(what, **wanted)))
            assert isinstance(why, PolicyRefused)
            return why

    async def scene() -> None:
        node = DataOwnerNode("bob", shard, TrainerProcess(shard))
        async with listening(node, "127.0.0.1", 0) as url:
            for text, changes, what, rule in RULES.values():
                node.guard = Guard(policy_of(text, tmp_path))
                why = await refused(url, changes, what)
                assert f"(rule {rule})" in why.fact
                assert "140" not in str(why)
                assert "50" not in str(why)
                if rule.startswith(("recipe.", "day.")):
                    bound = tomllib.loads(text)[rule.split(".")[0]][rule.split(".")[1]]
                    assert f"{bound:,} " in str(why)
                assert str(tmp_path) not in str(why)

    run(scene())


def test_a_coordinator_that_is_not_named_is_told_no_count() -> None:
    async def session() -> None:
        async with served_node({"coordinators": ["hospital"]}) as url, stranger(url) as peer:
            refusal = await peer.greet()
            assert refusal.kind is Kind.REFUSED
            told = unpack_map(refusal.payload)
            assert set(told) == {"error"}
            assert "(rule coordinators)" in str(unpack_error(told["error"]))

    run(session())


def test_an_owner_may_tell_no_counts_of_labels(
    owners: list[OwnerFiles], bob: LocalNode, tmp_path: Path
) -> None:
    told = greeting_of("bob", bob.url).labels
    assert told is not None
    assert sum(told["train"].values()) == 140
    path = tmp_path / POLICY
    path.write_text("tell_label_counts = false\n", encoding="utf-8")
    with local_nodes({"bob": (*owners[1].flags, "--policy", str(path))}) as (node,):
        greeting = greeting_of("bob", node.url)
    assert greeting.rows == {"train": 140, "held_out": 50}
    assert greeting.labels is None


def test_a_refusal_ends_the_coordinators_command_with_10(
    owners: list[OwnerFiles], tmp_path: Path, quick: Path, cli: Callable[..., Finished]
) -> None:
    path = tmp_path / POLICY
    path.write_text("[recipe]\nrounds = 1\n", encoding="utf-8")
    with local_nodes({"bob": (*owners[1].flags, "--policy", str(path))}) as (node,):
        ended = cli("server", "train", "--node", node.flag, "--recipe", quick)
    assert ended.code == 10, ended.err
    assert "(rule recipe.rounds)" in ended.err
    assert "Traceback" not in ended.err


def test_the_days_count_survives_a_restart(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path
) -> None:
    path, log = tmp_path / POLICY, tmp_path / "audit.jsonl"
    path.write_text("[day]\nrounds = 2\n", encoding="utf-8")
    flags = (*owners[1].flags, "--policy", str(path), "--audit-log", str(log))

    async def train(url: str) -> Any:
        async with coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            return await peer.ask(command(TRAIN, **training(recipe, state_id)))

    async def good(url: str) -> None:
        assert reply(await train(url))["rows"] == 140

    async def bad(url: str) -> None:
        assert "(rule day.rounds)" in error(await train(url)).fact

    for works in ((good, good), (bad,)):
        with local_nodes({"bob": flags}) as (node,):
            for work in works:
                run(work(node.url))


def test_the_pages_example_is_what_init_writes() -> None:
    assert (ROOT / "docs" / "policy.toml").read_text(encoding="utf-8") == example()
