"""Files that somebody else made: they can neither hang who reads them, nor fill memory, nor choose
which file of ours is replaced."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.files import UnfitFile, read_bytes
from shared.model.classifier import initial_state
from shared.model.recipe import load_recipe
from shared.trained_model.saved_model import SavedModel, save
from tests.helpers.needed import lacking
from tests.helpers.running import PATIENCE_SECONDS, Finished, environment
from worker_node.membership.enrolment import make_request

MEMORY = 4 * 2**30
"""Bytes of address space that a command gets: a file of 40 GB must not need them."""
SPARSE = 40 * 10**9


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SPARSE)


def folder(path: Path) -> None:
    path.mkdir()


KINDS = [pipe, device, sparse, folder]


def command(*arguments: object, cwd: Path) -> Finished:
    """Runs a command in a process of its own, whose memory is bounded; a hang is an error here."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=cwd,
        env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def is_one_clear_error(done: Finished, code: int, file: str) -> bool:
    return (
        done.code == code
        and done.err.count("error: ") == 1
        and file in done.err
        and "Traceback" not in done.err
    )


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    recipe = load_recipe("tutorial")
    save(path, SavedModel(recipe, initial_state(recipe, 1)), {"round": 1})
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_model_that_is_no_file_is_refused_at_once(
    run_folder: Path, tmp_path: Path, file: str, kind: Callable[[Path], None]
) -> None:
    (run_folder / file).unlink()
    kind(run_folder / file)
    done = command("server", "predict", "--model", run_folder, "hello", cwd=tmp_path)
    assert is_one_clear_error(done, 7, file), done.err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["settings.json", "metrics.jsonl", "model.safetensors"])
def test_a_run_to_resume_whose_files_are_none_is_refused_at_once(
    run_folder: Path, tmp_path: Path, file: str, kind: Callable[[Path], None]
) -> None:
    settings = {
        "run": "0" * 32,
        "recipe": load_recipe("tutorial").model_dump(),
        "recipe_name": "tutorial",
        "seed": 1,
        "checkpoints": 3,
        "min_nodes": None,
        "cohort": 0,
        "timeouts": {},
        "mode": "rounds",
        "replay": False,
        "resumed_after": [],
        "nodes": {"bob": {"url": "ws://127.0.0.1:9"}},
    }
    (run_folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (run_folder / file).unlink(missing_ok=True)
    kind(run_folder / file)
    done = command("server", "train", "--resume", run_folder, cwd=tmp_path)
    assert is_one_clear_error(done, 7, file), done.err


@pytest.mark.parametrize("kind", [pipe, device, sparse])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("server", "admit", "given", "--yes"), 8),
        (("worker_node", "join", "given"), 8),
        (("server", "train", "--recipe", "given.toml", "--node", "bob=ws://127.0.0.1:9"), 2),
        (("server", "status", "--federation", "given.toml"), 2),
        (
            ("worker_node", "serve", "--id", "bob", "--data", "rows.tsv", "--policy", "given.toml"),
            2,
        ),
        (("worker_node", "check", "--data", "given.tsv"), 3),
    ],
    ids=["request", "answer", "recipe", "federation", "policy", "messages"],
)
def test_a_file_that_is_handed_over_and_is_none_is_refused_at_once(
    tmp_path: Path, arguments: tuple[str, ...], code: int, kind: Callable[[Path], None]
) -> None:
    (tmp_path / "rows.tsv").write_text("ham\thello\nspam\twin\n", encoding="utf-8")
    given = next(one for one in arguments if one.startswith("given"))
    kind(tmp_path / given)
    done = command(*arguments, cwd=tmp_path)
    assert is_one_clear_error(done, code, given), done.err


def test_an_owners_id_cannot_replace_a_file_of_the_authority(
    cli: Callable[..., Finished], tmp_path: Path
) -> None:
    assert cli("server", "init", "--authority", tmp_path, "--identity", tmp_path / "me").code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pem")}
    assert {"ca.pem", "ca-key.pem", "crl.pem"} <= before.keys()
    for node_id in ("ca", "CA", "ca-key", "crl"):
        request, _ = make_request(tmp_path / node_id / "identity", node_id)
        done = cli("server", "admit", request, "--yes", "--authority", tmp_path)
        assert done.code == 8
        assert "no node may be" in done.err
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pem")} == before
    assert "ca-key" not in cli("server", "list", "--authority", tmp_path).out


@pytest.mark.parametrize("there", ["a file", "a link to nothing"])
def test_an_owners_id_cannot_replace_any_file_that_is_no_answer_to_it(
    cli: Callable[..., Finished], tmp_path: Path, there: str
) -> None:
    cli("server", "init")
    request, _ = make_request(tmp_path / "hers", "server-key")
    mine = tmp_path / "server-key.pem"
    if there == "a file":
        mine.write_text("my web server's key", encoding="utf-8")
    else:
        mine.symlink_to(tmp_path / "elsewhere")
    done = cli("server", "admit", request, "--yes")
    assert done.code == 8
    assert "--out" in done.err
    assert not (tmp_path / "elsewhere").exists()
    assert mine.is_symlink() or mine.read_text(encoding="utf-8") == "my web server's key"
    assert "server-key" not in cli("server", "list").out  # refused before it was signed
    assert cli("server", "admit", request, "--yes", "--out", tmp_path / "hers.pem").code == 0


def test_an_earlier_answer_to_the_same_owner_is_replaced(
    cli: Callable[..., Finished], tmp_path: Path
) -> None:
    cli("server", "init")
    request, _ = make_request(tmp_path / "hers", "anne")
    assert cli("server", "admit", request, "--yes").code == 0
    first = (tmp_path / "anne.pem").read_bytes()
    assert cli("server", "admit", request, "--yes").code == 0
    assert (tmp_path / "anne.pem").read_bytes() != first


def test_the_null_device_is_an_empty_file_wherever_it_is_mounted(tmp_path: Path) -> None:
    """As compose mounts it where an owner has no policy: by another inode of another folder."""
    null = tmp_path / "policy.toml"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
        null.read_bytes()
    except PermissionError:
        lacking("devices", "only root makes them, and only where the file system takes them")
    assert read_bytes(null) == b""
    zero = tmp_path / "zero"
    os.mknod(zero, stat.S_IFCHR | 0o666, Path("/dev/zero").stat().st_rdev)
    with pytest.raises(UnfitFile):
        read_bytes(zero)
