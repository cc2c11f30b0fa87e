"""docs/dialling-out.md, tried literally: owners behind routers that translate addresses and let
nothing in, and the coordinator as the only machine that can be reached."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.hosts import Host, ip
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.nat import Home, behind_nat, why_no_nat
from tests.helpers.needed import lacking
from tests.helpers.page_readers import Reader, activated, check_out
from tests.helpers.pages import Block, Carry, steps_in
from tests.helpers.running import ROOT, until

PAGE = ROOT / "docs" / "dialling-out.md"
PUBLIC = {"coordinator": "203.0.113.5"}
HOMES = {
    "bob": Home("203.0.113.17", "192.168.1.1", "192.168.1.7"),
    "anne": Home("203.0.113.18", "192.168.2.1", "192.168.2.8"),
}
RUN_SECONDS = 400.0
"""For a whole training, on a machine with other work."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Host]]:
    why_not = why_no_nat()
    if why_not:
        lacking("namespaces", why_not)
    if not (ROOT / ".venv" / "installed").is_dir():
        lacking("setup", "the environment of ./scripts/setup is not there")
    with behind_nat(PUBLIC, HOMES, tmp_path) as found:
        for host in found.values():
            check_out(host.folder)
        for seed, owner in enumerate(HOMES):
            write_tsv(found[owner].folder / "messages.tsv", made_up(150, seed=seed))
        yield found


def said(host: Host, script: str) -> tuple[int, str]:
    process = host.start(
        activated(script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = process.communicate(timeout=RUN_SECONDS)
    return process.returncode, out


def test_a_stranger_who_follows_the_page_trains_with_owners_whom_nobody_can_reach(
    machines: dict[str, Host],
) -> None:
    coordinator = machines["coordinator"]
    for home in HOMES.values():  # the routers are real: the way in is shut
        probe = f"timeout 2 bash -c '</dev/tcp/{home.outside}/8777' || echo shut"
        assert "shut" in said(coordinator, probe)[1]
    with ExitStack() as undo:
        reader = Reader(machines, undo)
        reader.follow(PAGE)
        run = reader.begun["coordinator"]
        log = coordinator.folder / "background.log"
        until(lambda: run.poll() is not None, "the end of the run", RUN_SECONDS, every=0.5)
        assert run.returncode == 0, log.read_text()
        assert "AUC %" in log.read_text()
        (folder,) = filter(Path.is_dir, (coordinator.folder / "runs").iterdir())
        assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
        nodes = json.loads((folder / "settings.json").read_text())["nodes"]
        assert all(one["dials_in"] and one["certificate"] for one in nodes.values())
        # whom the coordinator saw are the routers, whose addresses were put in the owners' place
        code, told = said(coordinator, "python -m server invite --list --json")
        assert code == 0, told
        origins = {one["node"]: one["origin"] for one in json.loads(told)}
        assert origins == {name: home.outside for name, home in HOMES.items()}
        _moves_house(machines["bob"])
        status = "python -m server status --json --listen 0.0.0.0:8770 --node bob --node anne"
        code, told = said(coordinator, status)
        assert code == 0, told


def _moves_house(bob: Host) -> None:
    """His machine gets another address, as at another network; nobody tells the node."""
    ip("-n", bob.namespace, "addr", "flush", "dev", "eth0")
    ip("-n", bob.namespace, "addr", "add", "192.168.1.99/24", "dev", "eth0")
    ip("-n", bob.namespace, "route", "add", "default", "via", HOMES["bob"].router)


def commands(page: Path) -> tuple[int, int, int]:
    """What a page has people type: of an owner, of all, and the files that they send."""
    looks = ("check", "status", "predict")
    first = page.read_text(encoding="utf-8").partition("## Later")[0]
    found = [one for one in steps_in(first) if isinstance(one, Block)]
    typed = [
        (one.host, line)
        for one in found
        for line in one.script.splitlines()
        if line.startswith(("python -m", "bash ", "cat "))
        and not any(f" {look} " in f"{line} " for look in looks)
    ]
    files = [one for one in steps_in(first) if isinstance(one, Carry)]
    return len([line for host, line in typed if host == "bob"]), len(typed), len(files)


def test_the_page_counts_its_commands_right() -> None:
    text = PAGE.read_text(encoding="utf-8")
    of_bob, of_all, lines = commands(PAGE)
    assert f"| this page | {of_bob}, {of_all} | 0; two lines are sent | 0 |" in text
    assert lines == 2
    of_bob, of_all, files = commands(ROOT / "docs" / "two-machines.md")
    assert f"where nodes listen | {of_bob}, {of_all} | {files} | 2 |" in text
