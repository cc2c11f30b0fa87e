"""The first trainer is forked from the node while that is plain, and is like any later one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.identity.folder import read_key
from tests.conftest import OwnerFiles
from tests.helpers.identities import Federation, make_federation
from tests.helpers.running import done_well, finish, run_python, start, until
from worker_node.training.forked import TITLE

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="trainers are forked on Linux alone"),
]

TRAINED_BY_BOTH = """
import asyncio, hashlib, json, os, signal
from worker_node.training.forked import collect_again, fork_trainer

forked = fork_trainer(1)
from shared.model.classifier import initial_state
from shared.model.recipe import load_recipe
from shared.reading import memory_file
from worker_node.data.packed_messages import PackedMessages
from worker_node.data.shard import Message, Shard
from worker_node.training.trainer_process import TrainerProcess

memory_file.PIECE = PIECE_BYTES
rows = [Message(number % 2, f"win prize {number}") for number in range(80)]
packed = PackedMessages(rows)
recipe = load_recipe("default")

async def main():
    shard = Shard(packed.choice(range(80)), HELD_OUT)
    trainer = TrainerProcess(shard, 1, forked)
    request = {"op": "train", "state": initial_state(recipe, 1).tobytes(), "seed": 7, "round": 1}
    told = []
    try:
        for _ in range(2):
            await trainer.start()
            place = "/proc/%d" % trainer.pid
            kept = sorted(int(one) for one in os.listdir(place + "/fd"))
            name = open(place + "/comm").read().strip()
            links = [os.readlink("%s/fd/%d" % (place, one)) for one in kept]
            memory = sum("memfd:fedsms" in one for one in links)
            request["recipe"] = recipe.to_json()
            answer = await trainer.call(dict(request), lambda: None, lambda _: None)
            digest = hashlib.sha256(answer["state"]).hexdigest()
            told.append([trainer.pid == forked.pid, name, len(kept), memory, digest])
            told[-1].append(os.getpgid(trainer.pid) == trainer.pid)
            os.kill(trainer.pid, signal.SIGKILL)
            while trainer.condition == "running":
                await asyncio.sleep(0.01)
    finally:
        await trainer.close()
    print(json.dumps(told))

asyncio.run(main())
"""

NOT_FORKED = """
import sys, threading, types
from worker_node.training.forked import fork_trainer

if {how!r} == "threads":
    held = threading.Event()
    threading.Thread(target=held.wait, daemon=True).start()
else:
    sys.modules["syft"] = types.ModuleType("syft")
print(fork_trainer(1))
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def served(
    federation: Federation, owners: list[OwnerFiles], tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    flags = ("--identity", federation.node("bob"), "--coordinator", "coordinator", "--port", 0)
    node = start("worker_node", "serve", *owners[1].flags, *flags, cwd=tmp_path)
    try:
        assert node.stdout is not None
        assert "wss://" in node.stdout.readline()
        yield node
    finally:
        node.terminate()
        finish(node)


def trainer_of(node: int) -> int:
    (found,) = (
        int(one)
        for one in Path(f"/proc/{node}/task/{node}/children").read_text().split()
        if Path(f"/proc/{one}/comm").read_text().strip() == TITLE
    )
    return found


def has_ended(pid: int) -> bool:
    """Also where nobody has asked yet how."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return "\nState:\tZ" in status


def holds(pid: int, secret: bytes) -> bool:
    """Whether the bytes are anywhere in what the process may write to."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found is None:
                continue
            start, end = (int(one, 16) for one in found.groups())
            memory.seek(start)
            if secret in memory.read(end - start):
                return True
    return False


def trained_by_both(piece: int, held_out: str) -> list[list[object]]:
    script = TRAINED_BY_BOTH.replace("PIECE_BYTES", str(piece)).replace("HELD_OUT", held_out)
    told: list[list[object]] = json.loads(done_well(run_python("-W", "error", "-c", script)))
    return told


@pytest.mark.parametrize(
    ("piece", "held_out", "files"),
    [
        (2**20, "tuple(rows[:8])", 0),
        (1, "packed.choice(range(8))", 1),
        (1, "PackedMessages(rows[:8])", 2),
        (1, "tuple(rows[:8])", 1),
    ],
    ids=["over the pipe", "one file", "a file each", "a file and the pipe"],
)
def test_a_forked_trainer_and_the_next_one_give_the_same_bits(
    piece: int, held_out: str, files: int, all_over_the_pipe: str
) -> None:
    (first, name, kept, memory, digest, leads), (second, _, _, again, other, leads_too) = (
        trained_by_both(piece, held_out)
    )
    assert (first, second) == (True, False)
    assert digest == other == all_over_the_pipe
    assert name == TITLE
    # standard input, output and error, where files come, and where its answers go
    assert (kept, memory, again) == (5 + files, files, files)
    assert leads
    assert leads_too


@pytest.fixture(scope="module")
def all_over_the_pipe() -> str:
    return str(trained_by_both(2**20, "tuple(rows[:8])")[0][4])


@pytest.mark.parametrize("how", ["threads", "syft"])
def test_a_process_that_is_not_plain_forks_no_trainer(how: str) -> None:
    assert done_well(run_python("-c", NOT_FORKED.format(how=how))).split() == ["None"]


def test_there_is_no_key_in_the_trainer_of_a_node_that_serves(
    served: subprocess.Popen[str], federation: Federation
) -> None:
    number = read_key(federation.node("bob")).private_numbers().private_value
    secrets = [number.to_bytes(32, order) for order in ("little", "big")]
    trainer = trainer_of(served.pid)
    assert any(holds(served.pid, one) for one in secrets)
    assert not any(holds(trainer, one) for one in secrets)


def test_a_forked_trainer_ends_with_its_node(served: subprocess.Popen[str]) -> None:
    trainer = trainer_of(served.pid)
    os.kill(served.pid, signal.SIGKILL)
    until(lambda: has_ended(trainer), "the trainer to end")
