"""The probes of a container, asked as a kubelet asks them: until it is ready, and while it runs."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from typing import Any

from docker.errors import APIError
from docker.models.containers import Container

from shared.errors import UsageError

PERIOD, TIMEOUT, FAILURES = 10.0, 1.0, 3
"""Of a probe that says none: seconds, seconds, in a row."""
GRACE = 30
"""Seconds that a pod has to end, where it says none, before it is killed."""


def succeeds(container: Container, probe: Mapping[str, Any], network: str) -> bool:
    """Asks a container once.

    Raises UsageError for a kind of probe that is not known here.
    """
    seconds = float(probe.get("timeoutSeconds", TIMEOUT))
    if "exec" in probe:
        return _ends_well(container, list(probe["exec"]["command"]), seconds)
    if "tcpSocket" in probe:
        container.reload()
        address = container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
        return _answers(address, int(probe["tcpSocket"]["port"]), seconds)
    raise UsageError("a probe that neither runs a command nor opens a connection is not known here")


def _ends_well(container: Container, command: list[str], seconds: float) -> bool:
    def ask() -> bool:
        try:
            return bool(container.exec_run(command).exit_code == 0)
        except APIError:  # it does not run
            return False

    asking = ThreadPoolExecutor(1)
    try:
        return asking.submit(ask).result(seconds)
    except TooLate:
        return False
    finally:
        asking.shutdown(wait=False)


def _answers(address: str, port: int, seconds: float) -> bool:
    try:
        socket.create_connection((address, port), seconds).close()
    except OSError:
        return False
    return True


class Watch:
    """Asks a container's probes in a thread of its own, and has it started again as they say.

    The start-up probe first, until it succeeds; then the liveness probe, until the watch ends. The
    container is ready once the readiness probe succeeds.

    container: the one that is asked. restarts: how often a probe had it started again.
    asked: how often any probe was asked.

    Args:
        pod: its specification; the probes are those of its one container.
        most: seconds between two questions until it is ready, where its probes say more.
    """

    def __init__(
        self, container: Container, pod: Mapping[str, Any], network: str, most: float = math.inf
    ):
        self.container, self._network, self._most = container, network, most
        self._probes = pod["containers"][0]
        self._grace = int(pod.get("terminationGracePeriodSeconds", GRACE))
        self._ready, self._ended = threading.Event(), threading.Event()
        self.restarts = self.asked = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Until it is ready; False where it was not in time."""
        return self._ready.wait(seconds)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            if self._holds("startupProbe", until=True) and self._get_ready():
                self._holds("livenessProbe", until=False)
            if not self._ended.is_set():
                self.restarts += 1
                with suppress(APIError):
                    self.container.restart(timeout=self._grace)

    def _get_ready(self) -> bool:
        """A probe of readiness starts nothing again, however long it takes."""
        while not self._ended.is_set():
            if self._holds("readinessProbe", until=True):
                self._ready.set()
                return True
        return False

    def _holds(self, name: str, until: bool) -> bool:
        """Asks a probe until it succeeds (`until`), or for as long as it does.

        Returns:
            Whether it succeeded; False once it has failed as often in a row as it may.
        """
        probe, failed = self._probes.get(name), 0
        if probe is None:
            return until or not self._ended.wait()
        while not self._ended.is_set():
            is_well = succeeds(self.container, probe, self._network)
            self.asked += 1
            if is_well:
                if until:
                    return True
                failed = 0
            else:
                failed += 1
            if failed >= int(probe.get("failureThreshold", FAILURES)):
                return False
            period = float(probe.get("periodSeconds", PERIOD))
            self._ended.wait(min(period, self._most) if until else period)
        return False
