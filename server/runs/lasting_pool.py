"""Threads for what blocks, which a script's own threads have for as long as they run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class LastingPool(ThreadPoolExecutor):
    """Takes work also while Python, at the end of a script, waits for the script's own threads.

    A pool refuses it from then on, and a training that such a thread leads would fail.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            alone: Future[Any] = Future()
            arguments = (alone, fn, args, kwargs)
            threading.Thread(target=_do, args=arguments, daemon=True).start()
            return alone


def _do(
    future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        found = fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
        future.set_exception(error)
    else:
        future.set_result(found)
