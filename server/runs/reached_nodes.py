"""The nodes of a run, dialled or dialling in, for as long as the run works with them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

from server.authority.folder import CA, open_authority
from server.authority.invitations import Invitations
from server.nodes.members import Members
from server.nodes.reaching import Reach, reaching
from server.nodes.reception import Reception
from server.runs.settings import RunSettings
from shared.files import is_present, read_bytes
from shared.identity.folder import CA as CA_OF_IDENTITY

log = logging.getLogger("fedsms.coordinator")


@asynccontextmanager
async def members_of(
    settings: RunSettings, tell: Callable[[str, str], None], given: Reach | None = None
) -> AsyncIterator[Members]:
    """The nodes, of which none is called yet, while the context lasts.

    Takes invitations meanwhile, where nodes dial in and the federation's CA is at hand.

    Args:
        tell: of a node's id, or "" for none, and what became of it.
        given: reaches them, where somebody listens already and takes the invitations.

    Raises:
        FedsmsError: as `reaching`.
    """
    async with nullcontext(given) if given is not None else _listening(settings, tell) as reach:
        connects = {node.id: partial(reach, node) for node in settings.nodes}
        awaited = {node.id for node in settings.nodes if node.dials_in}
        members = Members(connects, settings.timeouts, awaited)
        members.notify = tell
        try:
            yield members
        finally:
            await members.close()


def _listening(
    settings: RunSettings, tell: Callable[[str, str], None]
) -> AbstractAsyncContextManager[Reach]:
    return reaching(
        settings.nodes,
        settings.identity,
        settings.timeouts,
        partial(say_who_is_awaited, settings, tell),
        lambda node, origin: log.info("node %s has dialled in from %s", node, origin),
        reception_of(settings.authority, settings.identity, tell),
    )


def reception_of(
    folder: Path | None, own: Path, tell: Callable[[str, str], object]
) -> Reception | None:
    """Takes the invitations that are open when somebody comes, of a CA that is at hand.

    Args:
        folder: of the authority; None takes none. own: the coordinator's identity folder.
        tell: of a node that has joined.
    """
    if folder is None or not is_present(folder / CA):
        return None
    invitations = Invitations(open_authority(folder))
    ours = own / CA_OF_IDENTITY
    if not invitations.any_open and not _is_same(ours, folder / CA):
        return None  # of another federation, and nobody waits for an error
    return Reception(invitations, lambda node, origin: tell(node, f"has joined from {origin}"))


def _is_same(one: Path, other: Path) -> bool:
    return is_present(one) and read_bytes(one) == read_bytes(other)


def say_who_is_awaited(settings: RunSettings, tell: Callable[[str, str], None], url: str) -> None:
    """Tells where nodes may dial in, and which are waited for."""
    names = ", ".join(node.id for node in settings.nodes if node.dials_in)
    tell("", f"listens at {url}, for: {names}")
