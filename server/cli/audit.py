"""`python -m server audit`: what a run's model tells of messages."""

from __future__ import annotations

import json
from pathlib import Path

import click

from server.cli.options import json_option, run_dir_option
from shared.cli import command, say


@command(
    "audit",
    "python -m server audit --members trained.tsv --others held-out.tsv",
    "python -m server audit RUN --members trained.tsv --others held-out.tsv --shadow OTHER-RUN",
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--members",
    required=True,
    type=click.Path(path_type=Path),
    help='Messages that were trained on, a line each: "ham" or "spam", a tab, the text.',
)
@click.option(
    "--others",
    required=True,
    type=click.Path(path_type=Path),
    help="Messages of the same kind that were not.",
)
@click.option(
    "--shadow",
    "shadows",
    multiple=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="A run of the same recipe that was trained on neither; once for each. Three and more make "
    "the likelihood ratio of use.",
)
@run_dir_option
@json_option
def audit(
    run: Path | None,
    members: Path,
    others: Path,
    shadows: tuple[Path, ...],
    run_dir: Path,
    as_json: bool,
) -> None:
    """Attack the model of a RUN, by default the newest, with messages that are known.

    Which words and messages it was trained on, by how far it moved, by its loss, and by how much
    surer it is than shadow runs; and which epsilon the guesses prove.
    """
    from server.runs.auditing import audit as attacked
    from server.runs.auditing import read_known
    from shared.trained_model.saved_model import newest

    folder = run if run is not None else newest(run_dir)
    found = attacked(folder, read_known(members), read_known(others), shadows)
    if run is None:
        say(f"The newest run: {folder}", err=True)
    click.echo(json.dumps(found.as_dict()) if as_json else "\n".join(found.in_words()))
