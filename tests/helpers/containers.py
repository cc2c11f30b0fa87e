"""A federation in containers of its own, on a real engine; for tests.

Everything made here carries the project's name, which no user of the engine has, and goes when the
test is over, however it ends. The images stay, as the engine's cache, under the tag `tests`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.helpers.running import ROOT, Finished, environment, until

TAG = "tests"
EXTRAS = f"{TAG}-extras"
TARGETS = ("coordinator", "node", "setup")
BASE = "python:3.11-slim-bookworm"
BUILD_SECONDS = 900.0
COMMAND_SECONDS = 300.0
START_SECONDS = 180.0
"""How long a node in a container may take to be well, on a machine that has much else to do."""


def engine_is_missing() -> str:
    """Why no container can be started here; "" where one can."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if docker("info", check=False).code:
        return "no Docker engine answers"
    if not compose_tools():
        return "there is neither docker compose nor docker-compose"
    if (
        docker("image", "inspect", BASE, check=False).code
        and docker("pull", BASE, check=False).code
    ):
        return f"the image {BASE} is not here and cannot be pulled"
    return ""


def compose_tools() -> list[tuple[str, ...]]:
    """Every compose that is here: the engine's plugin, and the older command with a dash."""
    found: list[tuple[str, ...]] = []
    if not docker("compose", "version", check=False).code:
        found.append(("docker", "compose"))
    if shutil.which("docker-compose"):
        found.append(("docker-compose",))
    return found


def command(
    line: Sequence[str],
    *,
    check: bool = True,
    seconds: float = COMMAND_SECONDS,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Runs a command; `check` fails the test where it fails, with what it said."""
    done = subprocess.run(
        line, input=stdin, capture_output=True, text=True, timeout=seconds, cwd=cwd, env=env
    )
    assert not (check and done.returncode), f"{line}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return Finished(done.returncode, done.stdout, done.stderr)


def docker(*arguments: str, check: bool = True, seconds: float = COMMAND_SECONDS) -> Finished:
    return command(("docker", *arguments), check=check, seconds=seconds)


def inspect(thing: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", thing).out)
    assert isinstance(found, dict)
    return found


def wait_until_well(container: str) -> None:
    """Until a container runs and the engine has found it healthy."""

    def is_well() -> bool:
        state = inspect(container)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    until(is_well, f"{container} to be healthy", START_SECONDS, every=0.1)


def wait_until_answering(container: str) -> None:
    """Until the node in a container says that it is well, asked as the engine asks it.

    The engine itself asks for the first time after some seconds, ten with an image's own check. A
    node that has not said since its start that it is ready is not asked, which would cost it time.
    """
    ask = ("exec", container, "python", "-m", "worker_node", "health")

    def is_well() -> bool:
        state = inspect(container)["State"]
        said = docker("logs", "--since", state["StartedAt"], container)
        assert state["Running"], said
        return " is ready" in said.out and docker(*ask, check=False).code == 0

    until(is_well, f"the node in {container} to be well", START_SECONDS, every=0.2)


DIAL = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def opens(place):
    try:
        socket.create_connection(tuple(place), 5).close()
        return True
    except OSError:
        return False
places = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(places)) as dialling:
    print(json.dumps(list(dialling.map(opens, places))))
"""


def reached_from(container: str, places: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Which hosts and ports a container can open a connection to; it tries all at once."""
    asked = list(places)
    said = docker("exec", container, "python", "-c", DIAL, json.dumps(asked)).out
    return {place for place, is_open in zip(asked, json.loads(said), strict=True) if is_open}


def address_of_host(network: str) -> str:
    """Where containers on a network find the engine's machine: the end of the bridge there."""
    (config, *_) = inspect(network)["IPAM"]["Config"]
    return str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))


def image(target: str) -> str:
    return f"fedsms-{target}:{TAG}"


def build_images() -> None:
    for target in TARGETS:
        build_image(target, image(target))


def build_image(target: str, name: str, *flags: str) -> None:
    line = ("build", "-q", "--target", target, "-t", name, *flags, str(ROOT))
    docker(*line, seconds=BUILD_SECONDS)


def build_images_with_extras() -> None:
    """Images that serve metrics and write for TensorBoard, under the tag `EXTRAS`."""
    for target in ("node", "coordinator"):
        build_image(
            target, f"fedsms-{target}:{EXTRAS}", "--build-arg", "EXTRAS=metrics,tensorboard"
        )
    docker("tag", image("setup"), f"fedsms-setup:{EXTRAS}")


