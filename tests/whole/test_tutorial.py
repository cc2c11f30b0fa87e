"""docs/tutorial.md, executed as it is written, against two real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local.nodes import local_nodes
from tests.conftest import write_owner
from tests.helpers.page_examples import run_page


@pytest.mark.timeout(280)
def test_every_example_of_the_tutorial_gives_what_the_page_says(tmp_path: Path) -> None:
    owners = [write_owner(tmp_path, "bob", 320, 80, 1), write_owner(tmp_path, "anne", 256, 64, 2)]
    flags = {owner.id: (*owner.flags, "--allow", "pointers") for owner in owners}
    with local_nodes(flags) as nodes:
        run_page("tutorial.md", nodes)
