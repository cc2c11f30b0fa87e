"""The Docker engine: reaching it, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import requests
from docker.errors import APIError, DockerException

from shared.errors import FedsmsError, NodeUnreachable, UsageError, describe_os_error

ANSWER_SECONDS = 300
"""How long one request may take; a busy machine needs a while to make a container."""
CONFLICT = 409


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine that DOCKER_HOST names, or of this machine's.

    Raises:
        NodeUnreachable: no engine answers. UsageError, FedsmsError: as `engine_errors`.
    """
    try:
        client = docker.from_env(timeout=ANSWER_SECONDS)
    except DockerException as error:
        raise _no_engine(error) from error
    try:
        with engine_errors("go on"):
            yield client
    finally:
        client.close()


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Errors of the engine in the block become ours.

    Args:
        what: what the block does, as in "kill carol".

    Raises:
        UsageError: the state of things forbids it, as killing what does not run.
        NodeUnreachable: the engine went away. FedsmsError: it failed otherwise.
    """
    try:
        yield
    except APIError as error:
        kind = UsageError if error.status_code == CONFLICT else FedsmsError
        raise kind(f"Docker cannot {what}", explanation(error)) from error
    except (DockerException, requests.RequestException) as error:
        raise _no_engine(error) from error


def explanation(error: APIError) -> str:
    """What the engine said, on one line, without the ids that nobody knows."""
    said = " ".join(str(error.explanation or error).split())
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", said)


def _no_engine(error: Exception) -> NodeUnreachable:
    return NodeUnreachable(
        "no Docker engine answers",
        _cause(error),
        "Start Docker, or name an engine in DOCKER_HOST; "
        "you may have to be in the group docker to reach it.",
    )


def _cause(error: BaseException) -> str:
    """The operating system's word, which the SDK wraps up several times."""
    seen: BaseException | None = error
    while seen is not None:
        for inner in (seen, *seen.args):
            if isinstance(inner, OSError) and inner.errno:
                return describe_os_error(inner)
        seen = seen.__cause__ or seen.__context__
    return str(error)