@dataclass
class Federation:
    """A compose file of the project's in a folder of the test's, with volumes and runs of its own.

    settings: what a user would write into .env.
    over: further files below deploy/compose, which a user names after that one.
    """

    folder: Path
    project: str
    settings: dict[str, str]
    tool: tuple[str, ...] = field(default_factory=lambda: compose_tools()[0])
    file: str = "docker-compose.yml"
    over: tuple[str, ...] = ()

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def prepare(self, owner: tuple[int, int]) -> None:
        """Lays the folder out as a clone has it; ./runs belongs to `owner`, user and group."""
        self.folder.mkdir()
        shutil.copy(ROOT / self.file, self.folder)
        shutil.copytree(ROOT / "deploy" / "compose", self.folder / "deploy" / "compose")
        for name in ("shared", "server", "worker_node", "scripts"):
            (self.folder / name).symlink_to(ROOT / name)
        self.runs.mkdir()
        os.chown(self.runs, *owner)

    def compose(
        self, *arguments: str, check: bool = True, stdin: str = "", **settings: str
    ) -> Finished:
        """Runs compose as a user in that folder would."""
        files = (self.file, *(f"deploy/compose/{name}" for name in self.over))
        named = (part for file in files for part in ("-f", file))
        return command(
            (*self.tool, "-p", self.project, *named, *arguments),
            check=check,
            stdin=stdin,
            cwd=self.folder,
            env=environment(**{"TAG": TAG, **self.settings, **settings}),
        )

    def ask(self, *arguments: str, stdin: str = "", **settings: str) -> Finished:
        """Runs a command of the coordinator on what runs already; the exit code is its own."""
        flags = ("run", "--rm", "-T", "--no-deps", "coordinator")
        return self.compose(*flags, *arguments, check=False, stdin=stdin, **settings)

    def serve(self, *owners: str, **settings: str) -> None:
        """Nodes up and well, made anew where their settings are others now; volumes are there."""
        self.compose("up", "-d", "--no-deps", *owners, check=True, **settings)
        for owner in owners:
            wait_until_answering(self.container(owner))

    def log(self, owner: str, *flags: str) -> list[dict[str, Any]]:
        """Lines of a node's audit log, read as its owner does, whether the node runs or not."""
        read = ("run", "--rm", "-T", "--no-deps", owner, "log", "--json", *flags)
        return [json.loads(line) for line in self.compose(*read).out.splitlines()]

    def container(self, service: str) -> str:
        """The id of a service's newest container, one that `run` made apart."""
        labels = (f"project={self.project}", f"service={service}", "oneoff=False")
        filters = [part for one in labels for part in ("-f", f"label=com.docker.compose.{one}")]
        return docker("ps", "-aq", *filters).out.split()[0]

    def volume(self, name: str) -> str:
        return f"{self.project}_{name}"

    def network(self, name: str) -> str:
        return f"{self.project}_{name}"

    def python(self, service: str, script: str) -> Finished:
        """Runs a script in a service's container."""
        return docker("exec", self.container(service), "python", "-c", script, check=False)

    def read(self, volume: str, *files: str) -> bytes:
        """Files of a volume, as only the owner of the machine can read them."""
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "cat"]
            + ["-v", f"{self.volume(volume)}:/volume:ro", image("setup")]
            + [f"/volume/{name}" for name in files],
            capture_output=True,
            check=True,
            timeout=COMMAND_SECONDS,
        )
        return done.stdout

    def digests(self, *files: tuple[str, str]) -> list[str]:
        """SHA-256 of files, each named by its volume and its path there; as `read` reads them."""
        mounted = {volume: f"{self.volume(volume)}:/volumes/{volume}:ro" for volume, _ in files}
        flags = ["--rm", "--network", "none", "--user", "0", "--entrypoint", "sha256sum"]
        flags += [part for mount in mounted.values() for part in ("-v", mount)]
        paths = [f"/volumes/{volume}/{path}" for volume, path in files]
        lines = docker("run", *flags, image("setup"), *paths).out.splitlines()
        assert [line.split()[1] for line in lines] == paths
        return [line.split()[0] for line in lines]

    def clean_up(self) -> None:
        """Removes every container, network and volume of the project."""
        self.compose("down", "--volumes", "--remove-orphans", "-t", "5", check=False)
        label = f"label=fedsms-tests={self.project}"
        for kind, remove in (("container", ("rm", "-f", "-v")), ("volume", ("rm", "-f"))):
            listed = docker(kind, "ls", "-q", *(["-a"] if kind == "container" else []), "-f", label)
            if names := listed.out.split():
                docker(kind, *remove, *names, check=False)
