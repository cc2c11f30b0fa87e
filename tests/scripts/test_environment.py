"""scripts/_environment.sh, with wheels made here: nothing is asked of a package index."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "_environment.sh"
USE_IT = "set -euo pipefail; source scripts/_environment.sh; fedsms_environment requirements.txt"

# stands in for uv: notes what it was asked for
FAKE_UV = (
    "import pathlib, sys\npathlib.Path(__file__).with_name('asked').write_text(' '.join(sys.argv))"
)


def wheel(folder: Path, name: str, version: str, files: dict[str, str], needs: str = "") -> None:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    info = f"{name}-{version}.dist-info"
    files |= {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    (root / "scripts").mkdir(parents=True)
    (root / "wheels").mkdir()
    shutil.copy(SCRIPT, root / "scripts")
    (root / "requirements.txt").write_text("torch==1.0 # the fake one\nsyft==0.2.5\n")
    packages = ("syft", "test", "examples")
    wheel(root / "wheels", "syft", "0.2.5", {f"{name}/__init__.py": "" for name in packages})
    return root


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "FEDSMS_PYTHON": sys.executable}
    return subprocess.run(
        ["bash", "-c", USE_IT],
        cwd=checkout,
        env=kept | alone | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def site_packages(checkout: Path) -> Path:
    return checkout / ".venv" / "lib" / "python3.11" / "site-packages"


def test_an_interrupted_set_up_is_redone_and_a_finished_one_left_alone(checkout: Path) -> None:
    failed = set_up(checkout)
    assert failed.returncode == 1
    assert "No matching distribution found for torch==1.0" in failed.stderr
    assert failed.stderr.count("error: ") == 1

    wheel(checkout / "wheels", "torch", "1.0", {"torch.py": ""})
    done = set_up(checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert (site_packages(checkout) / "torch.py").exists()
    assert (site_packages(checkout) / "syft").exists()
    assert not (site_packages(checkout) / "test").exists()
    assert not (site_packages(checkout) / "examples").exists()

    shutil.rmtree(checkout / "wheels")
    warm = set_up(checkout, FEDSMS_PYTHON="/no/python")
    assert (warm.returncode, warm.stderr) == (0, "")

    (checkout / "requirements.txt").write_text("torch==2.0\n")
    assert "FEDSMS_PYTHON names /no/python" in set_up(checkout, FEDSMS_PYTHON="/no/python").stderr


def test_a_torch_for_gpus_gives_way_to_the_cpu_build(checkout: Path) -> None:
    needs = "Requires-Dist: nvidia-cublas\nRequires-Dist: triton; extra == 'compile'\n"
    wheel(checkout / "wheels", "torch", "1.0", {"torch.py": ""}, needs)
    uv = SCRIPT.read_text().split("fedsms_uv=")[1].split()[0]
    wheel(checkout / "wheels", "uv", uv, {"uv/__init__.py": "", "uv/__main__.py": FAKE_UV})
    assert set_up(checkout).returncode == 0
    asked = (site_packages(checkout) / "uv" / "asked").read_text()
    assert asked.endswith("--no-deps --torch-backend=cpu torch==1.0")
    assert not (checkout / ".venv" / "torch.json").exists()


def test_a_venv_that_is_not_ours_is_left_alone(checkout: Path) -> None:
    mine = checkout / ".venv" / "mine"
    mine.parent.mkdir()
    mine.write_text("")
    refused = set_up(checkout)
    assert refused.returncode == 1
    assert "fedsms did not make it" in refused.stderr
    assert mine.exists()


def test_a_python_of_another_version_is_refused_by_name(checkout: Path) -> None:
    other = checkout / "python3.9"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    refused = set_up(checkout, FEDSMS_PYTHON=str(other))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: FEDSMS_PYTHON names {other}")
    assert not (checkout / ".venv").exists()
