"""docs/two-machines.md, tried literally: each host has its own network, folder and checkout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.hosts import Host, hosts, why_no_hosts
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.needed import lacking
from tests.helpers.page_readers import Reader, activated, check_out
from tests.helpers.running import PATIENCE_SECONDS, ROOT

ADDRESSES = {"coordinator": "10.0.0.5", "bob": "10.0.0.7", "anne": "10.0.0.8"}
OWNERS = ("bob", "anne")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Host]]:
    """Three hosts, each with fedsms, and messages where their owners are."""
    why_not = why_no_hosts()
    if why_not:
        lacking("namespaces", why_not)
    if not (ROOT / ".venv" / "installed").is_dir():
        lacking("setup", "the environment of ./scripts/setup is not there")
    with hosts(ADDRESSES, tmp_path) as found:
        for host in found.values():
            check_out(host.folder)
        for seed, owner in enumerate(OWNERS):
            write_tsv(found[owner].folder / "messages.tsv", made_up(150, seed=seed))
        yield found


def test_a_stranger_who_follows_the_page_trains_across_machines(
    machines: dict[str, Host],
) -> None:
    coordinator = machines["coordinator"]
    with ExitStack() as undo:
        reader = Reader(machines, undo)
        reader.follow(ROOT / "docs" / "two-machines.md")
        assert any("AUC %" in written for written in reader.written)
        (folder,) = filter(Path.is_dir, (coordinator.folder / "runs").iterdir())
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["status"] == "completed"
        # the page ends with bob revoked: he is refused by name, and anne still answers
        after = coordinator.start(
            activated("python -m server status --json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = after.communicate(timeout=PATIENCE_SECONDS)
    assert after.returncode == 5
    assert {node["node"]: node["answers"] for node in json.loads(out)} == {
        "anne": True,
        "bob": False,
    }
    assert "revoked" in err
    secrets = [machines[owner].folder / "identity" / "key.pem" for owner in OWNERS]
    keys = [path.read_text(encoding="utf-8").splitlines()[1] for path in secrets]
    for path in coordinator.folder.rglob("*"):
        if path.is_file() and ".venv" not in path.parts:
            assert not any(key.encode() in path.read_bytes() for key in keys), path
