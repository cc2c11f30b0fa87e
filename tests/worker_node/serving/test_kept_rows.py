"""An owner's bound on what is kept encoded reaches the process that keeps it."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.local.nodes import UNGUARDED, local_nodes
from shared.model.recipe import load_recipe
from tests.conftest import write_owner
from tests.helpers.running import children_of, done_well, run

ROWS = 3_000


def anonymous_bytes(pid: int) -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return 1024 * int(found[1])


def test_a_node_whose_policy_keeps_nothing_has_no_room_for_encoded_messages(
    tmp_path: Path,
) -> None:
    owner = write_owner(tmp_path, "bob", 60, ROWS, seed=3)
    policies = {"kept": UNGUARDED, "none": str(tmp_path / "none.toml")}
    Path(policies["none"]).write_text("most_kept_megabytes = 0\n" + Path(UNGUARDED).read_text())
    flags = {name: (*owner.flags, "--policy", path) for name, path in policies.items()}
    with local_nodes(flags) as nodes:
        where = [part for node in nodes for part in ("--node", node.flag)]
        line = ("train", "--rounds", 1, "--recipe", "default", *where)
        done_well(run("server", *line, cwd=tmp_path))
        kept, none = (
            sum(anonymous_bytes(child) for child in children_of(node.process.pid)) for node in nodes
        )
    ids = 4 * ROWS * load_recipe("default").text.width
    assert kept - none > 0.5 * ids
