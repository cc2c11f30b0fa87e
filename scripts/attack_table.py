"""Runs the attacks of tests/attacks and prints what each got from PySyft's worker, and from ours.

    python scripts/attack_table.py

The table is Markdown, as docs/security.md has it. Exit code 1: an attack got more than it should.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.needs import need
from shared.cli import run

ROOT = Path(__file__).resolve().parents[1]
REPORT = "FEDSMS_ATTACK_REPORT"


def rows(report: Path) -> list[dict[str, str]]:
    """What the attacks reported, each once, in the order of their files."""
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return list({row["attack"]: row for row in map(json.loads, lines)}.values())


def table(found: list[dict[str, str]]) -> str:
    lines = ["| attack | PySyft's own worker | a fedsms node |", "|---|---|---|"]
    lines += [f"| {row['attack']} | {row['stock']} | {row['ours']} |" for row in found]
    return "\n".join(lines)


@click.command()
def main() -> None:
    """Run the attacks and print the table."""
    need("pytest", "hypothesis", "websocket")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/attacks"],
            cwd=ROOT,
            env={**os.environ, REPORT: str(report)},
            stdout=sys.stderr,
            check=False,
        )
        click.echo(table(rows(report)))
    sys.exit(done.returncode)


if __name__ == "__main__":
    run(main, "python scripts/attack_table.py")
