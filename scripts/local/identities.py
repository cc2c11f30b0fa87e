"""A federation's identities for nodes of this machine: a CA, a coordinator, and owners' nodes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from server.authority.enrolment import bundle, make_own, read_request
from server.authority.folder import make_authority
from shared.identity.certificates import Name
from worker_node.membership.enrolment import join, make_request

DAYS = 30


def make_identities(folder: Path, names: Iterable[str]) -> Path:
    """Makes `coordinator` and a folder for each node below `folder`; gives the coordinator's."""
    authority, _ = make_authority(folder / "authority")
    coordinator = folder / "coordinator"
    make_own(authority, coordinator, Name("coordinator", "coordinator"), days=DAYS)
    for name in names:
        request, _ = make_request(folder / name, name)
        issued = authority.issue(*read_request(request), days=DAYS)
        answer = folder / f"{name}.pem"
        answer.write_bytes(bundle(authority, issued))
        join(answer, folder / name)
    return coordinator
