"""What an owner gets: the model of a run, kept at home by its own policy, and its own messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.nodes import NO_SETTINGS, LocalNode, local_nodes
from server import Federation
from server.nodes.addresses import NodeAddress
from server.nodes.client import NodeClient, pack_state
from server.nodes.dial import dial
from shared.errors import FedsmsError, NodeFailed, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.model.vectors import Vector, new_object_id
from shared.secure_aggregation.contents import state_digest
from shared.trained_model.saved_model import load
from shared.wire.commands import HandOutCommand, ProposeCommand, TrainCommand
from tests.conftest import OwnerFiles, write_owner
from tests.helpers.running import Finished, done_well, refused, until
from worker_node import Node

pytestmark = pytest.mark.timeout(240)
Cli = Callable[..., Finished]
FEW_ROWS = "[recipe]\nfewest_rows_a_step = 1\nfewest_rows_mixed = 1\n"


@dataclass(frozen=True)
class Owner:
    """A node's files, and where it keeps its log and its models."""

    files: OwnerFiles
    log: Path
    models: Path

    @property
    def kept(self) -> list[Path]:
        return sorted(self.models.iterdir()) if self.models.exists() else []

    def lines(self, what: str = "hand_out") -> list[dict[str, Any]]:
        lines = map(json.loads, self.log.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["what"] == what]


def make_owner(folder: Path, name: str, policy: str, seed: int) -> tuple[Owner, tuple[str, ...]]:
    """An owner, and the flags of its node."""
    (folder / f"{name}.toml").write_text(policy + FEW_ROWS)
    files = write_owner(folder, name, 60, 30, seed=seed)
    owner = Owner(files, folder / f"{name}.jsonl", folder / f"{name}.models")
    policy_file = str(folder / f"{name}.toml")
    return owner, (*files.flags, "--policy", policy_file, "--audit-log", str(owner.log))


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[list[LocalNode], dict[str, Owner]]]:
    """Erin takes models, and compares nothing; carol takes none."""
    folder = tmp_path_factory.mktemp("owners")
    policies = {
        "carol": "[models]\nkept = 0\n",
        "erin": 'modes = ["train", "evaluate"]\n[models]\nmegabytes = 1\n',
    }
    made = {
        name: make_owner(folder, name, policy, place)
        for place, (name, policy) in enumerate(policies.items())
    }
    with local_nodes({name: flags for name, (_, flags) in made.items()}) as running:
        yield running, {name: owner for name, (owner, _) in made.items()}


def flags_of(nodes: list[LocalNode]) -> list[str]:
    return [part for node in nodes for part in ("--node", node.flag)]


def train(cli: Cli, quick: Path, flags: list[str], *more: object) -> Finished:
    return cli("server", "train", *NO_SETTINGS, "--recipe", quick, *flags, *more)


def newest_run(folder: Path) -> Path:
    return max((folder / "runs").iterdir())


def test_after_a_run_those_owners_have_its_model_whose_policy_takes_it(
    cli: Cli, quick: Path, scene: tuple[list[LocalNode], dict[str, Owner]], tmp_path: Path
) -> None:
    nodes, owners = scene
    done = train(cli, quick, flags_of(nodes), "--hand-out", "--json")
    told = json.loads(done_well(done).splitlines()[-1])
    assert told["status"] == "completed"
    run, erin = newest_run(tmp_path), owners["erin"]
    assert told["handed_out"] == json.loads((run / "handed_out.json").read_text())
    assert told["handed_out"]["owners"] == ["erin"]
    assert "(rule models.kept)" in told["handed_out"]["left_out"]["carol"]
    (path,) = erin.kept
    assert np.array_equal(load(path).state, load(run).state)
    assert told["handed_out"]["model"] == state_digest(load(run).state).hex()
    assert owners["carol"].kept == []
    line = erin.lines()[-1]
    assert line["decision"] == "allowed"
    run_id = json.loads((run / "settings.json").read_text())["run"]
    model = told["handed_out"]["model"][:16]
    assert line["detail"] == f"model {model} of run {run_id}, kept as {path.name}"
    config = json.loads((path / "config.json").read_text())
    assert (config["round"], config["rounds"], config["measured_here"]) == (2, 2, True)

    # what it says is what the coordinator's says
    words = ("you have WON a prize", "see you at seven")
    at_home = cli("worker_node", "predict", "--models", erin.models, "--json", *words)
    assert done_well(at_home) == done_well(cli("server", "predict", "--json", *words))
    assert f"The newest model: {path}" in at_home.err
    assert f"after round 2 of run {run_id}" in at_home.err


