"""The federation that a command's flags name; every command that speaks to nodes stands on it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from server.federation.async_federation import AsyncFederation


class _Warnings(logging.Handler):
    """What is not wrong yet, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"warning: {record.getMessage()}", err=True)


def federation_of(
    nodes: tuple[str, ...], listen: str | None, identity: Path, insecure: bool, **settings: Any
) -> AsyncFederation:
    """The federation.

    Args:
        nodes: ID=URL each, or ID of one that dials in; none for a run that is resumed.
        listen: host and port where nodes dial in; None where none do.

    Raises:
        UsageError: a node is malformed, or given twice.
    """
    from server.federation.async_federation import AsyncFederation

    log = logging.getLogger("fedsms.federation")
    if not any(isinstance(one, _Warnings) for one in log.handlers):
        log.addHandler(_Warnings())
    return AsyncFederation(
        nodes=nodes, listen=listen, identity=identity, insecure=insecure, **settings
    )
