"""scripts/images/slim.py: what goes is nothing that a federation needs."""

from __future__ import annotations

import ctypes
import shutil
import struct
from pathlib import Path

import pytest

from scripts.images import slim
from tests.helpers.messages import marked, write_tsv
from tests.helpers.running import ROOT, run_python

NOT_THERE = """
import fnmatch, importlib.abc, sys

class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        file = name.replace(".", "/")
        if any(file == one or file.startswith(one + "/") for one in {unused!r}) or (
            any(fnmatch.fnmatch(file + ".py", one) for one in {files!r})
            and file + ".py" not in {kept!r}
        ):
            raise ModuleNotFoundError(f"slim.py takes {{name}} away", name=name)
        return None

sys.meta_path.insert(0, Gone())
"""


def test_a_federation_trains_and_predicts_where_none_of_it_can_be_imported(tmp_path: Path) -> None:
    messages = write_tsv(tmp_path / "messages.tsv", marked(240))
    without = NOT_THERE.format(unused=slim.UNUSED, files=slim.UNUSED_FILES, kept=slim.KEPT)
    (tmp_path / "sitecustomize.py").write_text(without)
    path = f"{tmp_path}:{ROOT}"
    refused = run_python("-c", "import sympy", PYTHONPATH=path)
    assert "slim.py takes sympy away" in refused.err
    finished = run_python(
        "scripts/local/demo.py",
        *("--data", str(messages), "--rounds", "2", "--run-dir", str(tmp_path / "runs")),
        PYTHONPATH=path,
    )
    assert finished.code == 0, finished.err
    assert len(list((tmp_path / "runs").glob("*/model.safetensors"))) == 1


def test_a_library_without_its_tables_of_symbols_still_loads(tmp_path: Path) -> None:
    import torch

    library = tmp_path / "libc10.so"
    shutil.copy(Path(torch.__file__).parent / "lib" / library.name, library)
    before = library.stat().st_size
    gone = slim.strip(library)
    assert gone > 0
    assert library.stat().st_size == before - gone
    assert ctypes.CDLL(str(library))
    assert slim.strip(library) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"INPUT(libgomp.so)",
        b"\x7fELF\x02\x01" + bytes(20),
        b"\x7fELF\x01\x01" + bytes(200),
        b"\x7fELF\x02\x01" + bytes(200),
        slim._LITTLE_64
        + struct.pack("<10xHHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 9, 0, 0, 0),
    ],
)
def test_what_is_no_library_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "lib.so"
    file.write_bytes(content)
    assert slim.strip(file) == 0
    assert file.read_bytes() == content


def test_named_parts_go_and_all_else_stays(tmp_path: Path) -> None:
    gone = ("sympy/core/add.py", "torch/_dynamo/a/b.py", "torch/lib/libx.a", "torch/bin/protoc")
    stay = (*slim.KEPT, "torch/nn/functional.py", "torch/lib/libtorch.so", "sympy_like/one.py")
    for name in (*gone, *stay):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    assert slim.slim(tmp_path) == 4 * len(gone)
    assert {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()} == {
        *stay
    }
    assert not (tmp_path / "sympy").exists()


def test_a_folder_without_torch_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no torch"):
        slim.slim(tmp_path)
