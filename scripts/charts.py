"""The Helm charts in deploy/helm: plain manifests made from them, and checks without a cluster.

    python scripts/charts.py manifests            # writes deploy/kubernetes anew
    python scripts/charts.py manifests --check    # fails where it is stale
    python scripts/charts.py validate             # against the schemas of every version here

Needs requirements-kubernetes.txt, and no helm, no kubectl and no cluster.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from shared.cli import HELP, GroupWithExamples, run, subcommand_of
from shared.errors import FedsmsError

PROGRAM = "python scripts/charts.py"


@click.group(
    cls=GroupWithExamples,
    examples=(
        f"{PROGRAM} manifests --check",
        f"{PROGRAM} validate",
    ),
    context_settings=HELP,
)
def main() -> None:
    """The Helm charts in deploy/helm, without a cluster."""


command = subcommand_of(main)


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


if __name__ == "__main__":
    run(main, PROGRAM)
