"""Pages whose examples are run as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scripts.local.nodes import LocalNode
from tests.helpers.running import ROOT, run_python


def run_page(
    name: str, nodes: Iterable[LocalNode], cwd: Path = ROOT, warns: bool = False, **environ: str
) -> None:
    """Asserts that each example of a page gives what the page says.

    Args:
        name: in docs/.
        nodes: that the page finds in FEDSMS_NODES.
        warns: the page has warnings; they are errors else.
    """
    flags = () if warns else ("-W", "error")
    page = ("-m", "tests.helpers.run_tutorial", ROOT / "docs" / name)
    addresses = " ".join(node.flag for node in nodes)
    done = run_python(*flags, *page, cwd=cwd, seconds=None, FEDSMS_NODES=addresses, **environ)
    assert done.code == 0, done.out + done.err
