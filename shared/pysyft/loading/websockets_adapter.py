"""The `websockets` that PySyft's stock workers see: today's package under its names of 2020.

Only syft's own modules ever hold it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions


async def _serve(*args: Any, **kwargs: Any) -> websockets.asyncio.server.Server:
    """Serves once awaited: `serve(...)` itself wants a running loop since websockets 14."""
    return await websockets.asyncio.server.serve(*args, **kwargs)


def _connect(uri: str, timeout: float | None = None, **kwargs: Any) -> Any:
    """Connects; `timeout` (seconds; None waits forever) is called `open_timeout` since 10."""
    return websockets.asyncio.client.connect(uri, open_timeout=timeout, **kwargs)


def module() -> ModuleType:
    """A module with the five names that syft uses."""
    adapter = ModuleType("websockets")
    adapter.__path__ = []
    adapter.WebSocketCommonProtocol = (  # type: ignore[attr-defined]
        websockets.asyncio.server.ServerConnection
    )
    adapter.exceptions = websockets.exceptions  # type: ignore[attr-defined]
    adapter.serve = _serve  # type: ignore[attr-defined]
    adapter.connect = _connect  # type: ignore[attr-defined]
    return adapter
