"""Takes out of a `site-packages` folder what neither a node nor a coordinator ever opens.

    python scripts/images/slim.py .venv/lib/python3.11/site-packages

For images alone: an environment that people work in stays as the package index made it. What goes
is named in `UNUSED`; a test trains a federation in which none of it can be imported, so that a
torch that begins to need a part fails there. Shared libraries lose what follows their last segment:
symbols for debuggers, which the loader never maps (System V ABI, "Program Header").
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

# torch's compiler front ends and what only they import, headers, test programs, exporters
UNUSED = (
    "functorch",
    "mpmath",
    "networkx",
    "sympy",
    "torch/_dynamo",
    "torch/_inductor",
    "torch/bin",
    "torch/include",
    "torch/onnx",
    "torch/share",
    "torch/test",
    "torch/testing/_internal/distributed",
    "torch/testing/_internal/opinfo",
    "torch/utils/benchmark",
    "torch/utils/hipify",
    "torch/utils/tensorboard",
    "torchgen/packaged",
)
UNUSED_FILES = ("torch/lib/*.a", "torch/lib/*_test.so", "torch/testing/_internal/common_*.py")
# torch is not imported without these two
KEPT = ("torch/bin/torch_shm_manager", "torch/testing/_internal/common_dtype.py")

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr, little-endian
_SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_LITTLE_64 = b"\x7fELF\x02\x01"
_SECTION_TABLE = slice(40, 48)  # e_shoff
_SECTION_COUNT = slice(60, 64)  # e_shnum, e_shstrndx


def slim(packages: Path) -> int:
    """Removes what is unused below `packages`, a `site-packages` folder.

    Returns:
        The bytes that are gone.

    Raises:
        FileNotFoundError: there is no torch in it.
    """
    if not (packages / "torch").is_dir():
        raise FileNotFoundError(f"there is no torch in {packages}; name a site-packages folder")
    before = _size(packages)
    kept = {packages / name for name in KEPT}
    for pattern in (*(f"{name}/**/*" for name in UNUSED), *UNUSED_FILES):
        for file in packages.glob(pattern):
            if file not in kept and not file.is_dir():
                file.unlink()
    for name in UNUSED:
        _remove_empty(packages / name)
    for library in sorted(packages.rglob("*.so*")):
        if library.is_file():
            strip(library)
    return before - _size(packages)


def strip(library: Path) -> int:
    """Cuts a 64-bit little-endian ELF file off behind its last segment; leaves any other as it is.

    Also left as it is: one whose table of segments does not lie within what they cover.

    Returns:
        The bytes that are gone.
    """
    with library.open("r+b") as file:
        start = file.read(_HEADER.size)
        if len(start) < _HEADER.size or not start.startswith(_LITTLE_64):
            return 0
        _, _, _, _, _, table, _, _, _, entry, count, _, _, _ = _HEADER.unpack(start)
        file.seek(table)
        segments = file.read(entry * count)
        if entry != _SEGMENT.size or len(segments) != entry * count:
            return 0
        end = max((one[2] + one[5] for one in _SEGMENT.iter_unpack(segments)), default=0)
        before = library.stat().st_size
        if not table + len(segments) <= end < before:
            return 0
        header = bytearray(start)
        header[_SECTION_TABLE] = bytes(8)
        header[_SECTION_COUNT] = bytes(4)
        file.seek(0)
        file.write(header)
        file.truncate(end)
        return before - end


def _remove_empty(folder: Path) -> None:
    folders = (Path(path) for path, _, _ in os.walk(folder, topdown=False))
    for one in folders:
        if not any(one.iterdir()):
            one.rmdir()


def _size(folder: Path) -> int:
    return sum(one.lstat().st_size for one in folder.rglob("*") if not one.is_dir())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("slim.py: name one site-packages folder")
    try:
        print(f"{slim(Path(sys.argv[1])) / 1e6:.0f} MB removed")
    except OSError as error:
        sys.exit(f"slim.py: {error}")
