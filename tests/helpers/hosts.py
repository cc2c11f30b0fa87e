"""Hosts for tests: network namespaces on one switch, each with an address and a folder of its own.

They need Linux, root and iproute2. The switch has a namespace of its own too, so that neither the
machine's firewall nor its addresses play a part.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.running import environment


@dataclass(frozen=True)
class Host:
    """A machine of a test's: commands run in its network and in its folder."""

    name: str
    address: str
    folder: Path
    namespace: str

    def start(self, script: str, *, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[str]:
        """Starts a bash script on the host, as the leader of a process group."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "bash", "-euo", "pipefail", "-c", script],
            text=True,
            cwd=self.folder,
            env=environment(PYTHONPATH=""),
            start_new_session=True,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )


def why_no_hosts() -> str:
    """Why this machine cannot give a test its hosts; "" where it can."""
    if shutil.which("ip") is None:
        return "network namespaces need iproute2 (the command ip)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"fedsms-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespaces here: {made.stderr.strip()}"
    ip("netns", "del", probe)
    return ""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def hosts(addresses: Mapping[str, str], folder: Path) -> Iterator[dict[str, Host]]:
    """Hosts by name, each at its address (of one /24), while the context lasts."""
    prefix = f"fedsms-{os.getpid()}"
    switch = f"{prefix}-switch"
    with ExitStack() as undo:
        add_namespace(switch, undo)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        found = {}
        for number, (name, address) in enumerate(addresses.items()):
            namespace = f"{prefix}-{name}"
            add_namespace(namespace, undo)
            plug_in(namespace, address, switch, f"port{number}")
            (folder / name).mkdir()
            found[name] = Host(name, address, folder / name, namespace)
        yield found


def add_namespace(name: str, undo: ExitStack) -> None:
    ip("netns", "add", name)
    undo.callback(ip, "netns", "del", name)


def plug_in(namespace: str, address: str, switch: str, port: str) -> None:
    ip(
        "-n",
        switch,
        "link",
        "add",
        port,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        namespace,
    )
    ip("-n", switch, "link", "set", port, "master", "bridge", "up")
    ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", namespace, "link", "set", "eth0", "up")
    ip("-n", namespace, "link", "set", "lo", "up")
