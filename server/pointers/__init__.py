"""Pointer mode, the article's way: PySyft's own API against nodes, over sockets.

`from server.pointers import connect, disconnect` is all that a script or a notebook needs, and
`connect_shared` for shares; PySyft and torch are loaded when one of them is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.starting import load_by_name

if TYPE_CHECKING:
    from server.pointers.api import connect, connect_shared, disconnect

__all__ = ["connect", "connect_shared", "disconnect"]


def __getattr__(name: str) -> Any:
    return load_by_name(__name__, dict.fromkeys(__all__, "server.pointers.api"), name)