def test_a_run_without_it_leaves_no_model_with_anybody(
    cli: Cli, quick: Path, scene: tuple[list[LocalNode], dict[str, Owner]], tmp_path: Path
) -> None:
    nodes, owners = scene
    before = {name: owner.kept for name, owner in owners.items()}, len(owners["erin"].lines())
    done_well(train(cli, quick, flags_of(nodes)))
    assert ({name: owner.kept for name, owner in owners.items()}, len(owners["erin"].lines())) == (
        before
    )
    assert not (newest_run(tmp_path) / "handed_out.json").exists()


def test_a_complete_run_hands_its_model_out_later_and_where_nobody_takes_it_says_so(
    cli: Cli, quick: Path, scene: tuple[list[LocalNode], dict[str, Owner]], tmp_path: Path
) -> None:
    nodes, owners = scene
    done_well(train(cli, quick, flags_of(nodes)))
    run, model = newest_run(tmp_path), (newest_run(tmp_path) / "model.safetensors").read_bytes()
    done_well(cli("server", "train", *NO_SETTINGS, "--resume", run, "--hand-out"))
    assert json.loads((run / "handed_out.json").read_text())["owners"] == ["erin"]
    state = load(run).state
    assert any(np.array_equal(load(path).state, state) for path in owners["erin"].kept)
    assert (run / "model.safetensors").read_bytes() == model

    (carol,) = [node for node in nodes if node.id == "carol"]
    done = train(cli, quick, flags_of([carol]), "--hand-out", "--name", "alone")
    refused(done, "rule models.kept", "The run is complete", "--hand-out", code=10)
    assert json.loads((newest_run(tmp_path) / "summary.json").read_text())["status"] == "completed"


def test_who_refuses_a_comparison_still_gets_the_model(
    cli: Cli, quick: Path, scene: tuple[list[LocalNode], dict[str, Owner]], tmp_path: Path
) -> None:
    nodes, _ = scene
    done_well(train(cli, quick, flags_of(nodes), "--compare", "--hand-out"))
    run = newest_run(tmp_path)
    assert json.loads((run / "handed_out.json").read_text())["owners"] == ["erin"]
    assert "erin" in json.loads((run / "comparison.json").read_text())["left_out"]
    later = cli("server", "train", *NO_SETTINGS, "--resume", run, "--hand-out", "--compare")
    done_well(later)
    assert json.loads((run / "handed_out.json").read_text())["owners"] == ["erin"]


class Coordinator:
    """One that sends what it likes."""

    def __init__(self, client: NodeClient, recipe: Recipe) -> None:
        self.client = client
        self.recipe = recipe
        self.state = initial_state(recipe, 3)

    async def train(self, run: str) -> None:
        state_id = await self.send(self.state)
        command = TrainCommand(
            state_id=state_id,
            result_id=new_object_id(),
            run=run,
            recipe=self.recipe.to_json(),
            seed=1,
            round=1,
            rounds=1,
        )
        await self.client.train(command, lambda _: None)
        await self.client.fetch_state(command.result_id, self.state)
        await self.client.forget(state_id)

    async def send(self, state: Vector) -> int:
        state_id = new_object_id()
        await self.client.send_state(pack_state(state, None, state_id))
        return state_id

    async def hand_out(self, state: Vector, **changed: Any) -> None:
        state_id = await self.send(state)
        try:
            await self.client.hand_out(self.command(state, **{"state_id": state_id, **changed}))
        finally:
            await self.client.forget(state_id)

    def command(self, state: Vector, **changed: Any) -> HandOutCommand:
        good: dict[str, Any] = {"run": "mine", "round": 1, "rounds": 1}
        good |= {"recipe": self.recipe.to_json(), "model": state_digest(state).hex()}
        return HandOutCommand(**{**good, **changed})


