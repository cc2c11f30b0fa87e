"""The Helm charts in deploy/helm: plain manifests made from them, and checks without a cluster.

    python scripts/charts.py manifests            # writes deploy/kubernetes anew
    python scripts/charts.py manifests --check    # fails where it is stale
    python scripts/charts.py validate             # against the schemas of every version here

    python scripts/charts.py run FILE...          # their pods, as containers of a Docker engine

Needs requirements-kubernetes.txt, and no helm, no kubectl and no cluster.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from shared import cli
from shared.errors import FedsmsError, UsageError

PROGRAM = "python scripts/charts.py"


@click.group(
    cls=cli.GroupWithExamples,
    examples=(
        f"{PROGRAM} manifests --check",
        f"{PROGRAM} validate",
        f"{PROGRAM} run bob.yaml monday.yaml --secret fedsms-bob/identity=bob/identity",
        f"{PROGRAM} down",
    ),
    context_settings=cli.HELP,
)
def main() -> None:
    """The Helm charts in deploy/helm, without a cluster."""


command = cli.subcommand_of(main)


@command(f"{PROGRAM} manifests", f"{PROGRAM} manifests --check")
@click.option("--check", is_flag=True, help="Write nothing; fail where a file is stale.")
def manifests(check: bool) -> None:
    """Write the plain manifests in deploy/kubernetes, for who has no Helm."""
    from scripts.kubernetes.rendering import ROOT
    from scripts.kubernetes.variants import MANIFESTS, files

    made = files()
    there = {path for path in MANIFESTS.rglob("*") if path.is_file()}
    stale = {
        path for path in there | set(made) if path not in there or _text(path) != made.get(path)
    }
    if check and stale:
        names = ", ".join(sorted(str(path.relative_to(ROOT)) for path in stale))
        raise FedsmsError("the manifests are stale", names, f"Make them: {PROGRAM} manifests")
    for path in sorted(stale):
        if path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path], encoding="utf-8")
        else:
            path.unlink()
        click.echo(path.relative_to(ROOT))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@command(f"{PROGRAM} validate")
def validate() -> None:
    """Check every chart's manifests against Kubernetes' schemas and the restricted profile."""
    from scripts.kubernetes.checking import open_ends, pod_of, schema_faults, versions
    from scripts.kubernetes.rendering import documents
    from scripts.kubernetes.variants import VARIANTS

    wrong = []
    known = versions()
    for name, variant in VARIANTS.items():
        found = documents(variant.manifests())
        pods = [pod for pod in map(pod_of, found) if pod is not None]
        wrong += [f"{name}: {fault}" for pod in pods for fault in open_ends(pod)]
        for version in known:
            wrong += [f"{name}, {version}: {fault}" for fault in schema_faults(found, version)]
        kinds = ", ".join(one["kind"] for one in found)
        click.echo(f"{name}: {len(found)} objects ({kinds})")
    if wrong:
        raise FedsmsError("the manifests are not what Kubernetes takes", "; ".join(wrong))
    click.echo(f"All are taken by the strict schemas of Kubernetes {known[0]} to {known[-1]},")
    click.echo("and their pods by the restricted pod security profile.")


@command(f"{PROGRAM} render fedsms-owner bob fedsms-bob --values bob.json > bob.yaml")
@click.argument("chart")
@click.argument("release")
@click.argument("namespace")
@click.option("--values", type=click.Path(path_type=Path), help="A file of JSON or YAML.")
def render(chart: str, release: str, namespace: str, values: Path | None) -> None:
    """Print a release's manifests, as `helm template` does."""
    from scripts.kubernetes import rendering

    own = rendering.read_values(values) if values is not None else {}
    click.echo(rendering.render(chart, own, release, namespace), nl=False)


name_option = click.option(
    "--name", default="fedsms-charts", show_default=True, help="Of the stand-in for a cluster."
)


@command(
    f"{PROGRAM} run bob.yaml monday.yaml --secret fedsms-bob/identity=bob/identity "
    "--claim fedsms-bob/messages=bob/messages",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--secret", multiple=True, metavar="NAMESPACE/NAME=FOLDER", help="A Secret's files.")
@click.option("--claim", multiple=True, metavar="NAMESPACE/NAME=FOLDER", help="What one holds.")
@click.option(
    "--pause", default=10.0, show_default=True, help="Seconds before a failed Job's next pod."
)
@click.option(
    "--ask-every",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between two questions whether a pod is ready; without it, what its probes say.",
)
@name_option
def run(
    files: tuple[Path, ...],
    secret: tuple[str, ...],
    claim: tuple[str, ...],
    pause: float,
    ask_every: float | None,
    name: str,
) -> None:
    """Run the pods of manifests as containers: those that serve first, then Jobs to their end.

    Probes are asked while it runs. What serves is left running; `down` removes it.
    """
    from scripts.containers.engine import engine
    from scripts.kubernetes.objects import stored, workloads
    from scripts.kubernetes.rendering import documents, read_text
    from scripts.kubernetes.running import run_job, serving
    from scripts.kubernetes.stand_in import StandIn, stored_files

    found = [one for path in files for one in documents(read_text(path))]
    everything = workloads(found)
    secrets = stored_files([(*place, folder) for place, folder in _folders(secret).items()])
    with engine() as client:
        stand_in = StandIn(client, name, {**stored(found), **secrets}, _folders(claim))
        serve = [one for one in everything if one.kind != "Job"]
        with serving(stand_in, serve, _say, ask_every or math.inf) as watches:
            for job in everything:
                if job.kind == "Job":
                    run_job(stand_in, job, _say, pause)
            for pod, watch in watches.items():
                _say(f"{pod}: started again by its probes {watch.restarts} times")


@command(f"{PROGRAM} down", f"{PROGRAM} down --keep-claims")
@click.option("--keep-claims", is_flag=True, help="Leave what claims hold.")
@name_option
def down(keep_claims: bool, name: str) -> None:
    """Remove what `run` made."""
    from scripts.containers.engine import engine
    from scripts.kubernetes.stand_in import StandIn

    with engine() as client:
        removed = StandIn(client, name).down(keep_claims)
    _say("Removed " + ", ".join(f"{count} {kind}" for kind, count in removed.items()))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _folders(given: tuple[str, ...]) -> dict[tuple[str, str], Path]:
    """NAMESPACE/NAME=FOLDER each. Raises UsageError."""
    made = {}
    for one in given:
        place, _, folder = one.partition("=")
        namespace, _, name = place.partition("/")
        if not (namespace and name and Path(folder).is_dir() and folder):
            raise UsageError(f"{one} is not NAMESPACE/NAME=FOLDER", "or there is no such folder")
        made[namespace, name] = Path(folder)
    return made


if __name__ == "__main__":
    cli.run(main, PROGRAM)
