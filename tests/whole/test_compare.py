"""Was it worth joining, as users ask it: commands, real nodes, and what the owners let leave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import NO_SETTINGS, LocalNode, local_nodes
from server.nodes.addresses import NodeAddress
from server.nodes.client import NodeClient, pack_state
from server.nodes.dial import dial
from server.rounds.records import Round
from server.runs.run_folder import RunFolder
from shared.errors import NodeFailed, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.comparison import FIGURES
from shared.model.recipe import Recipe
from shared.wire.commands import CompareCommand, CompareReport
from tests.conftest import OwnerFiles, write_owner
from tests.helpers.running import Finished, done_well, refused

pytestmark = pytest.mark.timeout(120)
Cli = Callable[..., Finished]


def train(cli: Cli, quick: Path, flags: list[str], *more: object) -> Finished:
    return cli("server", "train", *NO_SETTINGS, "--recipe", quick, *flags, *more)


def run_of(folder: Path) -> Path:
    (found,) = (folder / "runs").iterdir()
    return found


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_of(folder) / "comparison.json").read_text())
    return found


def test_a_comparison_begins_once_the_last_round_is_on_the_disk(
    cli: Cli,
    quick: Path,
    node_flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its model, written later, would take the comparison for an older model's, and remove it."""
    waited, settle, write = threading.Event(), RunFolder.settle, RunFolder._write

    def settles(folder: RunFolder) -> None:
        waited.set()
        settle(folder)

    def writes_slowly(folder: RunFolder, record: Round, *rest: Any) -> None:
        if record.number == 2:
            waited.wait(20)
        write(folder, record, *rest)

    monkeypatch.setattr(RunFolder, "settle", settles)
    monkeypatch.setattr(RunFolder, "_write", writes_slowly)
    assert "Worth joining?" in done_well(train(cli, quick, node_flags, "--compare"))
    assert kept(tmp_path)["rounds"] == 2


def test_a_run_ends_with_what_joining_was_worth(
    cli: Cli, quick: Path, node_flags: list[str], owners: list[OwnerFiles], tmp_path: Path
) -> None:
    out = done_well(train(cli, quick, node_flags, "--compare"))
    assert "Worth joining? 2 rounds alone and federated" in out
    assert "worst of owners" in out
    assert "AUC: " in out
    found = kept(tmp_path)
    assert found["rounds"] == 2
    assert found["left_out"] == {}
    assert {node: one["rows"] for node, one in found["owners"].items()} == {
        owner.id: len(owner.held_out) for owner in owners
    }
    for one in found["owners"].values():
        for name in FIGURES:
            figure = one["figures"][name]
            both = (figure["alone"], figure["federated"])
            gain = None if None in both else pytest.approx(both[1] - both[0])
            assert figure["gain"] == gain
    for name in FIGURES:
        figures = [one["figures"][name] for one in found["owners"].values()]
        each = [one for one in figures if one["gain"] is not None]
        if not each:  # of models that hardly trained
            continue
        assert found["worst_off"][name]["alone"] == min(one["alone"] for one in each)
        assert found["worst_off"][name]["federated"] == min(one["federated"] for one in each)
    # the federated side is what the last round measured
    rows = [
        json.loads(line)
        for line in (run_of(tmp_path) / "metrics.jsonl").read_text().split("\n")
        if line
    ]
    last = {row["node"]: row["held_out_roc_auc"] for row in rows if row["round"] == 2}
    for node, one in found["owners"].items():
        assert one["figures"]["roc_auc"]["federated"] == pytest.approx(last[node])


