"""Which optional packages an image takes of those that EXTRAS names."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from scripts.images.extras import USES, chosen, install
from tests.helpers.running import ROOT, run_python


@pytest.mark.parametrize(
    ("said", "node", "coordinator"),
    [
        ("", [], []),
        (" , ", [], []),
        ("metrics", ["metrics"], ["metrics"]),
        ("metrics,tensorboard", ["metrics"], ["metrics", "tensorboard"]),
        ("mlflow  tables, metrics metrics", ["tables", "metrics"], ["mlflow", "metrics"]),
        ("report\n", [], ["report"]),
    ],
)
def test_an_image_takes_what_its_programs_can_use(
    said: str, node: list[str], coordinator: list[str]
) -> None:
    assert chosen("node", said) == node
    assert chosen("coordinator", said) == coordinator


@pytest.mark.parametrize("said", ["promtheus", "metrics;tables", "../dev", "metrics dev"])
def test_a_word_that_is_no_extra_ends_the_build_and_names_those_that_are(
    said: str, tmp_path: Path
) -> None:
    done = run_python(ROOT / "scripts" / "images" / "extras.py", "node", said, tmp_path / "extras")
    assert done.code == 1
    assert "EXTRAS names" in done.err
    assert "known are metrics, mlflow, report, tables, tensorboard" in done.err
    assert not (tmp_path / "extras").exists()


def test_without_extras_there_is_an_empty_folder_where_packages_belong(tmp_path: Path) -> None:
    install([], tmp_path)
    found = [path for path in tmp_path.rglob("*") if not any(path.glob("*"))]
    assert found == [tmp_path / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)]


def test_each_extra_is_a_file_that_goes_to_the_engine() -> None:
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for extra in {one for extras in USES.values() for one in extras}:
        name = f"requirements-{extra}.txt"
        assert (ROOT / name).is_file()
        assert f"!{name}" in sent
