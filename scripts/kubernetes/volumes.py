"""A pod's volumes as a kubelet makes them: whose they are, their modes, and links in a Secret's."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

DATA = "..data"
GIVEN = "..2026_01_01_00_00_00.000000001"
DEFAULT_MODE = 0o644
GROUP_READS = 0o440
"""What a group is given of a volume that is mounted read-only (Kubernetes, SetVolumeOwnership)."""
OWN = """
set -eu
if [ "$(stat -c %g /volume)" = GROUP ] && [ -g /volume ]; then exit; fi
chgrp -R GROUP /volume
chmod -R g+rw /volume
find /volume -type d -exec chmod g+rwxs {} +
"""
"""What is done with a claim for fsGroup, by root, unless its root folder is so already."""


def files_of(folder: Path) -> dict[str, bytes]:
    """A Secret's or ConfigMap's content, made from a folder's files, as `kubectl create` does."""
    return {one.name: one.read_bytes() for one in sorted(folder.iterdir()) if one.is_file()}


def projected(files: Mapping[str, bytes], mode: int, group: int | None) -> bytes:
    """A tar of a Secret's or ConfigMap's volume: root's, and readable for the group.

    As a kubelet writes it: the files are in a folder with a date, to which `..data` leads, and each
    name is a link through that.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        _folder(archive, GIVEN, group)
        for name, content in files.items():
            own = tarfile.TarInfo(f"{GIVEN}/{name}")
            own.size = len(content)
            own.mode = mode | (GROUP_READS if group is not None else 0)
            own.gid = group or 0
            archive.addfile(own, io.BytesIO(content))
        for name, target in ((DATA, GIVEN), *((one, f"{DATA}/{one}") for one in files)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(link)
    return packed.getvalue()


def _folder(archive: tarfile.TarFile, name: str, group: int | None) -> None:
    folder = tarfile.TarInfo(name)
    folder.type = tarfile.DIRTYPE
    folder.mode = 0o755 if group is None else 0o2755
    folder.gid = group or 0
    archive.addfile(folder)


def copied(folder: Path) -> bytes:
    """A tar of a folder's content, for a claim that is there: root's, readable for everybody."""

    def plain(one: tarfile.TarInfo) -> tarfile.TarInfo:
        one.uid = one.gid = 0
        one.uname = one.gname = ""
        one.mode = 0o755 if one.isdir() else 0o644
        return one

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name, filter=plain)
    return packed.getvalue()
