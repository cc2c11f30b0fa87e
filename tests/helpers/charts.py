"""A Docker engine in a cluster's place, with releases of the charts; for tests."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.helpers.containers import TAG, docker, image
from tests.helpers.messages import marked, write_tsv
from tests.helpers.needed import lacking
from tests.helpers.running import ROOT, Finished, environment

PROGRAM = ROOT / "scripts" / "charts.py"
HOME = "fedsms-coordinator"
"""The namespace of a coordinator."""


@dataclass
class Cluster:
    """A stand-in for a cluster, and what is installed in it: a file of manifests a release."""

    folder: Path
    name: str
    secrets: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)

    def program(self, *arguments: object) -> Finished:
        line = [sys.executable, "-W", "error", str(PROGRAM), *map(str, arguments)]
        done = subprocess.run(
            line, capture_output=True, text=True, env=environment(), check=False, timeout=900
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def render(self, chart: str, release: str, namespace: str, **values: Any) -> Path:
        path = self.folder / f"{release}.values.json"
        path.write_text(json.dumps({"image": {"tag": TAG}, **values}))
        done = self.program("render", chart, release, namespace, "--values", path)
        assert done.code == 0, done.err
        made = self.folder / f"{release}.yaml"
        made.write_text(done.out)
        return made

    def arguments(self, *files: Path) -> list[str]:
        given = [f"--secret={one}" for one in self.secrets]
        given += [f"--claim={one}" for one in self.claims]
        sooner = ("--pause", "1", "--ask-every", "0.5")
        return ["run", *map(str, files), *given, "--name", self.name, *sooner]

    def run(self, *files: Path) -> Finished:
        return self.program(*self.arguments(*files))

    def container(self, namespace: str, pod: str, name: str) -> str:
        return f"{self.name}-{namespace}-{pod}-{name}"

    def claim(self, namespace: str, name: str, script: str) -> bytes:
        """What a shell's script says, with a claim as /claim."""
        volume = f"{self.name}-{namespace}-claim-{name}:/claim:ro"
        flags = ("--rm", "--user", "0", "--network", "none", "--entrypoint", "sh", "-v", volume)
        line = ["docker", "run", *flags, image("setup"), "-c", script]
        return subprocess.run(line, capture_output=True, check=True, timeout=300).stdout

    def digest(self, run: str) -> tuple[str, dict[str, Any]]:
        """The hash of a run's model, and its settings; there is one run in the folder."""
        files = (f"/claim/{run}/*/{name}" for name in ("settings.json", "model.safetensors"))
        both = self.claim(HOME, "co-runs", "cat {}; printf '\\0'; cat {}".format(*files))
        settings, _, model = both.partition(b"\0")
        return hashlib.sha256(model).hexdigest(), json.loads(settings)


def check_installed() -> None:
    """Skips where what works on charts is not here."""
    for module in ("helm_python", "kubernetes_validate", "yaml"):
        if find_spec(module) is None:
            lacking("charts", f"there is no module {module}; requirements-kubernetes.txt names it")


@contextmanager
def stand_in(folder: Path) -> Iterator[Cluster]:
    """One of the test's own, which goes with what it holds."""
    check_installed()
    made = Cluster(folder, f"fedsms-tests-{os.getpid()}-charts")
    try:
        yield made
    finally:
        made.program("down", "--name", made.name)


def owner(cluster: Cluster, name: str, seed: int, **values: Any) -> Path:
    """A release of an owner's, whose messages are on a claim that is there."""
    folder = cluster.folder / f"messages-{name}"
    folder.mkdir()
    write_tsv(folder / "messages.tsv", marked(160, seed=seed))
    cluster.claims.append(f"fedsms-{name}/rows={folder}")
    own = {"messages": {"claim": "rows"}, **values}
    return cluster.render("fedsms-owner", name, f"fedsms-{name}", **own)


def logs(container: str) -> str:
    done = docker("logs", container, check=False)
    return done.out + done.err