def with_a_node(
    folder: Path, recipe: Recipe, policy: str, work: Callable[[Coordinator, Owner], Any]
) -> Owner:
    """Has a coordinator of the test's work with a node of its own, over one connection."""
    owner, flags = make_owner(folder, "fay", policy, seed=7)

    async def connected(url: str) -> None:
        link = await dial(NodeAddress("fay", url))
        try:
            await work(Coordinator(NodeClient("fay", link), recipe), owner)
        finally:
            await link.close()

    with local_nodes({"fay": flags}) as (fay,):
        asyncio.run(connected(fay.url))
    return owner


def test_a_coordinator_that_lies_about_a_model_leaves_none(recipe: Recipe, tmp_path: Path) -> None:
    large = load_recipe("default")

    async def lie(bad: Coordinator, owner: Owner) -> None:
        state = bad.state
        not_finite = state.copy()
        not_finite[5] = np.nan

        async def wrong(error: type[FedsmsError], why: str, state: Vector, **changed: Any) -> None:
            with pytest.raises(error, match=why):
                await bad.hand_out(state, **changed)
            assert owner.kept == [], why

        # nobody trained here yet
        await wrong(PolicyRefused, r"models\.of_own_runs", state)
        await bad.train("mine")
        await wrong(PolicyRefused, r"models\.of_own_runs", state, run="another")
        other = recipe.model_copy(
            update={"training": recipe.training.model_copy(update={"learning_rate": 0.5})}
        )
        await wrong(PolicyRefused, r"models\.of_own_runs", state, recipe=other.to_json())
        await wrong(NodeFailed, "another digest than was announced", state, model="0" * 64)
        await wrong(NodeFailed, "another digest than was announced", -state, model=digest(state))
        await wrong(NodeFailed, "its recipe has", state[:-1])
        await wrong(NodeFailed, "its recipe has", np.append(state, state[:1]))
        await wrong(NodeFailed, "not finite", not_finite)
        await wrong(PolicyRefused, r"models\.megabytes", state, recipe=large.to_json())
        await wrong(NodeFailed, "was not sent", state, state_id=new_object_id())
        await wrong(PolicyRefused, r"recipe\.rounds", state, rounds=100_000)
        for field in ({"model": "../../x"}, {"run": ""}, {"round": 0}, {"path": "/tmp/x"}):
            with pytest.raises((NodeFailed, ValueError)):
                await bad.hand_out(state, **field)
        with pytest.raises(PolicyRefused, match=r"models\.megabytes"):  # before a byte is sent
            await bad.client.propose(
                ProposeCommand(work="hand_out", run="mine", recipe=large.to_json(), rounds=1)
            )
        assert not owner.models.exists()
        await bad.hand_out(state)  # and the honest one is taken, over the same connection
        assert len(owner.kept) == 1

    owner = with_a_node(tmp_path, recipe, "[models]\nmegabytes = 1\n", lie)
    decisions = [line["decision"] for line in owner.lines()]
    assert decisions.count("allowed") == 1
    assert {"refused", "failed", "allowed"} == set(decisions)
    last = owner.lines()[-1]
    assert "which it did not measure, kept as " in last["detail"]


def digest(state: Vector) -> str:
    return state_digest(state).hex()


def has_lines(owner: Owner, count: int) -> bool:
    return len(owner.lines()) >= count


def test_whatever_a_broken_line_leaves_on_the_disk_is_in_the_log(
    recipe: Recipe, tmp_path: Path
) -> None:
    """The coordinator is gone as soon as it has asked; what the node had begun is told as it is."""
    tries = 12
    owner, flags = make_owner(tmp_path, "fay", "[models]\nkept = 100\n", seed=7)

    async def vanish(url: str, run: str) -> None:
        link = await dial(NodeAddress("fay", url))
        try:
            gone = Coordinator(NodeClient("fay", link), recipe)
            await gone.train(run)
            state_id = await gone.send(gone.state)
            command = gone.command(gone.state, state_id=state_id, run=run)
            before = link.bytes_sent
            asking = asyncio.create_task(gone.client.hand_out(command))
            while link.bytes_sent == before:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        finally:
            await link.close()
        await asyncio.gather(asking, return_exceptions=True)

    with local_nodes({"fay": flags}) as (fay,):
        for number in range(tries):
            asyncio.run(vanish(fay.url, f"run {number}"))
            wanted = number + 1
            until(partial(has_lines, owner, wanted), "the line of it")
    names = {path.name for path in owner.kept}
    told = [line for line in owner.lines() if line["decision"] == "allowed"]
    assert {line["detail"].rpartition(" ")[2] for line in told} == names
    assert len(owner.lines()) == tries


