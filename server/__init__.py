"""The coordinator: has a model trained at the nodes of data owners, and gets it back.

    from server import Federation

    federation = Federation({"bob": "wss://10.0.0.7:8777", "anne": "wss://10.0.0.8:8777"})
    run = federation.train("default", rounds=15)
    print(run.metrics.f1, run.model.predict(["You have won a prize, call now"]))

docs/scripting.md goes through it. Nothing is loaded before the first name is asked for, and torch
and PySyft not before the first training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.starting import load_by_name

if TYPE_CHECKING:
    from server.federation.async_federation import AsyncFederation
    from server.federation.federation import Federation
    from server.federation.model import Model
    from server.federation.run import Run
    from server.federation.stopping import EarlyStopping

__all__ = ["AsyncFederation", "EarlyStopping", "Federation", "Model", "Run"]

_HOMES = {
    "AsyncFederation": "server.federation.async_federation",
    "EarlyStopping": "server.federation.stopping",
    "Federation": "server.federation.federation",
    "Model": "server.federation.model",
    "Run": "server.federation.run",
}


def __getattr__(name: str) -> Any:
    return load_by_name(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
