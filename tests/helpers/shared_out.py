"""How the suite's files are dealt to processes: one for all that shares an engine or a network."""

from __future__ import annotations

from collections.abc import Sequence

from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ONE_AT_A_TIME = {
    "tests/containers/": "containers",
    "tests/whole/test_behind_nat.py": "networks",
    "tests/whole/test_two_machines.py": "networks",
}
"""Paths whose tests would be in each other's way, and the name of the group that keeps them apart:
images and a swarm belong to the engine, and namespaces to the kernel."""

FIRST = ("tests/containers/", "tests/whole/", "tests/attacks/")
"""What takes longest: begun last, it would run alone at the end."""


def group(nodeid: str) -> str:
    """A group's tests run in one process, one after another: a file's, since they share nodes."""
    file = nodeid.partition("::")[0]
    return next((name for path, name in ONE_AT_A_TIME.items() if file.startswith(path)), file)


def in_order(nodeids: Sequence[str]) -> list[str]:
    """Longest kinds first, and otherwise as they are."""

    def place(nodeid: str) -> int:
        return next((at for at, path in enumerate(FIRST) if nodeid.startswith(path)), len(FIRST))

    return sorted(nodeids, key=place)


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed to its ends
    """Gives a process the next group whenever it is nearly done with its last."""

    def __init__(self, config: object, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self.config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
