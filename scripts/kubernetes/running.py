"""Pods from their start to their end: what serves is kept running, and a Job is tried again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from docker.models.containers import Container

from scripts.kubernetes.failure_policy import BACKOFF_LIMIT, decide
from scripts.kubernetes.objects import Workload
from scripts.kubernetes.probes import Watch
from scripts.kubernetes.stand_in import StandIn
from shared.errors import FedsmsError, NodeUnreachable

READY_SECONDS = 400.0
"""For a pod to be ready; a start-up probe of the charts takes 300 at most."""
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 360.0
"""Seconds before a Job's next pod: doubled each time, as the Job controller does."""

MOST_ENDS = 3
"""How often what serves may end before it is ready."""
POLL_SECONDS = 0.5

Say = Callable[[str], None]


class PodFailed(FedsmsError):
    """A container of a pod ended with another code than 0.

    Args:
        container: its name. code: what it ended with. said: the last that it said.
    """

    def __init__(self, container: str, code: int, said: str = "") -> None:
        super().__init__(f"the container {container} ended with {code}", said)
        self.container, self.code = container, code


@contextmanager
def serving(
    stand_in: StandIn, found: Sequence[Workload], say: Say, most: float = math.inf
) -> Iterator[dict[str, Watch]]:
    """Starts what serves, and watches it while the context lasts: pod's name -> its watch.

    Args:
        most: seconds between two questions whether a pod is ready, where its probes say more.

    Raises:
        NodeUnreachable: a pod was not ready in time. PodFailed: one could not be prepared.
    """
    watches: dict[str, Watch] = {}
    try:
        for one in found:
            container = start(stand_in, one, say, again=True)
            watches[one.pod_name] = Watch(container, one.pod, stand_in.name, most)
        for name, watch in watches.items():
            _wait_for(name, watch)
            say(f"{name} is ready")
        yield watches
    finally:
        for watch in watches.values():
            watch.end()


def _wait_for(name: str, watch: Watch) -> None:
    """Raises NodeUnreachable where a pod is not ready in time, PodFailed where it cannot be."""
    deadline = time.monotonic() + READY_SECONDS
    while not watch.wait(POLL_SECONDS):
        watch.container.reload()
        if watch.container.attrs["RestartCount"] >= MOST_ENDS:
            code: int = watch.container.attrs["State"]["ExitCode"]
            said = watch.container.logs(tail=2).decode(errors="replace").strip()
            raise PodFailed(name, code, said)
        if time.monotonic() > deadline:
            raise NodeUnreachable(f"the pod {name} is not ready", "its probes fail")


def start(stand_in: StandIn, workload: Workload, say: Say, again: bool) -> Container:
    """Runs a pod's init containers to their end, and starts its container. Raises PodFailed."""
    for one in workload.pod.get("initContainers", ()):
        code = to_the_end(stand_in.create(workload, one, False), workload.pod_name, say)
        if code:
            raise PodFailed(one["name"], code)
    (own,) = workload.pod["containers"]
    container = stand_in.create(workload, own, again)
    container.start()
    return container


def run_job(stand_in: StandIn, job: Workload, say: Say, first_pause: float = FIRST_PAUSE) -> None:
    """Runs a Job's pods until one ends well, or the Job fails.

    Raises:
        PodFailed: the last one that failed, once no other is tried.
    """
    failures = 0
    while True:
        try:
            _one_pod(stand_in, job, say)
        except PodFailed as failed:
            action = decide(job.spec, failed.container, failed.code)
            say(f"{job.name}: {failed.fact}: {action}")
            failures += action == "Count"
            if action == "FailJob" or failures > job.spec.get("backoffLimit", BACKOFF_LIMIT):
                raise
            time.sleep(min(first_pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE))
        else:
            say(f"{job.name} is complete")
            return


def _one_pod(stand_in: StandIn, job: Workload, say: Say) -> None:
    container = start(stand_in, job, say, again=False)
    code = _followed(container, job.pod_name, say)
    if code:
        raise PodFailed(job.pod["containers"][0]["name"], code)


def to_the_end(container: Container, name: str, say: Say) -> int:
    """Starts a container and waits for its end; its exit code."""
    container.start()
    return _followed(container, name, say)


def _followed(container: Container, name: str, say: Say) -> int:
    def follow() -> None:
        for line in container.logs(stream=True, follow=True):
            say(f"{name} | {line.decode(errors='replace').rstrip()}")

    following = threading.Thread(target=follow, daemon=True)
    following.start()
    code: int = container.wait()["StatusCode"]
    following.join()
    return code
