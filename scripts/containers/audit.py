"""An owner's audit log, read in a container of its own: also where the node has ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from docker.errors import NotFound
from docker.types import Mount

from scripts.containers.attached import run_attached
from scripts.containers.confinement import CONFINED
from scripts.containers.engine import engine_errors
from scripts.containers.images import check_image
from scripts.containers.labels import Federation


def show_audit_log(federation: Federation, owner: str, flags: Sequence[str]) -> int:
    """Runs `python -m worker_node log FLAGS` on what the owner's node wrote.

    Returns:
        Its exit code.

    Raises:
        UsageError: there is no such owner. FedsmsError: Docker cannot run it.
    """
    federation.node(owner)
    what = f"read the audit log of {owner}"
    with engine_errors(what):
        container = federation.client.containers.create(
            check_image(federation, "node"),
            ["log", *flags],
            labels=federation.labels("setup"),
            network_mode="none",
            mounts=[
                Mount(
                    f"/{part}", federation.ensure_volume(owner, part, owner=owner), read_only=True
                )
                for part in ("audit", "identity")
            ],
            **CONFINED,
        )
        try:
            return run_attached(container, "reading")
        finally:
            with suppress(NotFound):  # `down` in another terminal was faster
                container.remove(force=True, v=True)
