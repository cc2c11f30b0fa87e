"""The data owner's side: holds the owner's messages and trains models on them that others send.

    from worker_node import Node

    with Node("bob", messages=[("spam", "WIN a prize"), ("ham", "see you at seven"), ...]) as node:
        print(node.address)

docs/scripting.md goes through it. Nothing is loaded before the name is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.starting import load_by_name

if TYPE_CHECKING:
    from worker_node.embedding.node import Node

__all__ = ["Node"]

_HOMES = {"Node": "worker_node.embedding.node"}


def __getattr__(name: str) -> Any:
    return load_by_name(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
