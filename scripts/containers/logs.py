"""What the nodes write, of one owner or of all with the owner's name before each line."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import click
from docker.models.containers import Container


def show_logs(nodes: Mapping[str, Container], follow: bool, tail: int | None) -> None:
    """Prints logs on standard output.

    Args:
        nodes: owner -> container.
        follow: goes on until the containers end.
        tail: how many of the last lines of each; None shows all.
    """
    width = max(map(len, nodes)) if len(nodes) > 1 else 0
    readers = [
        threading.Thread(target=_show, args=(owner, node, follow, tail, width), daemon=True)
        for owner, node in nodes.items()
    ]
    for reader in readers:
        reader.start()
        if not follow:
            reader.join()
    for reader in readers:
        reader.join()


def _show(owner: str, node: Container, follow: bool, tail: int | None, width: int) -> None:
    pieces = node.logs(stream=True, follow=follow, tail="all" if tail is None else tail)
    for line in _lines(pieces):
        click.echo(f"{owner:<{width}} | {line}" if width else line)


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Whole lines; a piece may hold several, or a part of one."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")
