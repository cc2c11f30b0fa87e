"""The images of the containers: whether they are there, and how they are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import get_args

from docker.errors import ImageNotFound

from scripts.containers.engine import engine_errors
from scripts.containers.labels import Federation, Role
from scripts.local.nodes import ROOT
from shared.errors import FedsmsError

LAST_LINES = 12
"""Of a build that fails, which are shown."""
TARGETS: tuple[Role, ...] = get_args(Role)


def ensure_images(federation: Federation, build: bool | None, say: Callable[[str], None]) -> None:
    """Makes the images.

    Args:
        build: True makes them in any case (what has not changed costs seconds), None those that
            are missing, False none.

    Raises:
        FedsmsError: an image is missing, or cannot be made.
    """
    missing = [target for target in TARGETS if not _is_there(federation, target)]
    if build is False and missing:
        raise FedsmsError(
            f"the image {federation.image(missing[0])} is missing",
            "--no-build was given",
            "Leave it out, or build the image first; the Dockerfile begins with how.",
        )
    for target in TARGETS if build else missing:
        say(f"Building {federation.image(target)} ...")
        _build(federation, target, say)


def check_image(federation: Federation, target: Role) -> str:
    """The image's name. Raises FedsmsError where there is no such image."""
    name = federation.image(target)
    if not _is_there(federation, target):
        raise FedsmsError(
            f"the image {name} is missing",
            next_step="Make it: python scripts/federation.py up --build",
        )
    return name


def _is_there(federation: Federation, target: Role) -> bool:
    try:
        federation.client.images.get(federation.image(target))
    except ImageNotFound:
        return False
    return True


def _build(federation: Federation, target: Role, say: Callable[[str], None]) -> None:
    name = federation.image(target)
    with engine_errors(f"build {name}"):
        steps = federation.client.api.build(
            path=str(ROOT), target=target, tag=name, rm=True, decode=True
        )
        said: deque[str] = deque(maxlen=LAST_LINES)
        for step in steps:
            if "error" in step:
                why = "\n".join((step["error"].strip(), *said))
                raise FedsmsError(f"{name} cannot be built", why)
            text = step.get("stream", "").strip()
            said.append(text)
            if text.startswith("Step ") and " RUN " in text:  # the others take no time
                say(f"  {text[:100]}")
