"""docs/security.md, sentence by sentence: each is held by a test, or says what is not prevented."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers import connect
from server.rounds.claims import counted_rows
from server.rounds.exchange import CLOCKS_APART, SLACK_SECONDS, check_seconds
from shared.errors import NodeFailed
from shared.model.recipe import FederationRecipe
from shared.pysyft.messages.content_rules import _MAX_DEPTH
from shared.pysyft.messages.item_count import MAX_VALUES
from shared.wire.commands import MAX_ROWS
from shared.wire.timeouts import DEFAULT_TIMEOUTS
from tests.conftest import OwnerFiles
from tests.helpers.pointers import rows_of, worker, write_recipe
from tests.helpers.running import ROOT
from worker_node.audit.lines import Entry
from worker_node.audit.log import ROTATE_BYTES, AuditLog
from worker_node.audit.reading import verify
from worker_node.data.shard import Shard
from worker_node.guarding import owner_prompt, pace
from worker_node.guarding.guard import _FRAME_ROOM, Guard
from worker_node.guarding.pace import Pace
from worker_node.guarding.policy import BITS_A_NUMBER, PointerBounds, Policy
from worker_node.node import MAX_OBJECTS, MAX_STATES, DataOwnerNode
from worker_node.pointers import store
from worker_node.pointers.release import ANSWER_BITS, Asked, price
from worker_node.serving import bounded_connection as bounded
from worker_node.serving.gate import GateSettings
from worker_node.serving.listener import MAX_SESSIONS, MAX_SESSIONS_OF_ONE, listening
from worker_node.training.known_trainings import FINISHED_SECONDS
from worker_node.training.trainer_process import TrainerProcess

PAGE = ROOT / "docs" / "security.md"
MANIFEST = tomllib.loads((Path(__file__).parent / "security_page.toml").read_text(encoding="utf-8"))
HELD: dict[str, list[str]] = MANIFEST["held"]
OTHERS = [*MANIFEST["explains"], *MANIFEST["not_prevented"], *MANIFEST["measured"]]
_END = re.compile(r"(?<=[.:!?*])\s+(?=[A-Z*`\"(])")


def blocks(text: str) -> list[str]:
    """Paragraphs, bullets and rows of tables, each in one line; no headings and no code."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found: list[str] = []
    is_open = False
    for line in map(str.strip, plain.splitlines()):
        if line.startswith("|"):
            found += [line] if re.search(r"\w", line) else []
            is_open = False
        elif not line or line.startswith("#"):
            is_open = False
        elif is_open and not line.startswith("- "):
            found[-1] += f" {line}"
        else:
            found.append(line.removeprefix("- "))
            is_open = True
    return found


def sentences() -> list[str]:
    """Those that promise something, as far as their paragraph says."""
    found: list[str] = []
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if not block.startswith("Not prevented"):
            found += [block] if block.startswith("|") else _END.split(block)
    return found


def test_the_page_is_read_whole() -> None:
    assert len(sentences()) > 150
    assert blocks("# a\nb. C\nd\n\n- e\n- f\n  g\n\n| h |\n|---|\n```\ni\n```\n") == [
        "b. C d",
        "e",
        "f g",
        "| h |",
    ]


def test_each_sentence_is_held_by_a_test_or_says_what_is_not_prevented() -> None:
    phrases = [*HELD, *OTHERS]
    loose = [one for one in sentences() if not any(one.startswith(said) for said in phrases)]
    assert loose == []


def test_each_entry_has_its_sentence_and_its_tests() -> None:
    there = sentences()
    gone = [said for said in (*HELD, *OTHERS) if not any(one.startswith(said) for one in there)]
    assert gone == []
    for tests in HELD.values():
        assert tests
        for test in tests:
            file, name = test.split("::")
            code = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {name}\(", code, re.MULTILINE), test


def of_the_code() -> dict[str, str]:
    """What the page says of bounds, written with the numbers of the code."""
    gate, pointers = GateSettings(), PointerBounds()
    assert DEFAULT_TIMEOUTS.connect_timeout == DEFAULT_TIMEOUTS.handshake_timeout
    return {
        "handshake": f"greeting | {DEFAULT_TIMEOUTS.handshake_timeout:g} s each",
        "one address": f"{gate.strangers_of_one} in their handshake, {gate.rate:g} a second after "
        f"the first {gate.burst:g}; refused before TLS",
        "in all": f"{gate.strangers} in their handshake, {gate.connections} in all, {MAX_SESSIONS} "
        f"sessions, {MAX_SESSIONS_OF_ONE} of one coordinator",
        "first": f"first message | {bounded.GREETING_BYTES // 1024} KiB",
        "later": f"4 bytes a parameter that the policy allows, and {_FRAME_ROOM // 2**20} MiB",
        "slow": f"{bounded.MESSAGE_SECONDS:g} s, and one more for each "
        f"{bounded.SLOWEST_BYTES / 1024:g} KiB that came",
        "stalled": f"{bounded.STALLED_SECONDS:g} s without a byte",
        "requests": f"{pace.BURST:,.0f} at once, then {pace.RATE:g} a second",
        "pings": f"{bounded.CONTROL_BURST} at once, {bounded.CONTROL_RATE:g} a second",
        "values": f"{MAX_VALUES:,}, counted before one is built; {_MAX_DEPTH} levels",
        "objects": f"{MAX_OBJECTS}, and bytes of {MAX_STATES} models",
        "pointers": f"{pointers.megabytes // 1024} GiB (Linux), {pointers.seconds} s a frame of "
        f"commands, {store.MAX_OBJECTS:,} objects",
        "memory": "answered from memory for ten minutes" if FINISHED_SECONDS == 600 else "",
        "silence": f"silence for {owner_prompt.ANSWER_SECONDS / 60:g} minutes is a no",
        "log": f"Files of more than {ROTATE_BYTES // 2**20} MiB are put aside",
        "rows": f"A greeting tells at most {MAX_ROWS:,} rows of a kind",
        "claims": f"`rows_bound` ({FederationRecipe().rows_bound:g}) times the upper median",
        "room": f"({100 * (CLOCKS_APART - 1):.0f} % and {SLACK_SECONDS:g} s are left for clocks",
        "number": f"A number of `[pointers] numbers` is {BITS_A_NUMBER} bits",
        "frame": f"| a frame of commands | {ANSWER_BITS}:",
        "object": f"| a number that is fetched | {price(Asked.OBJECT, 0)}:",
        "sizes": f"| sizes of a tensor | {price(Asked.SIZES, 0)}:",
        "results": f"| how many results an operation gave | {price(Asked.RESULTS, 0)} |",
        "scores": f"{price(Asked.SCORES, 0)} for the loss, and "
        f"{price(Asked.SCORES, 1) - price(Asked.SCORES, 0)} for each row",
        "guesses": f"at most {BITS_A_NUMBER // ANSWER_BITS} for each number",
    }


@pytest.mark.parametrize("what", of_the_code())
def test_the_numbers_of_the_page_are_those_of_the_code(what: str) -> None:
    said = of_the_code()[what]
    assert said
    assert said in " ".join(PAGE.read_text(encoding="utf-8").split())


def test_after_each_attack_the_node_is_asked_to_train(
    bob: LocalNode, request: pytest.FixtureRequest
) -> None:
    """Every test of this folder that has a node of the shared ones."""
    assert bob.url
    assert "still_serves" in request.fixturenames


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
