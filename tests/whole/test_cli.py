"""The two command lines as their users meet them: help, settings, streams, answers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode
from shared.model.classifier import initial_state
from shared.model.recipe import load_recipe
from shared.trained_model.saved_model import SavedModel, save
from tests.conftest import OwnerFiles
from tests.helpers.running import Finished, finish, run, start

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("server", "train"),
        ("server", "status"),
        ("server", "evaluate"),
        ("server", "predict"),
        ("server", "init"),
        ("server", "admit"),
        ("server", "list"),
        ("server", "revoke"),
        ("server", "renew"),
        ("worker_node", "init"),
        ("worker_node", "join"),
        ("worker_node", "serve"),
        ("worker_node", "check"),
    ],
)
def test_help_begins_with_examples_that_name_the_command(
    cli: Cli, module: str, command: str
) -> None:
    done = cli(module, command, "--help")
    assert (done.code, done.err) == (0, "")
    first, second, *_ = done.out.splitlines()
    assert first == "Examples:"
    assert second.strip().startswith(f"python -m {module} {command}")


@pytest.mark.parametrize("module", ["server", "worker_node"])
def test_help_lists_the_commands_and_the_version_is_told(cli: Cli, module: str) -> None:
    assert "Commands:" in cli(module, "--help").out
    assert cli(module, "--version").out.startswith("fedsms, version ")


def test_help_does_not_wait_for_a_broken_federation_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "federation.toml").write_text("[", encoding="utf-8")
    assert cli("server", "train", "--help").code == 0


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    cli: Cli, tmp_path: Path, bob: LocalNode, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told apart by the recipe that is missing: its name stands in the error."""

    def recipe_used(*flags: str) -> str:
        done = cli("server", "train", *flags)
        assert done.code == 2
        return done.err.partition("the recipe ")[2].partition(":")[0]

    assert "no node is given" in cli("server", "train").err
    file = f"recipe = 'file.toml'\n[nodes]\nbob = '{bob.url}'\n"
    (tmp_path / "federation.toml").write_text(file, encoding="utf-8")
    assert recipe_used() == "file.toml"
    monkeypatch.setenv("FEDSMS_RECIPE", "environment.toml")
    assert recipe_used() == "environment.toml"
    assert recipe_used("--recipe", "flag.toml") == "flag.toml"
    monkeypatch.delenv("FEDSMS_RECIPE")
    (tmp_path / "other.toml").write_text(file.replace("file", "other-file"), encoding="utf-8")
    assert recipe_used("--federation", "other.toml") == "other-file.toml"
    monkeypatch.setenv("FEDSMS_FEDERATION", "other.toml")
    assert recipe_used() == "other-file.toml"


