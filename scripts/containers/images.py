"""The images of the containers: whether they are there, of which code, and how they are made."""

from __future__ import annotations

import hashlib
import subprocess
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import get_args

from docker.errors import ImageNotFound

from scripts.compose.same_code import files_of
from scripts.containers.engine import engine_errors
from scripts.containers.labels import Federation, Role
from scripts.local.nodes import ROOT
from shared.errors import FedsmsError

LAST_LINES = 12
"""Of a build that fails, which are shown."""
TARGETS: tuple[Role, ...] = get_args(Role)
CODE = "fedsms.code"
"""Label of an image that was made here: a digest of the code that it was made from."""
COPIED = ("shared", "server", "worker_node", "scripts")
"""Folders whose code the Dockerfile copies."""


def ensure_images(federation: Federation, build: bool | None, say: Callable[[str], None]) -> None:
    """Makes the images.

    Args:
        build: True makes them in any case (what has not changed costs seconds), None those that
            are missing, or were made here from other code than the folder has now, False none.

    Raises:
        FedsmsError: an image is missing, or cannot be made.
    """
    missing = [target for target in TARGETS if not _is_there(federation, target)]
    old = [target for target in TARGETS if _is_of_other_code(federation, target)]
    if build is False and old:
        say(f"warning: {federation.image(old[0])} holds other code than this folder; it is taken")
    if build is False and missing:
        raise FedsmsError(
            f"the image {federation.image(missing[0])} is missing",
            "--no-build was given",
            "Leave it out, or build the image first; the Dockerfile begins with how.",
        )
    if build is None and old:
        say("The folder's code has changed since the images were made.")
    for target in TARGETS if build else [one for one in TARGETS if one in (*missing, *old)]:
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


def _is_of_other_code(federation: Federation, target: Role) -> bool:
    """False also where it is not there, or was made in another way: that is not known."""
    try:
        labels = federation.client.images.get(federation.image(target)).labels
    except ImageNotFound:
        return False
    return bool(labels.get(CODE, code_digest()) != code_digest())


@lru_cache(maxsize=1)
def code_digest(root: Path = ROOT) -> str:
    """SHA-256, in hex, of names and contents of all that the images copy."""
    digest = hashlib.sha256()
    for folder in COPIED:
        for name, content in files_of(root / folder).items():
            digest.update(f"{folder}/{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def made_from() -> dict[str, str]:
    """The build arguments REVISION and SOURCE, as far as git knows them here.

    An address that is not https may be a path of this machine, or hold a password: it is left out.
    """
    told = {"REVISION": _git("rev-parse", "HEAD"), "SOURCE": _git("remote", "get-url", "origin")}
    if not told["SOURCE"].startswith("https://") or "@" in told["SOURCE"]:
        del told["SOURCE"]
    return {name: value for name, value in told.items() if value}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607  # the user's own git
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if not done.returncode else ""


def _build(federation: Federation, target: Role, say: Callable[[str], None]) -> None:
    name = federation.image(target)
    with engine_errors(f"build {name}"):
        steps = federation.client.api.build(
            path=str(ROOT),
            target=target,
            tag=name,
            rm=True,
            decode=True,
            buildargs=made_from(),
            labels={CODE: code_digest()},
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
