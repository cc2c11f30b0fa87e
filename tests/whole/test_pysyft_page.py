"""docs/pysyft.md, executed as it is written: VirtualWorkers, PySyft's own server, and a node."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.local.nodes import local_nodes
from tests.conftest import write_owner
from tests.helpers.dialling_nodes import free_port
from tests.helpers.page_examples import run_page
from tests.helpers.running import ROOT, environment, until

PAGE = ROOT / "docs" / "pysyft.md"
_SERVER = re.compile(r"^```python carol\.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def listens(server: subprocess.Popen[bytes], port: int) -> bool:
    assert server.poll() is None, "carol.py has ended"
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def carol(folder: Path) -> Iterator[int]:
    """The page's own server as a program, and its port: PySyft's server cannot tell of port 0."""
    found = _SERVER.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    script, port = folder / "carol.py", free_port()
    script.write_text(found[1], encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, script, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        until(lambda: listens(server, port), "carol.py to listen", seconds=120)
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.mark.timeout(600)
def test_every_example_of_the_page_gives_what_it_says(tmp_path: Path) -> None:
    dora = write_owner(tmp_path, "dora", 320, 80, 1)
    flags = {dora.id: (*dora.flags, "--allow", "pointers")}
    with carol(tmp_path) as port, local_nodes(flags) as nodes:
        # PySyft and torch.jit have warnings, which the page names
        run_page("pysyft.md", nodes, warns=True, CAROL_PORT=str(port))
