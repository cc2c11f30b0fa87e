"""An image of other code than the folder's is told, and labels say what an image is of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.compose.same_code import PACKAGES, differing, say_where_code_differs, words
from scripts.containers.images import COPIED, code_digest, made_from
from shared.version import FEDSMS
from tests.helpers.containers import TARGETS, image, inspect
from tests.helpers.running import ROOT


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_files_that_changed_came_or_went_are_named(tmp_path: Path) -> None:
    folder, made = tmp_path / "folder", tmp_path / "image"
    write(folder, shared__a="1", shared__b="2", server__c="3", worker_node__x="of the folder alone")
    shutil.copytree(folder / "shared", made / "shared")
    shutil.copytree(folder / "server", made / "server")
    assert differing(folder, made) == []  # an image without a package is not asked about it
    assert words([]) == ""
    write(folder, shared__a="other", server__new="4")
    (folder / "shared" / "b").unlink()
    cache = folder / "shared" / "__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_bytes(b"")
    changed = ["shared/a", "shared/b", "server/new"]
    assert differing(folder, made) == changed
    assert "(3 files: shared/a, shared/b, server/new)" in words(changed)
    assert "(4 files: shared/a, shared/b, server/new, ...)" in words([*changed, "server/z"])
    assert "docker compose up --build" in words(changed)


def test_a_folder_that_is_not_there_is_passed_over_and_one_that_cannot_be_read_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "image", shared__a="1")
    say_where_code_differs(tmp_path / "folder", tmp_path / "image")
    assert capsys.readouterr().err == ""
    write(tmp_path / "folder", shared__a="1")
    if os.geteuid() == 0:
        return  # root reads everything
    (tmp_path / "folder" / "shared" / "a").chmod(0)
    say_where_code_differs(tmp_path / "folder", tmp_path / "image")
    assert "was not looked at" in capsys.readouterr().err


def test_it_needs_nothing_but_python(tmp_path: Path) -> None:
    line = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "compose" / "same_code.py")]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_digest_of_code_changes_with_it_and_not_with_caches(tmp_path: Path) -> None:
    for name in COPIED:
        write(tmp_path / name, a="1")
    code_digest.cache_clear()
    first = code_digest(tmp_path)
    write(tmp_path / "shared", __pycache____a="")
    code_digest.cache_clear()
    assert code_digest(tmp_path) == first
    write(tmp_path / "scripts", a="2")
    code_digest.cache_clear()
    assert code_digest(tmp_path) != first
    code_digest.cache_clear()


def test_an_address_that_holds_a_password_or_a_path_is_in_no_label() -> None:
    told = made_from()
    assert set(told) <= {"REVISION", "SOURCE"}
    assert told.get("SOURCE", "https://").startswith("https://")
    assert "@" not in told.get("SOURCE", "")


@pytest.mark.containers
@pytest.mark.timeout(1200)
def test_images_say_which_version_they_are_and_under_which_licence(built: None) -> None:
    for target in TARGETS:
        labels = inspect(image(target))["Config"]["Labels"]
        about = {name.rpartition(".")[2]: value for name, value in labels.items()}
        assert about["title"] == f"fedsms-{target}"
        assert (about["version"], about["licenses"]) == (FEDSMS, "Apache-2.0")
        assert {"revision", "source"} <= about.keys()
    assert set(PACKAGES) < set(COPIED)