def test_nodes_come_from_file_environment_or_flags_and_are_never_mixed(
    cli: Cli, tmp_path: Path, nodes: list[LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    anne, bob = nodes

    def asked(*flags: str) -> list[str]:
        done = cli("server", "status", "--json", *flags)
        assert done.code == 0, done.err
        return [one["node"] for one in json.loads(done.out)]

    table = f"[nodes]\nbob = '{bob.url}'\nanne = '{anne.url}'\n"
    (tmp_path / "federation.toml").write_text(table, encoding="utf-8")
    assert asked() == ["anne", "bob"]
    monkeypatch.setenv("FEDSMS_NODES", bob.flag)
    assert asked() == ["bob"]
    assert asked("--node", anne.flag) == ["anne"]
    monkeypatch.setenv("FEDSMS_NODES", f"{bob.flag} {anne.flag}")
    assert asked() == ["anne", "bob"]


def test_status_tells_rows_labels_versions_and_round_trip(
    cli: Cli, nodes: list[LocalNode], node_flags: list[str], owners: list[OwnerFiles]
) -> None:
    told = json.loads(cli("server", "status", "--json", *node_flags).out)
    for one, owner in zip(told, owners, strict=True):
        assert one["rows"] == {"train": len(owner.train), "held_out": len(owner.held_out)}
        assert sum(one["labels"]["train"].values()) == len(owner.train)
        assert set(one["versions"]) >= {"fedsms", "syft", "torch", "python"}
        assert one["round_trip_seconds"] > 0
        assert one["busy"] == ""
    table = cli("server", "status", *node_flags)
    assert table.err == ""
    for node in nodes:
        assert node.url in table.out


def test_check_says_what_a_node_would_hold_and_as_json_never_a_message(
    cli: Cli, owners: list[OwnerFiles]
) -> None:
    anne = owners[0]
    told = cli("worker_node", "check", *anne.flags)
    assert told.code == 0
    assert "train" in told.out
    assert "60 messages" in told.out
    assert sum(message.text in told.out for message in anne.train) == 5
    in_json = cli("worker_node", "check", "--json", *anne.flags).out
    assert not any(message.text in in_json for message in anne.train)
    as_json = json.loads(in_json)
    assert as_json["rows"] == {"train": 60, "held_out": 40}
    hidden = cli("worker_node", "check", "--hide-label-counts", *anne.flags)
    assert "ham and spam of the held-out ones alone" in hidden.out


# Training, predicting: processes of their own, for their streams


def test_results_go_to_standard_output_and_progress_to_standard_error(
    node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--recipe", quick, "--rounds", 2, "--name", "my run!", *node_flags]
    done = run("server", *arguments, cwd=tmp_path)
    assert done.code == 0
    first, *progress = done.err.splitlines()
    assert first.startswith("secure aggregation is off: ")
    assert [line.split()[:2] for line in progress] == [["round", "1/2"], ["round", "2/2"]]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-my-run")
    assert f"The model and all figures are in runs/{folder.name}" in done.out
    assert "train loss" in done.out
    assert "\x1b" not in done.out + done.err


@pytest.fixture(scope="module")
def model(quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, trained on nothing."""
    recipe = load_recipe(str(quick))
    folder = tmp_path_factory.mktemp("model")
    save(folder, SavedModel(recipe, initial_state(recipe, 1)), {})
    return folder


def test_predict_takes_messages_as_arguments(cli: Cli, model: Path) -> None:
    done = cli("server", "predict", "--model", model, "You have won", "See you [/red] :smile:")
    assert (done.code, done.err) == (0, "")
    labels = [line.split(maxsplit=2) for line in done.out.splitlines()]
    assert [words for _, _, words in labels] == ["You have won", "See you [/red] :smile:"]
    for label, spam, _ in labels:
        assert label == ("spam" if float(spam) >= 0.5 else "ham")


def test_predict_takes_lines_of_standard_input(model: Path) -> None:
    texts = "You have won\r\n\nå ✓\nbad \udcff\udcfe bytes\nno end of line".encode(
        "utf-8", "surrogateescape"
    )
    arguments = ["predict", "--model", model / "model.safetensors", "--json"]
    done = run("server", *arguments, cwd=model, stdin=texts, PYTHONUTF8="1")
    assert done.code == 0
    assert done.err.startswith("The model sees nothing of 1 of these 5 messages")  # of "å ✓"
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [one["text"] for one in told][:3] == ["You have won", "", "å ✓"]
    assert told[3]["text"] == "bad \ufffd\ufffd bytes"
    assert told[4]["text"] == "no end of line"
    assert all(0 < one["spam"] < 1 for one in told)


def test_predict_reads_a_phones_backup_and_a_file_of_lines(
    cli: Cli, model: Path, tmp_path: Path
) -> None:
    backup = '<smses><sms date="1" type="1" body="win&#10;now" /><sms type="2" body="me" /></smses>'
    (tmp_path / "sms.xml").write_text(backup)
    told = cli("server", "predict", "--model", model, "--json", "--file", "sms.xml").out
    assert [json.loads(line)["text"] for line in told.splitlines()] == ["win\nnow"]
    (tmp_path / "lines.txt").write_bytes("olé £5\r\n\r\nbye\r\n".encode("utf-16"))
    told = cli("server", "predict", "--model", model, "--file", "lines.txt").out
    assert [line.split("  ")[-1] for line in told.splitlines()] == ["olé £5", "bye"]


def test_predict_adds_its_verdict_to_a_table(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,body\n1,"win, now"\n2,see you\n')
    flags = ("predict", "--model", model, "--text-column", "body", "--format")
    done = cli("server", *flags, "csv", "--file", "in.csv", "--threshold", 0, "--add-column", "p")
    head, *rows = done.out.splitlines()
    assert head == "id,body,p,p_score"
    assert [row.rpartition(",")[0] for row in rows] == ['1,"win, now",spam', "2,see you,spam"]
    assert done.err == "2 messages: 2 spam from 0 on, 0 ham\n"
    lines = b'{"body": "win, now", "id": 1}\n\n{"body": "see you"}\n'
    told = run("server", *flags, "jsonl", cwd=tmp_path, stdin=lines)
    scores = [json.loads(line)["predicted_score"] for line in told.out.splitlines()]
    assert scores == [float(row.rpartition(",")[2]) for row in rows]
    wrong = cli("server", *flags, "csv", "win")
    assert wrong.code == 2
    assert "both given" in wrong.err


def test_predict_answers_a_line_before_the_next_is_typed(model: Path) -> None:
    process = start("server", "predict", "--model", model, cwd=model, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for text in ("hello there", "see you"):
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(f"  {text}\n")
    process.stdin.close()
    process.stdin = None
    assert finish(process).err == "2 messages: 0 spam, 2 ham\n"


def test_predict_says_where_there_was_nothing_to_classify_or_to_see(model: Path) -> None:
    done = run("server", "predict", "--model", model, cwd=model)
    assert (done.code, done.out) == (0, "")
    assert "There was no message to classify" in done.err
    done = run("server", "predict", "--model", model, "नमस्ते", "hello", cwd=model)
    assert "sees nothing of 1 of these 2 messages" in done.err


def test_predict_of_an_argument_that_is_not_utf8_ends_well(cli: Cli, model: Path) -> None:
    done = cli("server", "predict", "--model", model, "bad \udcff bytes")
    assert (done.code, done.err) == (0, "")
    assert "bad \ufffd bytes" in done.out


def test_a_reader_that_has_seen_enough_ends_predict_without_a_word(model: Path) -> None:
    process = start("server", "predict", "--model", model, *["hello"] * 5000, cwd=model)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    done = finish(process)
    assert (done.code, done.err) == (1, "")


def test_a_coordinator_that_is_stopped_while_it_dials_ends_with_130(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"bob=ws://127.0.0.1:{silent.getsockname()[1]}"
        process = start("server", "status", "--node", url, cwd=tmp_path)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            done = finish(process)
    assert done.code == 130
    assert done.err == "error: stopped by the user\n"
