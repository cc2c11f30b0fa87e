"""The audit log: one line a request, on disk before the answer, and every change of it visible."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import ConnectionClosed

from scripts.local.nodes import local_nodes
from shared.errors import StorageError
from shared.model.recipe import Recipe
from shared.pysyft import ObjectMessage, ObjectRequestMessage
from shared.wire.commands import CANCEL, EVALUATE, TRAIN
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, pack, reply, run, send_state, tensor, training
from tests.helpers.peers import coordinator
from tests.helpers.running import Finished
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog, older_files
from worker_node.audit.reading import lines_of, verify


def test_a_session_is_in_the_log_line_by_line(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    log = tmp_path / "audit.jsonl"

    async def session(url: str) -> None:
        async with coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            reply(await peer.ask(command(TRAIN, **training(recipe, state_id, result_id=8))))
            reply(await peer.ask(pack(ObjectRequestMessage(8, None, ""))))
            lines = log.read_text(encoding="utf-8").splitlines()
            assert json.loads(lines[-1])["what"] == "fetch"  # before its answer could be read
            wanted = {"state_id": state_id, "base_id": None, "recipe": recipe.to_json()}
            reply(await peer.ask(command(EVALUATE, **wanted)))
            await peer.ask(command("steal"))
            await peer.ask(b"garbage")
            await peer.ask(command(CANCEL))

    with local_nodes({"bob": (*owners[1].flags, "--audit-log", str(log))}) as (node,):
        run(session(node.url))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    told = [(line["what"], line["decision"]) for line in lines]
    assert told == [
        ("start", "allowed"),
        ("handshake", "allowed"),
        ("keep", "allowed"),
        ("train", "began"),
        ("train", "allowed"),
        ("fetch", "allowed"),
        ("evaluate", "allowed"),
        ("steal", "failed"),
        ("request", "failed"),
        ("cancel", "allowed"),
        ("stop", "allowed"),
    ]
    fetched = lines[5]
    assert fetched["object"] == "8"
    assert fetched["who"] == "a-test"
    assert fetched["address"].startswith("127.0.0.1:")
    assert fetched["bytes_out"] > 1000
    assert [line["n"] for line in lines] == list(range(1, len(lines) + 1))
    text = log.read_text(encoding="utf-8")
    assert not any(message.text in text for message in owners[1].train)

    shown = cli("worker_node", "log", "--audit-log", log, "--decision", "failed")
    assert shown.out.count("\n") == 2
    assert "(not proved)" in shown.out
    assert "all there, unchanged" in cli("worker_node", "log", "--audit-log", log, "--verify").out
    nobody = cli("worker_node", "log", "--audit-log", log, "--coordinator", "x", "--since", "2h")
    assert (nobody.code, nobody.out) == (0, "")


def test_what_strangers_say_cannot_steer_the_owners_terminal(
    tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    path = tmp_path / "audit.jsonl"
    forged = "x\n      9  2026-11-22T00:00:00Z  allowed"

    async def write() -> None:
        log = AuditLog(path)
        await log.record(Entry("\x1b[2J\x07", detail=forged))
        await log.close()

    asyncio.run(write())
    shown = cli("worker_node", "log", "--audit-log", path).out
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert verify(path, None).fault == ""


def changed(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"object": "7"', b'"object": "8"') for line in lines]


TAMPERINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line changed": changed,
    "a line removed": lambda lines: lines[:5] + lines[6:],
    "two lines swapped": lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]],
    "a line added": lambda lines: [*lines[:5], lines[5], *lines[5:]],
    "the end cut off": lambda lines: lines[:-1],
    "much of the end cut off": lambda lines: lines[:3],
    "the last line changed": lambda lines: [*lines[:-1], lines[-1].replace(b'"19"', b'"18"')],
    "all cut off": lambda lines: [],
    "garbage for a line": lambda lines: [*lines[:5], b"[1]\n", *lines[6:]],
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_verify_finds(name: str, tmp_path: Path) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, key=key)
    assert verify(path, key.public_key()).fault == ""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(TAMPERINGS[name](lines)))
    assert verify(path, key.public_key()).fault != ""


def test_an_anchor_that_is_another_unsigned_or_gone_is_found_and_the_node_does_not_go_on(
    tmp_path: Path,
) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    anchor = path.with_name("audit.jsonl.anchor")

    def found() -> str:
        with pytest.raises(StorageError, match="not as this node left it"):
            AuditLog(path, key)
        return verify(path, key.public_key()).fault

    write_log(path, key=ec.generate_private_key(ec.SECP256R1()))
    assert "signature" in found()
    unsigned = {name: json.loads(anchor.read_bytes())[name] for name in ("lines", "hash", "time")}
    anchor.write_text(json.dumps(unsigned), encoding="utf-8")
    assert "lacks this node's signature" in found()
    anchor.write_bytes(b"")
    assert "no anchor" in found()
    anchor.unlink()
    assert "is missing" in found()


def test_a_node_that_was_killed_before_its_first_line_goes_on(tmp_path: Path) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, lines=0, key=key)
    assert path.with_name("audit.jsonl.anchor").stat().st_size > 0
    write_log(path, key=key)
    assert verify(path, key.public_key()).fault == ""


def test_each_line_holds_the_sha_256_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path)
    lines = path.read_bytes().splitlines()
    assert len(lines) == 20
    assert json.loads(lines[0])["previous"] == "0" * 64
    for before, line in pairwise(lines):
        assert json.loads(line)["previous"] == hashlib.sha256(before).hexdigest()


def test_a_file_that_is_put_aside_while_the_log_is_read_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, rotate_bytes=2000)
    reading = lines_of(path)
    lines = [next(reading)]
    write_log(path, rotate_bytes=2000)
    lines += reading
    numbers = [json.loads(line)["n"] for line in lines]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 20


def test_the_chain_goes_on_over_restarts_and_files(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(3):
        write_log(path, rotate_bytes=2000)
    assert len(older_files(path)) >= 3
    found = verify(path, None)
    assert (found.first, found.last, found.fault) == (1, 60, "")
    older_files(path)[1].unlink()
    assert "should stand here" in verify(path, None).fault


def test_an_anchor_that_vouches_for_files_that_were_moved_away_proves_nothing(
    tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    """An older anchor, and the lines that it is of gone: the rest could be anybody's."""
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    anchor = path.with_name("audit.jsonl.anchor")
    write_log(path, key=key, rotate_bytes=2000)
    older = anchor.read_bytes()
    for _ in range(2):
        write_log(path, key=key, rotate_bytes=2000)
    assert verify(path, key.public_key()).fault == ""
    anchor.write_bytes(older)
    for file in older_files(path):
        first = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["n"]
        if first <= 30:
            file.unlink()
    found = verify(path, key.public_key())
    assert found.first > 21
    assert "line number 20, which the anchor vouches for, is missing" in found.fault


