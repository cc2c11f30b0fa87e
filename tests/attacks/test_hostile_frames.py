"""Frames made to cost memory or time: oversized, in pieces, truncated, nested, of many small
values, compressed, and pings that nobody reads the answers of."""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from scripts.local.nodes import LocalNode, local_nodes
from shared.errors import NodeFailed
from shared.wire.commands import TRAIN
from shared.wire.frames import Frame, Kind, frame, new_request_id
from shared.wire.transport import transport_options
from tests.attacks.scene import StockWorker, forget_peak, memory, peak_memory, report
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, error, pack, run, training
from tests.helpers.peers import Peer, coordinator, stranger

MEBIBYTE = 2**20
MAX_GROWTH = 160 * MEBIBYTE
"""What one hostile message may make a node take, for a moment: some copies of 17 MiB."""


def raw(peer: Peer, opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return WebSocketFrame(opcode, data, fin).serialize(mask=True, extensions=[])


async def flood(peer: Peer, piece: bytes) -> None:
    """Sends it again and again, up to a gigabyte. Raises OSError where the node hangs up."""
    for _ in range(2**30 // len(piece)):
        peer.connection.transport.write(piece)
        await peer.connection.drain()
        if peer.connection.transport.is_closing():
            raise ConnectionError
        await asyncio.sleep(0)


async def ending(peer: Peer) -> int:
    await peer.connection.wait_closed()
    assert peer.connection.close_code is not None
    return peer.connection.close_code


def test_a_stranger_may_send_no_more_than_a_greeting(bob: LocalNode) -> None:
    async def session() -> None:
        async with stranger(bob.url) as peer:
            await peer.connection.send(bytes(MEBIBYTE))
            assert await ending(peer) == 1009

    run(session())


def test_a_message_larger_than_any_model_is_refused_by_its_header(bob: LocalNode) -> None:
    async def session() -> None:
        forget_peak(bob.process.pid)
        before = memory(bob.process.pid)
        async with coordinator(bob.url) as peer:
            header = struct.pack("!BBQ", 0x82, 0xFF, 2**40) + bytes(4)
            peer.connection.transport.write(header)
            assert await ending(peer) == 1009
        assert peak_memory(bob.process.pid) - before < 16 * MEBIBYTE

    run(session())


def test_a_message_in_endless_pieces_ends(bob: LocalNode) -> None:
    async def session() -> None:
        before = memory(bob.process.pid)
        async with coordinator(bob.url) as peer:
            peer.connection.transport.write(raw(peer, Opcode.BINARY, b"", fin=False))
            piece = raw(peer, Opcode.CONT, b"", fin=False) * 1000
            with pytest.raises((ConnectionClosed, OSError)):
                await flood(peer, piece)
        assert memory(bob.process.pid) - before < 32 * MEBIBYTE

    run(session())


@pytest.mark.parametrize("size", [0, 1, 16, 17, 18, 40])
def test_a_truncated_frame_is_malformed(bob: LocalNode, size: int) -> None:
    whole = frame(Kind.REQUEST, new_request_id(), pack({"a": 1}))

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            await peer.connection.send(whole[:size])
            if size < 17:
                assert await ending(peer) == 1002
            else:
                assert isinstance(error(await peer.receive()), NodeFailed)

    run(session())
    report("nested, cut and endless frames", "not run here", "malformed; memory stays bounded")


def nested(depth: int) -> bytes:
    return b"\x28" + b"\x91" * depth + b"\x00"


def many_small(size: int) -> bytes:
    """Lists of 16,384 numbers each, in a list: millions of values in some megabytes."""
    inner = b"\xdc\x40\x00" + bytes(16_384)
    count = size // len(inner)
    return b"\x28\xdc" + struct.pack("!H", count) + inner * count


def announced(depth: int) -> bytes:
    """Lists that each announce many values: msgpack takes memory for what is announced."""
    return b"\x28" + b"\xdc\x40\x00" * depth


HEAVY: dict[str, Any] = {
    "nested too deep": lambda: nested(2**20),
    "16 MB of small numbers": lambda: many_small(16_000_000),
    "16 MB of empty lists": lambda: b"\x28\xdd" + struct.pack("!I", 2**24) + b"\x90" * 16_000_000,
    "16 MB of empty maps": lambda: b"\x28\xdc\x40\x00" + b"\x80" * 16_000_000,
    "16 MB in a string": lambda: b"\x28\xdb" + struct.pack("!I", 16_000_000) + bytes(16_000_000),
    "announced and not sent": lambda: announced(500),
    "announced in many": lambda: announced(100_000),
    "extensions": lambda: b"\x28" + b"\xd4\x01\x00" * 5000,
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_message_costs_little_and_delays_nobody(bob: LocalNode, name: str) -> None:
    async def session() -> None:
        forget_peak(bob.process.pid)
        before = memory(bob.process.pid)
        async with coordinator(bob.url) as peer:
            asked = asyncio.create_task(peer.ask(HEAVY[name]()))
            async with coordinator(bob.url):
                pass  # meanwhile others are served
            assert isinstance(error(await asked), NodeFailed)
        assert peak_memory(bob.process.pid) - before < MAX_GROWTH

    run(session())
    report("millions of small values in 16 MB", "not run here", "refused once 32,768 are counted")


def test_messages_that_wait_take_no_more_memory_than_one_or_two(bob: LocalNode) -> None:
    """Many models in a row, faster than the node reads them; 16 of 16 MB would be 256 MB."""

    async def session() -> None:
        forget_peak(bob.process.pid)
        before = memory(bob.process.pid)
        heavy = frame(Kind.REQUEST, new_request_id(), HEAVY["16 MB in a string"]())
        async with coordinator(bob.url) as peer:
            await asyncio.gather(*(peer.connection.send(heavy) for _ in range(12)))
            for _ in range(12):
                await peer.receive()
        assert peak_memory(bob.process.pid) - before < MAX_GROWTH

    run(session())


def test_a_session_keeps_a_bounded_number_of_bytes(bob: LocalNode) -> None:
    import torch

    from shared.pysyft import ObjectMessage

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            answers = []
            for number in range(6):
                large: Any = torch.zeros(4_000_000)
                large.id = number
                answers.append(await peer.ask(pack(ObjectMessage(large))))
            assert [one.kind for one in answers[:4]] == [Kind.REPLY] * 4
            assert "bytes on this node" in str(error(answers[5]))

    run(session())


def with_a_gradient() -> Any:
    import torch

    made: Any = torch.zeros(3, requires_grad=True)
    made.grad = torch.zeros(1_000_000)[:3]
    return made


def with_a_description() -> Any:
    import torch

    made: Any = torch.zeros(3)
    made.description = "x" * 100_000
    return made


def with_an_id_of_words() -> Any:
    import torch

    made: Any = torch.zeros(3)
    made.id = "x" * 100_000
    return made


@pytest.mark.parametrize("make", [with_a_gradient, with_a_description, with_an_id_of_words])
def test_what_is_kept_is_numbers_whose_bytes_are_counted(
    bob: LocalNode, make: Callable[[], Any]
) -> None:
    """Memory that hangs on a tensor and is no number of it would be counted by nobody."""
    from shared.pysyft import ObjectMessage

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            made = make()
            made.id = getattr(made, "id", None) or 7
            told = str(error(await peer.ask(pack(ObjectMessage(made)))))
            assert "keeps tensors without tags, description or gradient" in told

    run(session())


def test_results_that_are_still_to_come_count_as_bytes_of_the_session(
    owners: list[OwnerFiles], tmp_path: Path
) -> None:
    """Trainings of a large model that were begun, and whose results nobody fetches."""
    import torch

    from shared.model.recipe import Recipe
    from shared.pysyft import ObjectMessage

    tables = {
        "text": {"tokens": 4, "buckets": 150_000},
        "model": {"embedding": 8, "hidden": 2},
        "training": {"batch_size": 256, "max_batches": 1},
    }
    recipe = Recipe.parse(tables, source="here")
    size = 4 * recipe.parameters
    (tmp_path / "policy.toml").write_text(
        f"[recipe]\nparameters = {recipe.parameters}\n", encoding="utf-8"
    )

    async def session(url: str) -> None:
        async with coordinator(url) as peer:
            kept = (4 * (size + 2**20)) // size  # what fits, states and results together
            state: Any = torch.zeros(recipe.parameters)
            state.id = 1
            assert (await peer.ask(pack(ObjectMessage(state)))).kind is Kind.REPLY
            for number in range(4):
                wanted = training(recipe, 1, seed=number + 1)
                await peer.send(Kind.REQUEST, command(TRAIN, **wanted))
            answers: list[Frame] = []
            while len(answers) < 4:  # who is refused is told before the others are done
                answer = await peer.receive()
                answers += [answer] if answer.kind in (Kind.REPLY, Kind.ERROR) else []
            done = [one for one in answers if one.kind is Kind.REPLY]
            assert 1 + len(done) == kept < 5
            refused = [error(one) for one in answers if one.kind is Kind.ERROR]
            assert all("bytes on this node" in str(one) for one in refused)

    with local_nodes({"bob": (*owners[1].flags, "--policy", str(tmp_path / "policy.toml"))}) as (
        node,
    ):
        run(session(node.url))


def test_compression_is_not_spoken(bob: LocalNode) -> None:
    bomb = zlib.compress(bytes(100 * MEBIBYTE))

    async def session() -> None:
        options = {**transport_options(), "compression": "deflate"}
        async with connect(bob.url, proxy=None, **options) as connection:  # type: ignore[arg-type]
            assert connection.protocol.extensions == []
            peer = Peer(connection)
            await peer.greet()
            for scheme in (b"\x29", b"\x2a"):
                assert "compressed" in str(error(await peer.ask(scheme + bomb)))

    run(session())


def test_pysyfts_own_worker_unpacks_a_bomb(stock: StockWorker) -> None:
    size = 200 * MEBIBYTE
    bomb = b"\x2a" + zlib.compress(msgpack.packb(bytes(size)))
    assert len(bomb) < size // 900
    before = memory(stock.process.pid)
    stock.ask_bytes(bomb)
    grown = peak_memory(stock.process.pid) - before
    assert grown > size
    report(
        f"a zip bomb of {len(bomb) // 1024} KiB",
        f"{grown // MEBIBYTE} MiB of memory",
        "malformed: nothing is decompressed",
    )


def test_pysyfts_own_worker_takes_a_message_of_any_size(stock: StockWorker) -> None:
    size = 100 * MEBIBYTE
    before = memory(stock.process.pid)
    stock.ask_bytes(bytes(size // 2))  # sent as twice as many letters
    grown = peak_memory(stock.process.pid) - before
    assert grown > size
    report(
        "a message of 100 MiB", f"{grown // MEBIBYTE} MiB of memory", "refused by its header, 1009"
    )


def test_pysyfts_own_worker_lets_garbage_end_another_ones_connection(stock: StockWorker) -> None:
    """It takes messages of all connections from one queue, and who waits first has the error."""
    url = f"ws://127.0.0.1:{stock.port}"

    async def scene() -> None:
        async with connect(url, proxy=None) as victim:
            while True:  # until it is the victim's turn
                async with connect(url, proxy=None) as attacker:
                    await attacker.send("no message")
                    closing = [asyncio.create_task(one.wait_closed()) for one in (victim, attacker)]
                    await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
                    for task in closing:
                        task.cancel()
                if victim.close_code is not None:
                    return

    run(scene())
    report("garbage for a message", "ends another's connection", "ends, at most, its own")


def test_pings_whose_answers_nobody_reads_end_the_connection(bob: LocalNode) -> None:
    async def session() -> None:
        before = memory(bob.process.pid)
        async with coordinator(bob.url) as peer:
            peer.connection.transport.pause_reading()
            pings = raw(peer, Opcode.PING, os.urandom(125)) * 1000
            with pytest.raises((ConnectionClosed, OSError)):
                await flood(peer, pings)
        assert memory(bob.process.pid) - before < 32 * MEBIBYTE

    run(session())
