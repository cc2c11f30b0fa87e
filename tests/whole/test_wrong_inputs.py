"""Each wrong input ends with one clear error and the exit code of its kind, never a traceback."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import shared.version
from scripts.local.nodes import LocalNode
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import Finished, run

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(90)
SOMEWHERE = "bob=ws://127.0.0.1:9"


def check(done: Finished, code: int, *words: str) -> None:
    """The command ended with this code and one error that holds these words."""
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.lower().count("error: ") == 1, done.err
    for word in words:
        assert word in done.err, done.err


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens at, and that nobody else can take meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# What a user types


WRONG_WORDS: dict[str, tuple[list[str], list[str]]] = {
    "no node at all": (["train"], ["no node is given", "--node ID=URL"]),
    "a node without an id": (["train", "--node", "ws://h:1"], ["which node is where"]),
    "a node without a port": (["train", "--node", "bob=ws://h"], ["ws://host:8777"]),
    "a node with another scheme": (["status", "--node", "bob=http://h:1"], ["ws://host:8777"]),
    "a node with a port in words": (["status", "--node", "bob=ws://h:x"], ["ws://host:8777"]),
    "a port beyond the last": (["status", "--node", "bob=ws://h:70000"], ["ws://host:8777"]),
    "a node id with a space": (["status", "--node", "b b=ws://h:1"], ["'b b' cannot be a node id"]),
    "an id given twice": (
        ["train", "--node", "bob=ws://h:1", "--node", "bob=ws://h:2"],
        ["bob is given twice", "ws://h:1", "ws://h:2"],
    ),
    "an address given twice": (
        ["train", "--node", "bob=ws://h:1", "--node", "anne=ws://h:1"],
        ["bob and anne have the same address"],
    ),
    "an unknown recipe": (
        ["train", "--node", SOMEWHERE, "--recipe", "tutoriel"],
        ["no recipe 'tutoriel'", "tutorial"],
    ),
    "a recipe file that is missing": (
        ["train", "--node", SOMEWHERE, "--recipe", "mine.toml"],
        ["cannot read the recipe mine.toml", "No such file"],
    ),
    "a recipe that pointers cannot train": (
        ["train", "--node", SOMEWHERE, "--mode", "pointers", "--recipe", "default"],
        ["training.optimizer", "--recipe tutorial"],
    ),
    "the replay of pointers, in rounds": (
        ["train", "--node", SOMEWHERE, "--replay"],
        ["--mode pointers"],
    ),
    "no rounds": (["train", "--node", SOMEWHERE, "--rounds", "0"], ["--rounds"]),
    "a negative seed": (["train", "--node", SOMEWHERE, "--seed", "-1"], ["--seed"]),
    "a flag that is none": (["train", "--nodes", SOMEWHERE], ["--nodes", "--node"]),
    "a command that is none": (["tarin"], ["tarin"]),
    "a federation file that is missing": (
        ["status", "--federation", "gone.toml"],
        ["cannot read the federation file gone.toml", "No such file", "--node"],
    ),
}


@pytest.mark.parametrize("name", WRONG_WORDS)
def test_wrong_words_on_the_command_line_end_with_2(cli: Cli, name: str) -> None:
    arguments, words = WRONG_WORDS[name]
    check(cli("server", *arguments), 2, *words)


WRONG_FILES = {
    "[training]\nlearning_rat = 1": ["training.learning_rat", "did you mean 'learning_rate'?"],
    "[trainig]\nlearning_rate = 1": ["unknown key 'trainig'", "did you mean 'training'?"],
    "[training]\nlearning_rate = 'fast'": ["training.learning_rate", "fast"],
    "[training]\nbatch_size = 0": ["training.batch_size"],
    "[training]\nlearning_rate = nan": ["training.learning_rate"],
    "[training\n": ["not TOML"],
    "\udcff": ["not TOML"],
    "[text]\nbuckets = 4000000\n[model]\nembedding = 4096": ["parameters"],
}


@pytest.mark.parametrize("content", WRONG_FILES)
def test_a_wrong_recipe_ends_with_2(cli: Cli, tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    done = cli("server", "train", "--node", SOMEWHERE, "--recipe", "mine.toml")
    check(done, 2, "mine.toml", *WRONG_FILES[content])


WRONG_FEDERATIONS = {
    "roundz = 3": ["'roundz'", "did you mean 'rounds'?"],
    "rounds = 1.5": ["rounds"],
    "rounds = '3'": ["rounds"],
    "nodes = ['bob']": ["nodes"],
    "[nodes]\nbob = 7": ["nodes.bob"],
    "[nodes]\nbob = 'somewhere'": ["'somewhere' is not the address of node bob"],
    "[nodes]\n'b b' = 'ws://h:1'": ["'b b' cannot be a node id"],
    "[nodes]\nbob = 'ws://h:1'\nbob = 'ws://h:2'": ["not TOML"],
    "[nodes": ["not TOML"],
    "\udcff": ["not TOML"],
}


@pytest.mark.parametrize("content", WRONG_FEDERATIONS)
def test_a_wrong_federation_file_ends_with_2(cli: Cli, tmp_path: Path, content: str) -> None:
    path = tmp_path / "federation.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    check(cli("server", "status"), 2, *WRONG_FEDERATIONS[content])


# Who answers


def test_a_node_that_is_not_there_ends_with_4_and_says_how_to_start_it(cli: Cli) -> None:
    with closed_port() as port:
        flags = ["--node", f"bob=ws://127.0.0.1:{port}"]
        hint = "python -m worker_node serve --id bob"
        words = ["cannot reach node bob", str(port), "Connection refused", hint]
        check(cli("server", "train", *flags), 4, *words)
        done = cli("server", "status", *flags)
        assert done.code == 4
        assert "no: Connection refused" in done.out
        (told,) = json.loads(cli("server", "status", "--json", *flags).out)
        assert told["answers"] is False
        assert "Connection refused" in told["error"]


def test_no_run_folder_is_made_for_a_run_that_cannot_begin(cli: Cli, tmp_path: Path) -> None:
    with closed_port() as port:
        cli("server", "train", "--node", f"bob=ws://127.0.0.1:{port}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_host_that_is_not_known_ends_with_4(cli: Cli, host: str) -> None:
    done = cli("server", "train", "--insecure", "--node", f"bob=ws://{host}:8777")
    check(done, 4, host, "name is not known")


def test_one_of_two_that_is_not_there_is_named_and_the_other_is_shown(
    cli: Cli, bob: LocalNode
) -> None:
    with closed_port() as port:
        flags = ["--node", bob.flag, "--node", f"zoe=ws://127.0.0.1:{port}"]
        check(cli("server", "train", *flags), 4, "cannot reach node zoe")
        done = cli("server", "status", *flags)
        assert done.code == 4
        assert "zoe" in done.err
        assert "yes" in done.out


def test_the_address_of_another_node_ends_with_5(cli: Cli, bob: LocalNode) -> None:
    done = cli("server", "train", "--node", f"anne={bob.url}")
    check(done, 5, "Check the address given for anne; bob answers there.", "<- differs")


def test_another_version_ends_with_5_and_a_table(
    cli: Cli, bob: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.version, "FEDSMS", "9.9.9")
    done = cli("server", "train", "--node", bob.flag)
    check(done, 5, "fedsms", "9.9.9", "<- differs", "Install the same version")


class Web(http.server.BaseHTTPRequestHandler):
    """A web server, as may stand at a mistyped port."""

    answer = 404
    location = ""

    def do_GET(self) -> None:
        self.send_response(self.answer)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """A test has no log."""


@contextmanager
def web(answer: int, location: str = "") -> Iterator[str]:
    kind = type("Web", (Web,), {"answer": answer, "location": location})
    with http.server.HTTPServer(("127.0.0.1", 0), kind) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"bob=ws://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("answer", "location"),
    [(200, ""), (404, ""), (500, ""), (301, "http://127.0.0.1:9/"), (302, "ftp://x"), (301, "")],
)
def test_a_web_server_at_the_port_ends_with_5(cli: Cli, answer: int, location: str) -> None:
    with web(answer, location) as flag:
        check(cli("server", "train", "--node", flag), 5, "no node of fedsms", "Check the port")


def test_a_server_of_something_else_at_the_port_ends_with_5(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\x00\xff\xfe" * 10)

        answering = threading.Thread(target=answer)
        answering.start()
        flag = f"bob=ws://127.0.0.1:{listener.getsockname()[1]}"
        check(cli("server", "train", "--node", flag), 5, "no node of fedsms", "Check the port")
        answering.join()


# What an owner gives to a node


def lines(*texts: str) -> bytes:
    return "".join(text + "\n" for text in texts).encode("utf-8", "surrogateescape")


WRONG_SHARDS = {
    "malformed": (lines("ham\thello", "spam now"), ["messages.tsv, line 2", "no tab"]),
    "mistyped": (
        lines("ham\thello", "spma\tnow"),
        ["messages.tsv, line 2", "neither ham nor spam"],
    ),
    "empty": (b"", ["holds no message"]),
    "one class": (lines("ham\thello", "ham\tyou"), ["no spam to train on", "all of its"]),
    "not text": (
        lines("ham\thello", "ham\tmañana", "spam\tolé", "spam\t\udcff\udcfe"),
        ["line 4", "no character for"],
    ),
}


@pytest.mark.parametrize("name", WRONG_SHARDS)
@pytest.mark.parametrize("command", [["check"], ["serve", "--id", "bob", "--port", "0"]])
def test_a_wrong_shard_ends_with_3(cli: Cli, tmp_path: Path, name: str, command: list[str]) -> None:
    content, words = WRONG_SHARDS[name]
    (tmp_path / "messages.tsv").write_bytes(content)
    done = cli("worker_node", *command, "--data", "messages.tsv")
    check(done, 3, *words)
    assert "hello" not in done.err


def test_a_shard_that_is_missing_ends_with_3(cli: Cli, tmp_path: Path) -> None:
    check(cli("worker_node", "check", "--data", "gone.tsv"), 3, "cannot read gone.tsv")
    check(cli("worker_node", "check", "--data", tmp_path), 3, "no messages in the folder")
    (tmp_path / "letters.pdf").write_bytes(b"%PDF-1.7")
    check(cli("worker_node", "check", "--data", "letters.pdf"), 3, "cannot tell the format")
    write_tsv(tmp_path / "good.tsv", made_up(20))
    arguments = ["--data", "good.tsv", "--held-out-data", "gone.tsv"]
    check(cli("worker_node", "check", *arguments), 3, "cannot read gone.tsv")


def test_a_file_in_place_of_a_share_is_told_which_option_takes_it(cli: Cli, tmp_path: Path) -> None:
    write_tsv(tmp_path / "good.tsv", made_up(20))
    both = ("--data", "good.tsv", "--held-out")
    check(cli("worker_node", "check", *both, "good.tsv"), 2, "give it with --held-out-data")
    done = cli("worker_node", "check", *both, "gone.tsv")
    check(done, 2, "--held-out")
    assert "--held-out-data" not in done.err


def test_one_class_is_accepted_where_the_owner_says_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ham.tsv").write_bytes(lines("ham\thello", "ham\tyou"))
    done = cli("worker_node", "check", "--data", "ham.tsv", "--allow-one-class")
    assert done.code == 0
    assert "0 spam" in done.out


@pytest.mark.parametrize("node_id", ["", "b b", "-b", "b" * 65, "b/b", "bób"])
def test_a_bad_node_id_ends_with_2(cli: Cli, tmp_path: Path, node_id: str) -> None:
    write_tsv(tmp_path / "good.tsv", made_up(20))
    done = cli("worker_node", "serve", f"--id={node_id}", "--data", "good.tsv")
    check(done, 2, "cannot be a node id", "1 to 64 letters")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--port", "70000"], "--port"),
        (["--threads", "0"], "--threads"),
        (["--held-out", "1"], "--held-out"),
        (["--held-out", "nan"], "held-out fraction"),
        ([], "--id"),
    ],
)
def test_a_bad_flag_of_a_node_ends_with_2(cli: Cli, flags: list[str], word: str) -> None:
    who = ["--id", "bob"] if flags else []
    check(cli("worker_node", "serve", *who, "--data", "x.tsv", *flags), 2, word)


def test_a_port_that_is_taken_ends_with_2(tmp_path: Path, bob: LocalNode) -> None:
    path = write_tsv(tmp_path / "good.tsv", made_up(20))
    port = bob.url.rpartition(":")[2]
    arguments = ["serve", "--id", "zoe", "--data", path, "--port", port]
    done = run("worker_node", *arguments, cwd=tmp_path)
    check(done, 2, "node zoe cannot listen", port, "Address already in use", "--port 0")


# Where the coordinator writes, and what it reads back


def test_a_run_folder_that_cannot_be_made_ends_with_7(
    cli: Cli, tmp_path: Path, bob: LocalNode, quick: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    arguments = ["train", "--node", bob.flag, "--recipe", quick, "--run-dir"]
    for parent in ("file", "file/below", "/proc/runs"):
        check(cli("server", *arguments, parent), 7, "cannot make", parent, "another folder")


def test_a_model_that_is_not_there_ends_with_7(cli: Cli, tmp_path: Path) -> None:
    check(cli("server", "predict", "hello"), 7, "no trained model in runs", "--model")
    check(cli("server", "predict", "--model", "gone", "hello"), 7, "gone", "No such file")
    (tmp_path / "file").write_text("no folder")
    check(cli("server", "predict", "--model", "file", "hello"), 7, "file", "Not a directory")


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", "{}", '{"recipe": 3}', '{"recipe": {"x": 1}}', "[" * 100_000, "\udcff"],
)
def test_a_damaged_config_ends_with_7(cli: Cli, tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    check(cli("server", "predict", "--model", ".", "hello"), 7)
