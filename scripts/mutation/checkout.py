"""A copy of the checkout in which mutants live, and its tests' verdicts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.mutation.mutants import Mutant
from scripts.mutation.untouched import untouched
from shared.errors import FedsmsError

RUNNER = Path(__file__).with_name("forking_pytest.py")
LOADED = (
    "_pytest.legacypath",
    "click",
    "cryptography.x509",
    "hypothesis",
    "numpy",
    "pydantic",
    "pytest_timeout",
    "torch",
    "websockets.asyncio.server",
    "websockets.asyncio.client",
)
"""What most tests import, of other people's."""


@dataclass(frozen=True)
class Verdict:
    """How the tests ended. code: pytest's; None where they took longer than they may."""

    code: int | None
    seconds: float


@contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """A folder with the files that Git knows of or could, as they are now; gone afterwards."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=root,
        capture_output=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="fedsms-mutants-") as folder:
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            if (root / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, Path(folder) / name)
        yield Path(folder).resolve()


class Tests:
    """Runs tests of a copy; one at a time.

    Args:
        loaded: packages that each run finds loaded, which saves it their imports.
    """

    __test__ = False

    def __init__(self, folder: Path, loaded: Sequence[str] = LOADED) -> None:
        self._folder = folder
        self._loaded = loaded
        self._said = folder / ".said"
        self._runner: subprocess.Popen[str] | None = None

    def __enter__(self) -> Tests:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_runner()

    def prepare(self, module: str, tests: Sequence[str]) -> None:
        """The next runs are of a module's tests: what it does not touch is loaded for all."""
        self._end_runner()
        own = untouched(self._folder, module, tests)
        # each finds the others' compiled files; failures are not made small
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "FEDSMS_TESTS_SHRINK": "no"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._runner = subprocess.Popen(
            [sys.executable, str(RUNNER), str(self._folder), *self._loaded, *own],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def _end_runner(self) -> None:
        if self._runner is not None:
            self._runner.kill()
            self._runner.communicate()
            self._runner = None

    def run(self, tests: Sequence[str], seconds: float) -> Verdict:
        """Args: tests: as pytest takes them, the quickest first; of what was prepared."""
        plugins = [f"-pno:{one}" for one in ("cacheprovider", "anyio", "xdist")]
        # some are loaded before pytest could change their asserts, which no test looks at
        plugins += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        arguments = ["-x", "-q", *plugins, f"--timeout={max(1, int(seconds))}", *tests]
        asked = {"arguments": arguments, "seconds": seconds, "said": str(self._said)}
        assert self._runner is not None
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        print(json.dumps(asked), file=self._runner.stdin, flush=True)
        answer = self._runner.stdout.readline()
        if not answer:
            raise FedsmsError("the process that runs the tests has ended")
        return Verdict(**json.loads(answer))

    @property
    def said(self) -> str:
        """What the last run printed."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    @contextmanager
    def mutated(self, module: str, mutant: Mutant | None) -> Iterator[None]:
        """The module as the mutant has it, for as long as this lasts; None leaves it as it is."""
        path = self._folder / module
        good = path.read_bytes()
        path.write_bytes(mutant.apply(good) if mutant is not None else good)
        _forget_compiled(path)
        try:
            yield
        finally:
            path.write_bytes(good)
            _forget_compiled(path)


def _forget_compiled(path: Path) -> None:
    """Python tells a changed file by its length and the second it was written in."""
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        with contextlib.suppress(FileNotFoundError):
            compiled.unlink()
