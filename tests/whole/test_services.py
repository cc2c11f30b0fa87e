"""deploy/systemd and the compose files of one machine alone, as the programs that read them do.

What the latter do on an engine is tests/containers/test_owner_compose.py.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from shared.errors import FedsmsError
from tests.helpers.containers import command, compose_tools
from tests.helpers.needed import lacking
from tests.helpers.running import ROOT, Finished, environment

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
NAMES = [unit.name for unit in UNITS]
COMMANDS = {"fedsms": "server.cli.commands", "fedsms-node": "worker_node.cli.commands"}
EXPOSED_AT_MOST = 20
"""Of systemd-analyze's 100; a service that confines nothing has 96."""


def value(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def analyze(folder: Path, *arguments: str) -> Finished:
    """What systemd says of the units, with programs that are there."""
    if shutil.which("systemd-analyze") is None:
        lacking("programs", "systemd-analyze is not installed (Debian's package systemd)")
    program = folder / "program"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        text, changed = re.subn(r"/opt/fedsms/\.venv/bin/\S+", str(program), text)
        assert changed == 1
        (folder / unit.name).write_text(text, encoding="utf-8")
    return command(("systemd-analyze", *arguments), check=False, cwd=folder)


def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    done = analyze(tmp_path, "verify", "--man=no", *(f"./{name}" for name in NAMES))
    ours = [line for line in done.err.splitlines() if "fedsms" in line]
    assert (done.code, ours) == (0, [])


def test_systemd_finds_a_mistake_in_a_unit(tmp_path: Path) -> None:
    analyze(tmp_path, "--version")
    (tmp_path / "wrong.service").write_text("[Service]\nExecStart=/no/such/program\n")
    assert analyze(tmp_path, "verify", "--man=no", "./wrong.service").code != 0


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_confined(name: str, tmp_path: Path) -> None:
    limit = ("--offline=yes", f"--threshold={EXPOSED_AT_MOST}")
    done = analyze(tmp_path, "security", *limit, name)
    assert done.code == 0, done.out[-300:]


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_a_unit_runs_a_command_that_there_is_with_settings_that_it_reads(unit: Path) -> None:
    (line,) = value(unit, "ExecStart")
    program, name, *arguments = shlex.split(line)
    room = vars(importlib.import_module(COMMANDS[Path(program).name])).values()
    groups = [one for one in room if isinstance(one, click.Group) and name in one.commands]
    found = groups[0].commands[name]
    found.make_context(name, list(arguments), resilient_parsing=True)
    read = {one.envvar for one in found.params if isinstance(one.envvar, str)}
    said = {one.partition("=")[0] for one in value(unit, "Environment")}
    assert said - {"PYTHONUNBUFFERED"} <= read | {
        word for one in found.params if isinstance(one.envvar, list | tuple) for word in one.envvar
    }


def codes(kind: type[FedsmsError]) -> set[int]:
    return {kind.exit_code}.union(*(codes(one) for one in kind.__subclasses__()))


def test_what_no_new_start_repairs_is_not_tried_again() -> None:
    for unit in UNITS:
        never = {
            int(code) for one in value(unit, "RestartPreventExitStatus") for code in one.split()
        }
        assert never <= codes(FedsmsError)
        if value(unit, "Restart") == ["on-failure"]:
            assert {2, 8} <= never
            assert not never & {0, 1, 4, 7}
        else:
            assert value(unit, "Restart") == ["no"]
    (node,) = (one for one in UNITS if one.name == "fedsms-node.service")
    assert value(node, "RestartPreventExitStatus") == ["2 3 8"]


ALONE = ("owner", "coordinator")


@pytest.mark.parametrize("machine", ALONE)
def test_each_compose_takes_the_file_of_one_machine(machine: str, tmp_path: Path) -> None:
    tools = compose_tools() if shutil.which("docker") else []
    if not tools:
        lacking("programs", "there is neither docker compose nor docker-compose")
    shutil.copy(ROOT / f"docker-compose.{machine}.yml", tmp_path)
    for tool in tools:
        line = (*tool, "-f", f"docker-compose.{machine}.yml", "config")
        settings = environment(AT="coordinator.example:8770")
        assert "read_only: true" in command(line, cwd=tmp_path, env=settings).out
    if machine == "coordinator":
        done = command(line, check=False, cwd=tmp_path, env=environment())
        assert done.code != 0
        assert "AT=coordinator.example:8770" in done.err


@pytest.mark.parametrize("machine", ALONE)
def test_its_containers_may_do_no_more_than_those_of_docker_compose_yml(machine: str) -> None:
    def confined(file: str) -> set[str]:
        text = (ROOT / file).read_text(encoding="utf-8")
        block = text.partition("x-confined: &confined\n")[2].partition("\n\n")[0]
        return {line.partition("#")[0].strip() for line in block.splitlines()}

    assert len(confined("docker-compose.yml")) == 10
    assert confined("docker-compose.yml") <= confined(f"docker-compose.{machine}.yml")


OVER = {
    "metrics.yml": "docker-compose.yml",
    "mlflow.yml": "docker-compose.yml",
    "owner-metrics.yml": "docker-compose.owner.yml",
    "coordinator-metrics.yml": "docker-compose.coordinator.yml",
}
"""Files of deploy/compose, and which one each goes over."""


@pytest.mark.parametrize("over", OVER)
def test_each_compose_takes_the_files_that_go_over_another_and_none_is_needed(over: str) -> None:
    assert set(OVER) == {path.name for path in (ROOT / "deploy" / "compose").iterdir()}
    tools = compose_tools() if shutil.which("docker") else []
    if not tools:
        lacking("programs", "there is neither docker compose nor docker-compose")
    settings = environment(AT="coordinator.example:8770", EXTRAS="metrics")
    for tool in tools:
        alone = (*tool, "-f", OVER[over], "config")
        both = (*tool, "-f", OVER[over], "-f", f"deploy/compose/{over}", "config")
        plain = command(alone, cwd=ROOT, env=settings).out
        found = command(both, cwd=ROOT, env=settings).out
        assert "EXTRAS: metrics" in plain
        served = 3 if over == "metrics.yml" else 1  # a place for each that serves
        asked = ("tracking:", 2) if over == "mlflow.yml" else ("FEDSMS_METRICS:", served)
        assert (plain.count(asked[0]), found.count(asked[0])) == (0, asked[1])