def test_the_same_comes_of_comparing_later_and_the_model_stays(
    cli: Cli, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    told = json.loads(
        done_well(train(cli, quick, node_flags, "--compare", "--json")).splitlines()[-1]
    )
    assert told["comparison"] == {"run": told["run"], **kept(tmp_path)}
    first, model = kept(tmp_path), (run_of(tmp_path) / "model.safetensors").read_bytes()
    (run_of(tmp_path) / "comparison.json").unlink()
    out = done_well(cli("server", "compare", "--json"))  # the newest run, and its own nodes
    assert {**json.loads(out), "run": ""} == {**first, "run": ""}
    assert kept(tmp_path) == first
    assert (run_of(tmp_path) / "model.safetensors").read_bytes() == model


def test_the_worth_is_in_the_run_for_scripts(
    cli: Cli, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    from server import Run

    done_well(train(cli, quick, node_flags))
    run = Run(run_of(tmp_path))
    assert run.comparison is None
    done_well(cli("server", "compare", run.path))
    worth = run.comparison
    assert worth is not None
    assert worth.as_dict() == {"run": str(run.path), **kept(tmp_path)}
    assert worth.by_owner["anne"].figures["mcc"].federated is not None
    (run.path / "comparison.json").write_text('{"owners": 3}')
    refused(cli("server", "compare", tmp_path / "runs" / "none"), "there is no run", code=7)
    with pytest.raises(Exception, match="damaged"):
        _ = run.comparison


def test_a_run_without_a_complete_round_or_through_pointers_cannot_be_compared(
    cli: Cli, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    done_well(train(cli, quick, node_flags))
    path = run_of(tmp_path)
    settings = json.loads((path / "settings.json").read_text())
    (path / "settings.json").write_text(json.dumps({**settings, "mode": "pointers"}))
    refused(cli("server", "compare", path), "through pointers", code=2)
    (path / "settings.json").write_text(json.dumps(settings))
    (path / "model.safetensors").unlink()
    refused(cli("server", "compare", path), "no round of it is complete", "--resume", code=2)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[LocalNode], Path]]:
    """Carol lets nobody compare, and dora does so once a day; and where their logs are."""
    folder = tmp_path_factory.mktemp("guarded")
    policies = {"carol": 'modes = ["train", "evaluate"]\n', "dora": "[day]\ncomparisons = 1\n"}
    flags = {}
    for place, (name, policy) in enumerate(policies.items()):
        (folder / f"{name}.toml").write_text(policy)
        files = write_owner(folder, name, 40, 30, seed=place).flags
        log = ("--audit-log", str(folder / f"{name}.jsonl"))
        flags[name] = (*files, "--policy", str(folder / f"{name}.toml"), *log)
    with local_nodes(flags) as running:
        yield running, folder


def log_of(folder: Path, node: str) -> list[dict[str, Any]]:
    lines = (folder / f"{node}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_an_owners_policy_says_who_may_compare_and_how_often(
    cli: Cli, quick: Path, guarded: tuple[list[LocalNode], Path], tmp_path: Path
) -> None:
    nodes, folder = guarded
    both = [part for node in nodes for part in ("--node", node.flag)]
    out = done_well(train(cli, quick, both, "--compare"))
    assert "node carol is not in it: " in out
    assert "(rule modes): compare is not allowed here" in out
    found = kept(tmp_path)
    assert list(found["owners"]) == ["dora"]
    assert "rule modes" in found["left_out"]["carol"]
    lines = [line for line in log_of(folder, "dora") if line["what"] == "compare"]
    assert lines[-1]["decision"] == "allowed"
    assert "2 rounds alone" in lines[-1]["detail"]
    assert not [line for line in log_of(folder, "carol") if line["what"] == "compare"]

    nobody = cli("server", "compare", run_of(tmp_path))
    refused(nobody, "owner's policy does not allow this", code=10)
    words = [line["detail"] for line in log_of(folder, "dora")]
    assert any("(rule day.comparisons): 1 comparisons a day" in each for each in words)
    assert kept(tmp_path) == found


def test_a_comparison_that_is_asked_for_again_comes_from_memory_and_counts_once(
    recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "erin.toml").write_text(
        "[day]\ncomparisons = 1\n[recipe]\nfewest_rows_a_step = 1\n"
    )
    flags = (*write_owner(tmp_path, "erin", 40, 30, seed=5).flags, "--policy")
    log = ("--audit-log", str(tmp_path / "erin.jsonl"))
    state = initial_state(recipe, 3)
    wanted = CompareCommand(
        state_id=41, run="one", recipe=recipe.to_json(), rounds=2, start=1, seed=2
    )

    async def ask(url: str, **changed: Any) -> CompareReport:
        link = await dial(NodeAddress("erin", url))
        try:
            client = NodeClient("erin", link)
            await client.send_state(pack_state(state, None, 41))
            return await client.compare(wanted.model_copy(update=changed), lambda _: None)
        finally:
            await link.close()

    with local_nodes({"erin": (*flags, str(tmp_path / "erin.toml"), *log)}) as (erin,):
        first, again = (asyncio.run(ask(erin.url)) for _ in range(2))
        for other in ({"seed": 3}, {"rounds": 1}, {"start": 2}, {"run": "two"}):
            with pytest.raises(PolicyRefused, match=r"day\.comparisons"):
                asyncio.run(ask(erin.url, **other))
    assert first == again
    lines = [line for line in log_of(tmp_path, "erin") if line["what"] == "compare"]
    told = [line["detail"] for line in lines if line["decision"] == "allowed"]
    assert told[0] == "with 2 rounds alone"
    assert told[1] == "with 2 rounds alone, asked for again: answered from memory"


def test_a_refused_comparison_loses_nothing_of_the_run(
    cli: Cli, quick: Path, guarded: tuple[list[LocalNode], Path], tmp_path: Path
) -> None:
    done = train(cli, quick, ["--node", guarded[0][0].flag], "--compare")
    refused(done, "(rule modes)", "The run is complete", "python -m server compare", code=10)
    summary = json.loads((run_of(tmp_path) / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert (run_of(tmp_path) / "model.safetensors").exists()


def test_a_model_that_was_trained_alone_cannot_be_fetched(bob: LocalNode, recipe: Recipe) -> None:
    """After a comparison a session holds what was sent to it, and nothing else."""
    state = initial_state(recipe, 3)

    async def session() -> None:
        link = await dial(NodeAddress("bob", bob.url))
        client = NodeClient("bob", link)
        await client.send_state(pack_state(state, None, 41))
        command = CompareCommand(
            state_id=41, run="a-run", recipe=recipe.to_json(), rounds=1, start=1, seed=2
        )
        report = await client.compare(command, lambda _: None)
        assert set(CompareReport.model_fields) == set(report.model_dump())
        for other in (0, 1, 2, 40, 42):
            with pytest.raises(NodeFailed, match="no such object"):
                await client.fetch_state(other, state)
        assert (await client.fetch_state(41, state)).tobytes() == state.tobytes()
        await link.close()

    asyncio.run(session())
