"""scripts/_environment.sh, with wheels made here: nothing is asked of a package index."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
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
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            archive.writestr(entry, content)


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


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def site_packages(checkout: Path) -> Path:
    (found,) = (checkout / ".venv" / "lib").glob("python3.*/site-packages")
    return found


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
    other = executable(checkout / "python3.9", "exit 1")
    refused = set_up(checkout, FEDSMS_PYTHON=str(other))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: FEDSMS_PYTHON names {other}")
    assert not (checkout / ".venv").exists()


def wheels_of_all(checkout: Path) -> None:
    wheel(checkout / "wheels", "torch", "1.0", {"torch.py": ""})


@pytest.mark.parametrize("name", ["python3.12", "python3.13", "python3.14", "python3"])
def test_any_python_that_fits_is_taken(name: str, checkout: Path, tmp_path: Path) -> None:
    wheels_of_all(checkout)
    path = tools(tmp_path / "tools")
    executable(path / "python3.11", "exit 1")  # as a shim of a version that is not installed
    executable(path / name, f'exec {sys.executable} "$@"')
    done = set_up(checkout, PATH=str(path), FEDSMS_PYTHON="")
    assert done.returncode == 0, done.stderr
    assert (site_packages(checkout) / "torch.py").exists()
    assert not (checkout / ".venv.python").exists()


def test_where_no_python_fits_uv_fetches_one_and_the_set_up_says_so(
    checkout: Path, tmp_path: Path
) -> None:
    uv = pytest.importorskip("uv").find_uv_bin()
    wheels_of_all(checkout)
    version = SCRIPT.read_text().split("fedsms_uv=")[1].split()[0]
    ours = f'#!/bin/sh\nexec {uv} "$@"\n'  # the real one, as the package brings it
    wheel(checkout / "wheels", "uv", version, {f"uv-{version}.data/scripts/uv": ours})
    path = tools(tmp_path / "tools")
    unfit = f'case "$*" in *version_info*) exit 1;; esac\nexec {sys.executable} "$@"'
    executable(path / "python3", unfit)
    downloads = python_to_fetch(tmp_path)
    fetched = {"PATH": str(path), "FEDSMS_PYTHON": "", "UV_PYTHON_DOWNLOADS_JSON_URL": downloads}
    done = set_up(checkout, **fetched)
    assert done.returncode == 0, done.stderr
    assert "there is no Python 3.11 to 3.14 here; uv fetches 3.11 into" in done.stderr
    assert (site_packages(checkout) / "torch.py").exists()
    shutil.rmtree(checkout / ".venv")
    again = set_up(checkout, **fetched)
    assert again.returncode == 0, again.stderr
    assert "uv fetches" not in again.stderr


def test_where_nothing_can_be_fetched_one_line_says_what_to_do(
    checkout: Path, tmp_path: Path
) -> None:
    refused = set_up(checkout, PATH=str(tools(tmp_path / "tools")), FEDSMS_PYTHON="")
    assert refused.returncode == 1
    assert refused.stderr.count("error: ") == 1
    assert "and no uv to fetch one" in refused.stderr
    assert "FEDSMS_PYTHON=/path/to/python3.11" in refused.stderr


USED = "bash cat cmp cp cut dirname env grep head mkdir mktemp rm sed sh"


def tools(folder: Path) -> Path:
    """A folder for PATH with what the scripts use, and no Python."""
    folder.mkdir()
    for name in USED.split():
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def python_to_fetch(folder: Path) -> str:
    """An archive that looks like those that uv fetches, with the Python of these tests in it."""
    name = "python3.11"
    bin_folder, lib = folder / "python" / "bin", folder / "python" / "lib" / name
    bin_folder.mkdir(parents=True)
    lib.mkdir(parents=True)
    executable(bin_folder / name, f'exec {sys.executable} "$@"')
    header = "# system configuration generated and used by the sysconfig module"
    (lib / "_sysconfigdata__test.py").write_text(header + "\nbuild_time_vars = {}\n")
    archive = folder / "python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "python", "python")
    machine = platform.machine()
    entry = {
        "name": "cpython",
        "arch": {"family": machine, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": 11,
        "patch": 99,
        "prerelease": "",
        "url": archive.as_uri(),
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": "1",
    }
    downloads = folder / "downloads.json"
    downloads.write_text(json.dumps({f"cpython-3.11.99-linux-{machine}-gnu": entry}))
    return str(downloads)


@pytest.mark.parametrize("script", ["setup", "demo", "test"])
def test_help_sets_nothing_up(script: str, checkout: Path) -> None:
    shutil.copy(SCRIPT.parent / script, checkout / "scripts")
    for flag in ("--help", "-h"):
        done = subprocess.run(
            ["bash", f"scripts/{script}", flag],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(("Makes the", "Federated training", "Format, lint"))
        assert done.stderr == ""
    assert not (checkout / ".venv").exists()
