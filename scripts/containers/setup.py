"""One-shot containers that fill the volumes of a federation: certificates and messages.

The same scripts do it as in docker-compose.yml. The containers are root, to give each volume to
the one who may read it, and have no network.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from docker.types import Mount

from scripts.containers.confinement import CONFINED
from scripts.containers.labels import Federation
from scripts.split_data import MANIFEST
from shared.errors import FedsmsError

SCRIPTS = "/fedsms/scripts"
Say = Callable[[str], None]


def coordinator_user(federation: Federation) -> str:
    """User and group of the coordinator: the caller's, as whose its runs are written.

    Where the engine has no root of its own (rootless Docker), root in a container is the caller.
    """
    options = federation.client.info().get("SecurityOptions") or []
    rootless = any("name=rootless" in option for option in options)
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def make_certificates(federation: Federation, owners: Sequence[str], say: Say) -> None:
    """CA, coordinator's and owners' identities, each in a volume of its own; kept where there.

    Raises:
        FedsmsError: as scripts/compose/certificates.py ended.
    """
    user, _, group = coordinator_user(federation).partition(":")
    settings = {
        **CONFINED,
        # whose owner the coordinator's identity is for
        "tmpfs": {**CONFINED["tmpfs"], "/runs": f"uid={user},gid={group},mode=0755"},
        "cap_add": ["CHOWN", "DAC_OVERRIDE"],
        "environment": {
            "FEDSMS_AUTHORITY": "/authority",
            "FEDSMS_IDENTITY": "/identities/coordinator",
        },
        "mounts": [
            Mount("/authority", federation.ensure_volume("authority")),
            Mount("/identities/coordinator", federation.ensure_volume("coordinator", "identity")),
            *_volumes(federation, owners, "/identities", "identity"),
        ],
    }
    command = [f"{SCRIPTS}/compose/certificates.py", *_flags(owners, "/identities")]
    with _one_shot(federation, command, settings) as container:
        _run(container, say)


def deal_messages(
    federation: Federation, owners: Sequence[str], data: Path, flags: Sequence[str], say: Say
) -> dict[str, dict[str, dict[str, int]]]:
    """Each owner's messages in a volume of its own; kept where they were dealt alike before.

    Args:
        flags: how to deal, as scripts/compose/data.py takes it.

    Returns:
        owner -> part ("train", "held_out") -> class -> rows.

    Raises:
        FedsmsError: as scripts/compose/data.py ended.
    """
    settings = {
        **CONFINED,
        # The collection is put into the container itself, and goes with it: whoever may read the
        # file here, no volume holds it, and no path of this machine is shown.
        "read_only": False,
        "cap_add": ["CHOWN", "SETUID", "SETGID"],
        "mounts": _volumes(federation, owners, "/owners", "data"),
    }
    inside = f"/collection/{data.name}"
    command = [f"{SCRIPTS}/compose/data.py", *_flags(owners, "/owners"), "--collection", inside]
    with _one_shot(federation, [*command, *flags], settings) as container:
        container.put_archive("/", _packed(inside, data.read_bytes()))
        _run(container, say)
        return {owner: _rows(container, owner) for owner in owners}


def _flags(owners: Sequence[str], folder: str) -> list[str]:
    return [f"--owner={owner}={folder}/{owner}" for owner in owners]


def _volumes(federation: Federation, owners: Sequence[str], folder: str, what: str) -> list[Mount]:
    return [
        Mount(f"{folder}/{owner}", federation.ensure_volume(owner, what, owner=owner))
        for owner in owners
    ]


@contextmanager
def _one_shot(
    federation: Federation, command: list[str], settings: dict[str, Any]
) -> Iterator[Container]:
    container = federation.client.containers.create(
        federation.image("setup"),
        command,
        labels=federation.labels("setup"),
        user="0:0",
        network_mode="none",
        **settings,
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def _run(container: Container, say: Say) -> None:
    """Runs a one-shot to its end. Raises FedsmsError with its words and its exit code."""
    container.start()
    code = container.wait()["StatusCode"]
    if code:
        said = container.logs(stdout=False).decode("utf-8", "replace").strip()
        failed = FedsmsError(said.removeprefix("error: ") or f"it ended with {code}")
        failed.exit_code = code
        raise failed
    for line in container.logs(stderr=False).decode("utf-8", "replace").splitlines():
        if line.strip():
            say(f"  {line}")


def _rows(container: Container, owner: str) -> dict[str, dict[str, int]]:
    """What the owner's split.json says of its rows; the messages beside it stay there."""
    pieces, _ = container.get_archive(f"/owners/{owner}/{MANIFEST}")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        file = archive.extractfile(MANIFEST)
        assert file is not None
        manifest = json.load(file)
    if "rows" not in manifest:
        raise FedsmsError(
            f"the image {container.attrs['Config']['Image']} is of an older version",
            "it does not say how many rows it dealt",
            "Make it anew with `up --build`.",
        )
    rows: dict[str, dict[str, int]] = manifest["rows"]
    return rows


def _packed(path: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(path.lstrip("/"))
        member.size = len(content)
        member.mode = 0o444
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
