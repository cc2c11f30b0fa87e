"""Says where an image holds other code than the folder that it was made from has by now.

`docker compose up` makes an image that is missing, and takes one that is there, also where the
folder has moved on since, by `git pull` for instance. So the folder's code is mounted, read-only,
and compared file by file with what is in the image. It is only said: the older code goes on.

Needs nothing but Python's own library: in the images of the node and the coordinator it is run as a
file that is mounted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path("/checkout")
IMAGE = Path("/fedsms")
PACKAGES = ("shared", "server", "worker_node")
NAMED = 3


def files_of(folder: Path) -> dict[str, bytes]:
    """Name below the folder -> content, of all but Python's own caches. Raises OSError."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def differing(checkout: Path, image: Path, packages: Iterable[str] = PACKAGES) -> list[str]:
    """Files that one side has and the other has not, or otherwise; of packages that both have.

    Raises OSError where one cannot be read.
    """
    found: list[str] = []
    for package in packages:
        ours, theirs = files_of(checkout / package), files_of(image / package)
        if ours and theirs:
            names = sorted(ours.keys() | theirs.keys())
            found += [f"{package}/{one}" for one in names if ours.get(one) != theirs.get(one)]
    return found


def words(names: list[str]) -> str:
    """What to say of those files; "" for none."""
    if not names:
        return ""
    many = f"{len(names)} files" if len(names) > 1 else "1 file"
    few = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return (
        f"warning: this image holds other code than the folder has now ({many}: {few})."
        " What runs is the image's.\n  To run the folder's: docker compose up --build"
    )


def say_where_code_differs(checkout: Path = CHECKOUT, image: Path = IMAGE) -> None:
    """On standard error. A folder that is not mounted, or cannot be read, is passed over."""
    try:
        told = words(differing(checkout, image))
    except OSError as error:
        told = f"whether the image's code is the folder's was not looked at: {error}"
    if told:
        print(told, file=sys.stderr, flush=True)


if __name__ == "__main__":
    say_where_code_differs()
