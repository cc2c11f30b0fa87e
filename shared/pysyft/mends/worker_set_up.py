"""What making a worker does besides making it, and how a subclass turns that off.

Two class attributes of a worker, both True where a class says nothing, as in PySyft:

- `crypto_plans`: six Plans for function secret sharing become objects of the new worker. A node
  that counts, lists or guards its objects wants none that nobody put there.
- `joins_registry`: the worker becomes known to "me" and to every other worker of the process, under
  its id. A second one with that id is refused if it is of another class, and otherwise is *given
  the attributes of the first*: its sockets, objects and settings. A worker that stays out holds no
  one else; `introduce` lets this process send tensors to it, `forget_worker` lets go of it.
"""

from __future__ import annotations

import functools
from typing import Any

from shared.pysyft.loading.load import sy


def _with_choice_of_plans(original: Any) -> Any:
    @functools.wraps(original)
    def initialize_crypto_plans(worker: Any) -> None:
        if getattr(type(worker), "crypto_plans", True):
            original(worker)

    return initialize_crypto_plans


def _with_choice_of_registry(original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if not getattr(type(self), "joins_registry", True):
            kwargs["auto_add"] = False
        original(self, *args, **kwargs)

    return init


def introduce(worker: Any, in_place_of_another: bool = False) -> None:
    """Makes a worker known to this process's own, "me", which pointers to it need.

    Raises ValueError where "me" knows another worker under that id, unless it is to be replaced;
    pointers to that one go on working.
    """
    me = sy.local_worker
    if in_place_of_another:
        me._known_workers[worker.id] = worker
    elif me._known_workers.setdefault(worker.id, worker) is not worker:
        raise ValueError(f"this process already has a worker with the id {worker.id!r}")
    worker._known_workers[me.id] = me


def forget_worker(worker: Any) -> None:
    """Takes a worker out of the registries of all others; one that is in none is left alone."""
    me = sy.local_worker
    for other in [me, *me._known_workers.values()]:
        if other._known_workers.get(worker.id) is worker and other is not worker:
            del other._known_workers[worker.id]


def apply() -> None:
    """Wraps the two functions that ask nobody."""
    fss = sy.frameworks.torch.mpc.fss
    fss.initialize_crypto_plans = _with_choice_of_plans(fss.initialize_crypto_plans)
    base = sy.workers.base.BaseWorker
    base.__init__ = _with_choice_of_registry(base.__init__)
