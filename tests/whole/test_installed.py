"""The commands fedsms and fedsms-node as scripts/setup installs them, away from the checkout."""

from __future__ import annotations

import os
import pty
import selectors
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

from shared.cli import SHORT
from shared.starting import NEWEST, OLDEST
from tests.helpers.needed import lacking
from tests.helpers.running import PATIENCE_SECONDS, ROOT, Finished, environment

# a subcommand or two of each
COMMANDS = {"fedsms": ("train", "status"), "fedsms-node": ("serve", "check")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has this one's packages and the commands."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    for old in packages.glob("setuptools*"):  # ours is pinned
        shutil.rmtree(old)
    (packages / "of_the_tests.pth").write_text("\n".join(p for p in sys.path if "site-pack" in p))
    flags = "--quiet --no-deps --no-index --no-build-isolation --disable-pip-version-check"
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", *flags.split(), "-e", str(ROOT)]
    subprocess.run(command, check=True, env=environment())
    return folder / "bin"


def run(command: Path | str, *arguments: object, cwd: Path, **extra: str) -> Finished:
    kept = environment(**extra)
    del kept["PYTHONPATH"]
    done = subprocess.run(
        [str(command), *map(str, arguments)],
        cwd=cwd,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def test_they_work_from_any_folder_and_call_themselves_so(installed: Path, tmp_path: Path) -> None:
    # what lies in somebody's folder is not taken for ours
    (tmp_path / "server.py").write_text("raise SystemExit('not this one')")
    assert set(COMMANDS) == set(SHORT.values())
    for name, subcommands in COMMANDS.items():
        told = run(installed / name, "--help", cwd=tmp_path)
        assert (told.code, told.err) == (0, "")
        assert f"Usage: {name} " in told.out
        assert "python -m" not in told.out
        for subcommand in subcommands:
            shown = run(installed / name, subcommand, "--help", cwd=tmp_path).out
            assert f"  {name} {subcommand}" in shown
    (tmp_path / "server.py").unlink()
    as_module = run(installed / "python", "-m", "server", "--help", cwd=tmp_path)
    assert "Usage: python -m server " in as_module.out
    script = "from server import Federation; print(Federation({'bob': 'ws://127.0.0.1:9'}).nodes)"
    assert run(installed / "python", "-c", script, cwd=tmp_path).out.startswith("{'bob'")


def test_files_are_those_of_the_folder_where_one_stands(installed: Path, tmp_path: Path) -> None:
    made = run(installed / "fedsms", "init", cwd=tmp_path)
    assert made.code == 0, made.err
    assert "Next: fedsms admit FILE.csr" in made.out
    away = run(installed / "fedsms", "status", "--node", "bob=ws://127.0.0.1:9", cwd=tmp_path)
    assert (away.code, "fedsms-node serve --id bob" in away.err) == (4, True)
    assert {"authority", "identity"} <= {path.name for path in tmp_path.iterdir()}
    untrained = run(installed / "fedsms", "predict", "hello", cwd=tmp_path)
    assert untrained.code == 7
    assert "there is no trained model in runs" in untrained.err


@pytest.mark.parametrize("module", ["server", "worker_node"])
def test_a_missing_package_is_one_line_that_says_what_to_type(module: str, tmp_path: Path) -> None:
    # -S: without anything that was installed
    done = run(sys.executable, "-S", "-m", module, "status", cwd=ROOT)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert f"is not installed in {sys.executable}; type: " in done.err
    assert "/bin/activate" in done.err
    assert done.err.count("\n") == 1
    script = "from server import Federation"
    in_script = run(sys.executable, "-S", "-c", script, cwd=ROOT)
    assert in_script.err.splitlines()[-1].startswith("shared.starting.NotSetUp: ")
    assert in_script.err.count("Traceback") == 1


@pytest.mark.parametrize("version", [(3, 9), (3, 15)])
def test_a_python_that_does_not_fit_is_one_line(version: tuple[int, int]) -> None:
    pretend = f"import sys, runpy; sys.version_info = {(*version, 0)}"
    script = f"{pretend}; runpy.run_module('worker_node', run_name='__main__')"
    done = run(sys.executable, "-c", script, cwd=ROOT)
    said = f"fedsms needs Python 3.11 to 3.14, and this is 3.{version[1]}; type: "
    assert done.err.startswith(f"error: {said}")
    assert done.err.count("\n") == 1


def test_old_pythons_can_read_what_refuses_them() -> None:
    found = [path for n in (7, 8, 9, 10) if (path := _python(f"3.{n}"))]
    if not found:
        lacking("programs", "there is no older Python here")
    for path in found:
        for module in ("server", "worker_node"):
            done = run(path, "-m", module, "--help", cwd=ROOT)
            assert done.code == 1
            assert done.err.startswith("error: fedsms needs Python 3.11 to 3.14"), done.err
            assert done.err.count("\n") == 1


def _python(version: str) -> str | None:
    """One of another version, also where it is nobody's default."""
    places = [Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")]
    found = [str(path) for place in places for path in place]
    return found[0] if found else shutil.which(f"python{version}")


def test_all_places_name_the_same_pythons() -> None:
    script = (ROOT / "scripts" / "_environment.sh").read_text(encoding="utf-8")
    minors = range(OLDEST[1], NEWEST[1] + 1)
    assert f"fedsms_pythons=({' '.join(f'3.{minor}' for minor in minors)})" in script
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">=3.{OLDEST[1]},<3.{NEWEST[1] + 1}"' in project


LINES = {
    "bash": 'eval "$(_{var}_COMPLETE=bash_source {name})"',
    "zsh": 'autoload -Uz compinit; compinit -u; eval "$(_{var}_COMPLETE=zsh_source {name})"',
    "fish": "_{var}_COMPLETE=fish_source {name} | source",
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("shell", LINES)
def test_a_shell_completes_it(shell: str, name: str, installed: Path, tmp_path: Path) -> None:
    if not shutil.which(shell):
        lacking("programs", f"there is no {shell} here")
    var = name.upper().replace("-", "_")
    wanted = COMMANDS[name][0]
    line = LINES[shell].format(var=var, name=name)
    if shell == "fish":  # it says what it would offer; on a terminal it asks for more than we have
        asked = run(
            "fish",
            "-c",
            f"{line}; complete -C '{name} {wanted[:3]}'",
            cwd=tmp_path,
            **shell_settings(installed, tmp_path),
        )
        assert asked.out.startswith(f"{wanted}\t"), asked.err
        return
    keys = [line, "echo REA''DY", f"{name} {wanted[:3]}\t"]
    written = typed(shell, keys, installed, tmp_path, until=f"{name} {wanted} ")
    assert f"{name} {wanted} " in written


def test_the_page_says_the_lines_that_are_tested() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for shell, line in LINES.items():
        for name in COMMANDS:
            last = line.rpartition("; ")[2] if shell == "zsh" else line
            assert last.format(var=name.upper().replace("-", "_"), name=name) in page


def shell_settings(installed: Path, home: Path) -> dict[str, str]:
    path = f"{installed}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "TERM": "dumb", "PS1": "$ "}


def typed(shell: str, keys: list[str], installed: Path, home: Path, until: str) -> str:
    """What a shell on a terminal shows until these words, with the last line not yet sent off."""
    quiet = {"bash": ["--norc", "-i"], "zsh": ["-f", "-i"]}
    kept = environment(**shell_settings(installed, home))
    del kept["PYTHONPATH"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [shell, *quiet[shell]],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=kept,
        cwd=home,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        for line in keys[:-1]:
            os.write(ours, f"{line}\n".encode())
        read(ours, "READY")
        os.write(ours, keys[-1].encode())
        return read(ours, until)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read(terminal: int, until: str) -> str:
    """What is written until these words come."""
    written = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with selectors.DefaultSelector() as ready:
        ready.register(terminal, selectors.EVENT_READ)
        while until not in written and time.monotonic() < deadline:
            if ready.select(1):
                written += os.read(terminal, 4096).decode("utf-8", "replace")
    return written


def test_a_wheel_holds_all_that_the_packages_have(tmp_path: Path) -> None:
    packages, source = ("server", "shared", "worker_node"), tmp_path / "source"
    for name in packages:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    flags = "--quiet --no-deps --no-index --no-build-isolation --disable-pip-version-check"
    line = [sys.executable, "-m", "pip", "wheel", *flags.split(), "-w", str(tmp_path), "."]
    subprocess.run(line, check=True, cwd=source, env=environment())
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as wheel:
        held = {name for name in wheel.namelist() if name.startswith(packages)}
    there = (path for name in packages for path in (ROOT / name).rglob("*") if path.is_file())
    wanted = {str(path.relative_to(ROOT)) for path in there if "__pycache__" not in path.parts}
    assert held == wanted
    assert any(name.endswith(".js") for name in held)
