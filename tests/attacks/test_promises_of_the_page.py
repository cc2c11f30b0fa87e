"""Promises of docs/security.md that no other file of tests is about."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.local.nodes import local_nodes
from server.pointers import connect
from server.rounds.claims import counted_rows
from server.rounds.exchange import check_seconds
from shared.errors import NodeFailed
from shared.model.recipe import FederationRecipe
from tests.conftest import OwnerFiles
from tests.helpers.pointers import rows_of, worker, write_recipe
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog
from worker_node.audit.reading import verify
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.pace import Pace
from worker_node.guarding.policy import Policy
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess


def test_seconds_are_believed_up_to_the_room_that_the_page_names() -> None:
    check_seconds("bob", 1.05 * 100 + 1, waited=100)
    with pytest.raises(NodeFailed, match="impossible seconds"):
        check_seconds("bob", 1.05 * 100 + 1.01, waited=100)


def test_a_claim_of_500_000_000_rows_counts_for_20_000_beside_2_000() -> None:
    counted = counted_rows({"bob": 2000, "mallory": 500_000_000}, FederationRecipe().rows_bound)
    assert counted == {"bob": 2000, "mallory": 20_000}


def write_log(path: Path, key: ec.EllipticCurvePrivateKey | None = None) -> list[bytes]:
    async def write() -> None:
        log = AuditLog(path, key)
        for number in range(4):
            await log.record(Entry("keep", object=str(number)), durable=True)
        await log.close()

    asyncio.run(write())
    return path.read_bytes().splitlines()


def test_each_line_of_the_log_holds_the_sha_256_of_the_one_before(tmp_path: Path) -> None:
    lines = write_log(tmp_path / "audit.jsonl")
    for before, line in pairwise(lines):
        assert json.loads(line)["previous"] == hashlib.sha256(before).hexdigest()


def test_an_anchor_without_an_identity_is_unsigned_and_proves_nothing(tmp_path: Path) -> None:
    """Whoever can write the log writes another, and its anchor."""
    real, forged = tmp_path / "real", tmp_path / "forged"
    for folder in (real, forged):
        folder.mkdir()
    write_log(real / "audit.jsonl")
    assert "signature" not in (real / "audit.jsonl.anchor").read_text(encoding="utf-8")
    write_log(forged / "audit.jsonl")
    for name in ("audit.jsonl", "audit.jsonl.anchor"):
        (real / name).write_bytes((forged / name).read_bytes())
    assert verify(real / "audit.jsonl", None).fault == ""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


def pointed(owner: OwnerFiles, folder: Path, rules: str) -> tuple[str, ...]:
    """Flags of a node that allows pointers, and logs beside its policy."""
    policy, log = folder / "policy.toml", folder / "audit.jsonl"
    policy.write_text(f'modes = ["pointers"]\n[pointers]\n{rules}\n', encoding="utf-8")
    return (*owner.flags, "--policy", str(policy), "--audit-log", str(log))


def test_with_gradients_nothing_is_counted(
    owners: list[OwnerFiles], recipe_file: str, tmp_path: Path
) -> None:
    flags = pointed(owners[1], tmp_path, "gradients = true\nnumbers = 0")
    with local_nodes({"bob": flags}) as (node,), worker(node, recipe_file) as bob:
        inputs, _ = rows_of(bob)
        numbers = {(inputs + one).sum().get().item() for one in range(3)}
        assert len(numbers) == 3


def test_pointer_commands_without_an_answer_stand_in_the_line_of_the_next_one(
    owners: list[OwnerFiles], recipe_file: str, tmp_path: Path
) -> None:
    flags = pointed(owners[1], tmp_path, "gradients = true")
    with local_nodes({"bob": flags}) as (node,), worker(node, recipe_file) as bob:
        found: Any = torch.ones(2).send(bob)  # type: ignore[attr-defined]
        for _ in range(300):
            found = found + 1
        assert found.get().tolist() == [301.0, 301.0]
    log = (tmp_path / "audit.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines()]
    told = [line["detail"] for line in lines if line["what"] == "pointer commands"]
    counts = [re.fullmatch(r"(\d+) frames, (\d+) bytes of commands", detail) for detail in told]
    assert all(counts)
    frames, size = max((int(one[1]), int(one[2])) for one in counts if one)
    assert frames > 1
    assert size > 300


def test_frames_of_pointer_commands_are_not_counted_as_requests(
    owners: list[OwnerFiles], recipe_file: str
) -> None:
    """At a pace of which requests would wait for ever."""
    shard = Shard(tuple(owners[1].train), tuple(owners[1].held_out))
    burst = 5

    def work(url: str) -> list[float]:
        bob = connect(f"bob={url}", recipe=recipe_file)
        found: Any = torch.zeros(1).send(bob)  # type: ignore[attr-defined]
        told = [(found + number).get().item() for number in range(10 * burst)]
        bob.leave()
        return told

    async def scene() -> None:
        stands_still = Pace(burst=burst, rate=1e-9, clock=lambda: 0.0)
        guard = Guard(Policy(modes=("pointers",)), pace=stands_still)
        node = DataOwnerNode("bob", shard, TrainerProcess(shard), guard=guard)
        async with listening(node, "127.0.0.1", 0) as url:
            assert await asyncio.to_thread(work, url) == list(range(10 * burst))

    asyncio.run(scene())