def test_how_many_are_kept_and_how_many_a_day_is_the_owners_to_say(
    recipe: Recipe, tmp_path: Path
) -> None:
    async def flood(eager: Coordinator, owner: Owner) -> None:
        for run in ("one", "two", "three"):
            await eager.train(run)
            await eager.hand_out(eager.state, run=run)
        names = [path.name for path in owner.kept]
        assert len(names) == 2
        await eager.hand_out(eager.state, run="three")  # which is there: nothing is written
        assert [path.name for path in owner.kept] == names
        await eager.hand_out(-eager.state, run="three")
        with pytest.raises(PolicyRefused, match=r"day\.models.*4 models a day"):
            await eager.hand_out(eager.state, run="three")
        runs = {json.loads((path / "config.json").read_text())["run"] for path in owner.kept}
        assert runs == {"two", "three"}

    policy = "[models]\nkept = 2\n[day]\nmodels = 4\n"
    owner = with_a_node(tmp_path, recipe, policy, flood)
    assert [line["detail"].rpartition(", ")[2][:6] for line in owner.lines()[3:4]] == ["kept b"]


def test_a_node_that_is_gone_is_told_and_the_others_get_the_model(
    cli: Cli, quick: Path, tmp_path: Path
) -> None:
    made = {name: make_owner(tmp_path, name, "", seed) for seed, name in enumerate(("ida", "jon"))}
    with local_nodes({name: flags for name, (_, flags) in made.items()}) as nodes:
        done_well(train(cli, quick, flags_of(nodes)))
        (jon,) = [node for node in nodes if node.id == "jon"]
        jon.process.kill()
        jon.process.wait()
        run = newest_run(tmp_path)
        flags = ("--resume", run, "--hand-out", "--min-nodes", 1)
        done_well(cli("server", "train", *NO_SETTINGS, *flags))
    handed_out = json.loads((run / "handed_out.json").read_text())
    assert handed_out["owners"] == ["ida"]
    assert list(handed_out["left_out"]) == ["jon"]
    assert [len(owner.kept) for owner, _ in made.values()] == [1, 0]


def test_the_model_of_a_private_run_is_handed_out_as_well(cli: Cli, tmp_path: Path) -> None:
    policy = "[differential_privacy]\nepsilon = 64.0\n"
    names = ("kim", "lea", "max")
    made = {name: make_owner(tmp_path, name, policy, seed) for seed, name in enumerate(names)}
    with local_nodes({name: flags for name, (_, flags) in made.items()}) as nodes:
        flags = ("--recipe", "private", "--rounds", 2, *flags_of(nodes), "--hand-out")
        done_well(cli("server", "train", *NO_SETTINGS, *flags))
    state = load(newest_run(tmp_path)).state
    for owner, _ in made.values():
        (path,) = owner.kept
        assert np.array_equal(load(path).state, state)


def test_a_node_of_a_program_keeps_models_where_it_is_told(tmp_path: Path, quick: Path) -> None:
    files = {name: write_owner(tmp_path, name, 60, 20, seed=4) for name in ("gil", "hal")}
    policy = {"recipe": {"fewest_rows_a_step": 1, "fewest_rows_mixed": 1}}
    with (
        Node("gil", data=files["gil"].train_path, policy=policy, models=tmp_path / "kept") as gil,
        Node("hal", data=files["hal"].train_path, policy=policy) as hal,
    ):
        federation = Federation(nodes=[gil, hal], run_dir=tmp_path / "runs")
        run = federation.train(quick, hand_out=True)
        assert run.handed_out is not None
        assert run.handed_out["owners"] == ["gil"]
        assert "it has no place to keep models" in run.handed_out["left_out"]["hal"]
    (path,) = (tmp_path / "kept").iterdir()
    assert np.array_equal(load(path).state, load(run.path).state)