def test_lines_behind_the_anchor_are_told(tmp_path: Path, cli: Callable[..., Finished]) -> None:
    path = tmp_path / "audit.jsonl"
    anchor = path.with_name("audit.jsonl.anchor")
    write_log(path)
    older = anchor.read_bytes()
    write_log(path)
    anchor.write_bytes(older)
    shown = cli("worker_node", "log", "--audit-log", path, "--verify").out
    assert "vouches for the first 20" in shown
    assert "nothing vouches for later ones" in shown


def test_a_log_that_is_off_is_no_file_and_the_node_serves(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def session(url: str) -> None:
        async with coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            told = reply(await peer.ask(command(TRAIN, **training(recipe, state_id))))
            assert told["rows"] == 140

    with local_nodes({"bob": (*owners[1].flags, "--audit-log", "off")}) as (node,):
        run(session(node.url))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_line_that_a_crash_cut_short_is_dropped_and_a_shortened_log_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path)
    with path.open("ab") as file:
        file.write(b'{"n": 21, "time"')
    write_log(path)
    assert verify(path, None).last == 40
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:30]))
    with pytest.raises(StorageError, match="not as this node left it"):
        AuditLog(path)


def test_two_nodes_do_not_write_one_log(tmp_path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        with pytest.raises(StorageError, match="another node writes"):
            AuditLog(tmp_path / "audit.jsonl")
        await log.close()

    asyncio.run(scene())


def test_a_node_whose_disk_is_full_answers_nothing_and_serves_again_when_it_is_not(
    owners: list[OwnerFiles], tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"

    async def greets(url: str) -> None:
        async with coordinator(url) as peer:
            await peer.ask(pack(ObjectMessage(tensor([1.0]))))

    def limit(pid: int, size: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    with local_nodes({"bob": (*owners[1].flags, "--audit-log", str(log))}) as (node,):
        run(greets(node.url))
        size = log.stat().st_size
        limit(node.process.pid, size + 100)  # room for a third of a line
        with pytest.raises(ConnectionClosed, match="audit log"):
            run(greets(node.url))
        assert log.stat().st_size == size
        limit(node.process.pid, resource.RLIM_INFINITY)
        run(greets(node.url))
    assert verify(log, None).fault == ""
    assert os.access(log, os.R_OK)
