"""Hosts behind routers that translate addresses: real ones, of the kernel, between namespaces.

A router lets nothing in that its inside did not ask for. Beside what tests/helpers/hosts.py needs,
this needs nftables (the command nft).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.hosts import Host, add_namespace, ip, plug_in, why_no_hosts

RULES = """
table inet home {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "inside" oifname "eth0" accept
    }
    chain input { type filter hook input priority 0; policy drop; ct state established accept; }
}
table ip nat {
    chain leaving {
        type nat hook postrouting priority 100;
        oifname "eth0" masquerade
    }
}
"""


@dataclass(frozen=True)
class Home:
    """A network behind a router: the router's address outside, and its one host's inside."""

    outside: str
    router: str
    host: str


def why_no_nat() -> str:
    """Why this machine cannot give a test its routers; "" where it can."""
    why_not = why_no_hosts()
    if why_not:
        return why_not
    if shutil.which("nft") is None:
        return "address translation needs nftables (the command nft)"
    probe = f"fedsms-nat-{os.getpid()}"
    ip("netns", "add", probe)
    try:
        tried = _nft(probe)
    finally:
        ip("netns", "del", probe)
    return f"no address translation here: {tried.stderr.strip()}" if tried.returncode else ""


def _nft(namespace: str) -> subprocess.CompletedProcess[str]:
    line = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    return subprocess.run(line, input=RULES, capture_output=True, text=True, check=False)


@contextmanager
def behind_nat(
    public: Mapping[str, str], homes: Mapping[str, Home], folder: Path
) -> Iterator[dict[str, Host]]:
    """Hosts by name while the context lasts.

    Args:
        public: hosts that everybody reaches, with their addresses, of one /24.
        homes: hosts behind a router of their own, which is at an address of the same /24.
    """
    prefix = f"fedsms-{os.getpid()}"
    switch = f"{prefix}-wan"
    with ExitStack() as undo:
        add_namespace(switch, undo)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        found = {}
        for number, (name, address) in enumerate(public.items()):
            namespace = f"{prefix}-{name}"
            add_namespace(namespace, undo)
            plug_in(namespace, address, switch, f"port{number}")
            (folder / name).mkdir()
            found[name] = Host(name, address, folder / name, namespace)
        for number, (name, home) in enumerate(homes.items(), start=len(public)):
            router, namespace = f"{prefix}-router-{name}", f"{prefix}-{name}"
            add_namespace(router, undo)
            add_namespace(namespace, undo)
            plug_in(router, home.outside, switch, f"port{number}")
            _connect(router, home, namespace)
            (folder / name).mkdir()
            found[name] = Host(name, home.host, folder / name, namespace)
        yield found


def _connect(router: str, home: Home, namespace: str) -> None:
    peer = ("peer", "name", "eth0", "netns", namespace)
    ip("-n", router, "link", "add", "inside", "type", "veth", *peer)
    ip("-n", router, "addr", "add", f"{home.router}/24", "dev", "inside")
    ip("-n", router, "link", "set", "inside", "up")
    ip("-n", namespace, "addr", "add", f"{home.host}/24", "dev", "eth0")
    ip("-n", namespace, "link", "set", "eth0", "up")
    ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", namespace, "route", "add", "default", "via", home.router)
    on = ["ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1"]
    subprocess.run(on, check=True, capture_output=True, text=True)
    made = _nft(router)
    assert made.returncode == 0, made.stderr
