"""What images of nodes cost: their size, and processor and memory of a node that is just ready."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click

from scripts.benchmarks.runs import children, make_shards, peak_memory, proportional_memory
from scripts.local.identities import make_identities

TICKS = os.sysconf("SC_CLK_TCK")
DOCKER = shutil.which("docker") or "docker"
POLL_SECONDS = 0.05
START_SECONDS = 300.0
CONFINED = (
    *("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/audit:uid=10001", "--cap-drop", "ALL"),  # noqa: S108  # in the container
    *("--security-opt", "no-new-privileges", "--memory", "1g", "--network", "none"),
)
SERVE = ("serve", "--id", "bob", "--insecure", "--json", "--audit-log", "off")
SERVE_BY_TLS = ("serve", "--json")
TLS = ", TLS"
NODE_USER = 10001


@dataclass
class Figures:
    """Of one image, a value a start: seconds of the processor, and bytes."""

    processor: list[float] = field(default_factory=list)
    node_peak: list[int] = field(default_factory=list)
    trainer_peak: list[int] = field(default_factory=list)
    together: list[int] = field(default_factory=list)


@click.command(name="images")
@click.argument("names", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--sizes/--no-sizes", default=True, help="Also how large they are, and compressed.")
@click.option("--tls", is_flag=True, help="Each also by TLS with an audit log, as under Compose.")
def images(names: tuple[str, ...], repeat: int, sizes: bool, tls: bool) -> None:
    """Nodes of these images started in turns, confined as Compose has them, up to "ready".

    Processes are looked at from outside, so the engine is to be this machine's own (Linux).
    """
    ways = ("", TLS) if tls else ("",)
    figures = {(name, way): Figures() for name in names for way in ways}
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        data = ("--volume", f"{_owner_folder(Path(scratch))}:/data:ro")
        identity = ("--volume", f"{_identity(Path(scratch))}:/identity:ro") if tls else ()
        for _ in range(repeat):
            for (name, way), found in figures.items():
                plain = (*data, name, *SERVE)
                _measure((*data, *identity, name, *SERVE_BY_TLS) if way else plain, found)
    click.echo("| | " + " | ".join(name + way for name, way in figures) + " |")
    click.echo("|---" * (len(figures) + 1) + "|")
    _say("processor until ready, s", [median(one.processor) for one in figures.values()], ".2f")
    for label, key in (
        ("peak memory of the node, MB", "node_peak"),
        ("peak memory of its trainer, MB", "trainer_peak"),
        ("memory of both when ready, what they share counted once, MB", "together"),
    ):
        _say(label, [median(getattr(one, key)) / 1e6 for one in figures.values()], ".0f")
    if sizes:
        _say("image, MB", [_size(name) / 1e6 for name, _ in figures], ".0f")
        packed = {name: _compressed(name) / 1e6 for name in names}
        _say("compressed with gzip, MB", [packed[name] for name, _ in figures], ".0f")


def _say(label: str, values: Sequence[float], form: str) -> None:
    click.echo(f"| {label} | " + " | ".join(f"{value:{form}}" for value in values) + " |")


def _owner_folder(scratch: Path) -> Path:
    """One owner's half of the collection, as a folder that user 10001 can read."""
    shards = make_shards(scratch, 2, "iid", seed=0)
    folder = scratch / "data"
    folder.mkdir()
    shards.files("train")[0].rename(folder / "messages.tsv")
    for path in (scratch, folder):
        path.chmod(0o755)
    (folder / "messages.tsv").chmod(0o644)
    return folder


def _identity(scratch: Path) -> Path:
    """Bob's, which the images' user alone can read; needs root."""
    folder = make_identities(scratch / "identities", ["bob"]).parent / "bob"
    for path in (folder, *folder.iterdir()):
        os.chown(path, NODE_USER, NODE_USER)
    return folder


def _measure(run: Sequence[str], figures: Figures) -> None:
    """Args: run: mounts, image and command."""
    with _ready(run) as pid:
        there = [one for one in _below(pid) if _is_python(one)]
        node, trainer = there
        figures.processor.append(sum(map(_processor_seconds, there)))
        figures.node_peak.append(peak_memory(node))
        figures.trainer_peak.append(peak_memory(trainer))
        figures.together.append(sum(map(proportional_memory, there)))


@contextmanager
def _ready(run: Sequence[str]) -> Iterator[int]:
    """A node that is ready: the host's id of its container's first process."""
    container = _docker("run", "--detach", "--init", *CONFINED, *run).strip()
    try:
        deadline = time.monotonic() + START_SECONDS
        while '"url"' not in _docker("logs", container):
            running = _docker("inspect", "--format", "{{.State.Running}}", container).strip()
            if running != "true" or time.monotonic() > deadline:
                line = " ".join(run)
                raise click.ClickException(f"a node ended, or was not ready in time: {line}")
            time.sleep(POLL_SECONDS)
        yield int(_docker("inspect", "--format", "{{.State.Pid}}", container))
    finally:
        _docker("rm", "--force", "--volumes", container)


def _docker(*arguments: str) -> str:
    done = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _below(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    return [pid, *(one for child in children(pid) for one in _below(child))]


def _is_python(pid: int) -> bool:
    """True for node and trainer, not for the init that the engine puts before them."""
    return "python" in Path(f"/proc/{pid}/exe").readlink().name


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def _size(name: str) -> int:
    return int(_docker("image", "inspect", "--format", "{{.Size}}", name))


def _compressed(name: str) -> int:
    """Bytes of its layers as a registry would send them, near enough: `docker save | gzip`."""
    with tempfile.TemporaryFile() as file:
        with subprocess.Popen([DOCKER, "save", name], stdout=subprocess.PIPE) as saving:
            assert saving.stdout is not None
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as packed:
                while part := saving.stdout.read(2**20):
                    packed.write(part)
        return file.tell()
