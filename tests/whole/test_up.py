"""A coordinator that stays: processes, TLS, runs that are asked for, killed, and gone on with."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from scripts.local.nodes import LocalNode, local_nodes
from server.standing.asking import MAX_ASKED, PLACE, ask
from tests.conftest import OwnerFiles
from tests.helpers.dialling_nodes import free_port
from tests.helpers.identities import Federation, make_federation
from tests.helpers.running import Finished, done_well, finish, refused, run, start, until
from tests.helpers.scraping import scraped, values

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("ours"))
    made.coordinator()
    return made


@pytest.fixture(scope="module")
def place() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def dialling(ours: Federation, owners: list[OwnerFiles], place: str) -> Iterator[list[LocalNode]]:
    flags = {
        one.id: (*one.flags, "--identity", str(ours.node(one.id)), "--dial", f"wss://{place}")
        for one in owners
    }
    with local_nodes(flags) as running:
        yield running


class Up:
    """A coordinator that stays, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def says(self, words: str, times: int = 1) -> None:
        until(lambda: sum(words in line for line in self.said) >= times, f"{words!r}, {self.said}")

    def close(self) -> None:
        self.process.wait(60)
        self._reader.join(60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(60)
        return code


@contextmanager
def staying(ours: Federation, place: str, folder: Path, *flags: object) -> Iterator[Up]:
    own = ("--identity", ours.coordinator(), "--authority", ours.authority.folder)
    process = start("server", "up", "--listen", place, *own, *flags, cwd=folder)
    up = Up(process)
    try:
        up.says("listens at")
        yield up
    finally:
        if process.poll() is None:
            process.kill()
        up.close()


def asks(ours: Federation, folder: Path, *flags: object) -> Finished:
    own = ("--identity", ours.coordinator())
    return run("server", "train", "--up", *own, *flags, cwd=folder, seconds=120)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def newest(folder: Path) -> Path:
    return max((folder / "runs").iterdir())


def run_of(done: Finished) -> Path:
    return Path(json.loads(done_well(done).splitlines()[-1])["run"])


@pytest.fixture
def undisturbed(
    cli: Cli, nodes: list[LocalNode], node_flags: list[str], quick: Path, tmp_path: Path
) -> str:
    """The model of six rounds that nothing happened to."""
    assert len(nodes) == 2
    flags = ("--recipe", quick, "--rounds", 6, "--run-dir", tmp_path / "others", "--json")
    return digest(tmp_path / run_of(cli("server", "train", *node_flags, *flags)))


def test_who_asks_gets_the_run_and_the_weights_that_an_ordinary_one_has(
    ours: Federation,
    dialling: list[LocalNode],
    place: str,
    quick: Path,
    tmp_path: Path,
    undisturbed: str,
) -> None:
    assert len(dialling) == 2
    with staying(ours, place, tmp_path) as up:
        up.says("for every node of the federation")
        for node in ("anne", "bob"):
            up.says(f"node {node} is here, from 127.0.0.1")
        flags = ("--recipe", quick, "--rounds", 6)
        first = asks(ours, tmp_path, *flags, "--json")
        assert digest(run_of(first)) == undisturbed
        rows = [json.loads(line) for line in first.out.splitlines()[:-1]]
        assert [one["round"] for one in rows if one["node"] == "*"] == list(range(1, 7))
        up.says("the run is over")
        # the nodes are here again, and for people it looks as `train` does
        up.says("node bob is here", 2)
        up.says("node anne is here", 2)
        again = asks(ours, tmp_path, *flags, "--hand-out")
        assert "round 6/6" in again.err
        assert "The model and all figures are in" in done_well(again)
        handed_out = json.loads((newest(tmp_path) / "handed_out.json").read_text())
        assert handed_out["owners"] == ["anne", "bob"]
        kept = [
            next((ours.node(one) / "models").glob("*/*.safetensors")) for one in ("anne", "bob")
        ]
        assert kept[0].read_bytes() == kept[1].read_bytes()
        # what goes wrong is told to who asked, and the coordinator stays
        refused(asks(ours, tmp_path, "--recipe", tmp_path / "none.toml"), "none.toml", code=2)
        refused(asks(ours, tmp_path, "--node", "bob"), "does not go with --up", code=2)
        assert up.end() == 0
        assert up.said[-1] == "stopped\n"
    refused(asks(ours, tmp_path), "no coordinator stays here", code=4)
    assert not (ours.coordinator() / PLACE).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_went_on_when_it_ended_is_gone_on_with(
    ours: Federation,
    dialling: list[LocalNode],
    place: str,
    quick: Path,
    tmp_path: Path,
    undisturbed: str,
    number: int,
) -> None:
    assert len(dialling) == 2
    flags = ("--recipe", quick, "--rounds", 6)
    with staying(ours, place, tmp_path) as up:
        for node in ("anne", "bob"):
            up.says(f"node {node} is here")
        own = ("--identity", ours.coordinator())
        asking = start("server", "train", "--up", *own, *flags, cwd=tmp_path)
        up.says("round 2/6")
        assert up.end(number) == (0 if number == signal.SIGTERM else -number)
        assert finish(asking).code != 0
    (folder,) = (tmp_path / "runs").iterdir()
    with staying(ours, place, tmp_path) as up:
        up.says("goes on with the run in")
        up.says("the run is over")
        assert up.end() == 0
    assert digest(folder) == undisturbed
    assert len(json.loads((folder / "settings.json").read_text())["resumed_after"]) == 1


def test_who_stops_following_leaves_the_run_going(
    ours: Federation, dialling: list[LocalNode], place: str, quick: Path, tmp_path: Path
) -> None:
    assert len(dialling) == 2
    with staying(ours, place, tmp_path) as up:
        for node in ("anne", "bob"):
            up.says(f"node {node} is here")
        own = ("--identity", ours.coordinator(), "--recipe", quick)
        leaving = start("server", "train", "--up", *own, "--rounds", 6, cwd=tmp_path)
        waiting = start("server", "train", "--up", *own, "--rounds", 1, "--json", cwd=tmp_path)
        up.says("round 1/6")
        leaving.send_signal(signal.SIGINT)
        assert finish(leaving).code == 130
        up.says("round 6/6")
        # one at a time: the other began when this one was over
        last = run_of(finish(waiting))
        assert json.loads((last / "summary.json").read_text())["status"] == "completed"
        up.says("the run is over", 2)
        begun = [line for line in up.said if line.startswith(("a run begins", "the run is over"))]
        assert [line.split()[1] for line in begun] == ["run", "run", "run", "run"]
        assert [line.split()[0] for line in begun] == ["a", "the", "a", "the"]


def test_the_button_of_a_runs_page_ends_the_run_alone(
    ours: Federation, dialling: list[LocalNode], place: str, quick: Path, tmp_path: Path
) -> None:
    assert len(dialling) == 2
    with staying(ours, place, tmp_path, "--page") as up:
        for node in ("anne", "bob"):
            up.says(f"node {node} is here")
        own = ("--identity", ours.coordinator(), "--recipe", quick, "--rounds", 100_000)
        asking = start("server", "train", "--up", *own, cwd=tmp_path)
        up.says(" 2/100000")
        (said,) = [line for line in up.said if line.startswith("Follow the run at ")]
        address = said.split()[-1]
        origin = "/".join(address.split("/")[:3])
        press = Request(f"{address}stop", method="POST", headers={"Origin": origin})
        assert urlopen(press, timeout=60).status == 204
        refused(finish(asking), "stopped after", "--resume", code=130)
        up.says("node anne is here", 2)
        assert up.end() == 0
    with staying(ours, place, tmp_path) as up:  # who stopped it wanted it over
        up.says("node anne is here")
        up.says("node bob is here")
        assert not any("goes on with" in line for line in up.said)


def test_it_trains_when_enough_are_here_and_again_when_another_has_come(
    ours: Federation, owners: list[OwnerFiles], quick: Path, tmp_path: Path
) -> None:
    place = f"127.0.0.1:{free_port()}"
    (tmp_path / "federation.toml").write_text(
        f'recipe = "{quick}"\nrounds = 1\nwhen = "min_nodes"\nmin_nodes = 2\n'
    )

    def node(owner: OwnerFiles, node_id: str) -> dict[str, tuple[str, ...]]:
        dials = ("--identity", str(ours.node(node_id)), "--dial", f"wss://{place}")
        return {node_id: (*owner.flags, *dials)}

    with staying(ours, place, tmp_path) as up:
        up.says("it trains as soon as enough nodes are here")
        with local_nodes(node(owners[0], "first")):
            up.says("node first is here")
            with local_nodes(node(owners[1], "second")):
                up.says("a run begins, with first, second")
                up.says("the run is over")
                up.says("node first is here", 2)
                up.says("node second is here", 1)
                with local_nodes(node(owners[1], "third")):
                    up.says("the run is over", 2)
        assert up.end() == 0
    begun = [line for line in up.said if line.startswith("a run begins")]
    assert len(begun) == 2
    assert "third" in begun[1]


def test_only_one_stays_with_an_identity(ours: Federation, place: str, tmp_path: Path) -> None:
    with staying(ours, place, tmp_path):
        own = ("--identity", ours.coordinator())
        other = run("server", "up", "--listen", f"127.0.0.1:{free_port()}", *own, cwd=tmp_path)
        refused(other, "another coordinator stays here already", code=2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--at", "25:00"), ("no time of the day",)),
        (("--listen", "ws://127.0.0.1:0"), ("nothing says who dials in", "--node")),
        (("--listen", "ws://0.0.0.0:0", "--node", "bob"), ("without TLS", "wss://")),
        (("--listen", "nowhere"), ("a coordinator that listens",)),
    ],
)
def test_what_it_cannot_stay_with_is_one_clear_error(
    ours: Federation, tmp_path: Path, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    own = ("--identity", ours.coordinator())
    refused(run("server", "up", *own, *flags, cwd=tmp_path), *words, code=2)


def test_its_metrics_count_each_of_its_runs(
    ours: Federation, dialling: list[LocalNode], place: str, quick: Path, tmp_path: Path
) -> None:
    assert len(dialling) == 2
    with staying(ours, place, tmp_path, "--metrics", 0) as up:
        for node in ("anne", "bob"):
            up.says(f"node {node} is here, from 127.0.0.1")
        (at,) = (line.split()[-1] for line in up.said if line.startswith("Metrics for"))
        assert values(scraped(at), "fedsms_runs_total") == {}
        for _ in range(2):
            run_of(asks(ours, tmp_path, "--recipe", quick, "--rounds", 2, "--json"))
        found = scraped(at)
        assert values(found, "fedsms_runs_total") == {"completed": 2}
        assert values(found, "fedsms_rounds_total") == {"": 4}
        assert up.end() == 0


def test_who_cannot_read_the_token_is_not_heard(
    ours: Federation, place: str, tmp_path: Path
) -> None:
    with staying(ours, place, tmp_path) as up:
        path = ours.coordinator() / PLACE
        assert path.stat().st_mode & 0o077 == 0
        where = json.loads(path.read_text())

        async def told(said: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", where["port"])
            heard = b""
            with suppress(ConnectionError):  # it hung up amid the words
                writer.write(said)
                writer.write_eof()
                heard = await reader.read()
            writer.close()
            return heard

        for said in (
            *(b"", b"no line", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"{}\n", b"\xff\n"),
            *(b'{"token": null}\n', '{"token": "\u00fc"}\n'.encode(), b'{"token": "\\ud800"}\n'),
            *(b"x" * (MAX_ASKED + 10), b"[" * 200_000 + b"\n"),
        ):
            assert asyncio.run(told(said)) == b""
        wrong = json.dumps({"token": "x" * len(where["token"]), "settings": {}}).encode()
        assert asyncio.run(told(wrong + b"\n")) == b""

        async def nonsense(settings: object) -> list[dict[str, object]]:
            return [one async for one in ask(ours.coordinator(), {"settings": settings})]

        for settings in ({"no": "such"}, {"rounds": "many"}, "none", [1], None):
            (answer,) = asyncio.run(nonsense(settings))
            assert "error" in answer
        assert not any("Traceback" in line or "Error" in line for line in up.said), up.said
        assert not any(line.startswith("a run begins") for line in up.said)
