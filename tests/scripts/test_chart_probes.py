"""What the probes of the owner's chart make of a socket that answers as a node's, or does not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.kubernetes.checking import pod_of
from scripts.kubernetes.rendering import documents, render
from tests.helpers.charts import check_installed
from tests.helpers.running import environment


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    check_installed()


@pytest.fixture
def health(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A socket that answers as a node would, or takes a call and says nothing where it is ""."""
    path = tmp_path / "h"
    server = socket.socket(socket.AF_UNIX)
    kept = []

    def answer(line: str) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            kept.append(connection)
            if line:
                connection.sendall(line.encode() + b"\n")

    def serve(line: str) -> Path:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=answer, args=(line,), daemon=True).start()
        return path

    yield serve
    server.close()
    for one in kept:
        one.close()


def probe(name: str, path: Path) -> bool:
    """Whether a probe of the chart succeeds where the node's socket is at `path`."""
    values = {"identity": {"secret": "key"}, "messages": {"claim": "rows"}}
    found = documents(render("fedsms-owner", values, "bob", "hospital"))
    (spec,) = (pod for pod in map(pod_of, found) if pod is not None)
    (node,) = spec["containers"]
    asked = node[name]
    done = subprocess.run(
        asked["exec"]["command"],
        env=environment(
            FEDSMS_HEALTH_SOCKET=str(path),
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        ),
        capture_output=True,
        check=False,
        timeout=asked["timeoutSeconds"],
    )
    return done.returncode == 0


@pytest.mark.parametrize("name", ["startupProbe", "readinessProbe", "livenessProbe"])
@pytest.mark.parametrize("well", [True, False])
def test_a_node_that_answers_is_left_alone_also_where_its_trainer_died(
    name: str, well: bool, health: Callable[[str], Path]
) -> None:
    busy = {"node": "bob", "well": well, "trainer": "died", "busy": "training round 3 of 15"}
    assert probe(name, health(json.dumps(busy)))


@pytest.mark.parametrize("name", ["startupProbe", "livenessProbe"])
def test_a_node_that_hangs_or_is_not_there_is_noticed(
    name: str, health: Callable[[str], Path], tmp_path: Path
) -> None:
    assert not probe(name, tmp_path / "nobody")
    assert not probe(name, health(""))
