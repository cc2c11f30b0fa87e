"""`python -m server train`: its flags, and what it prints at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.authority import authority_option
from server.cli.federations import federation_of
from server.cli.metrics import metrics_at, metrics_option
from server.cli.options import (
    DIALLING_IN,
    TWO_NODES,
    federation_option,
    insecure_option,
    json_option,
    listen_option,
    node_option,
)
from server.cli.setting_options import given, in_groups, is_typed, setting_options, typed
from server.cli.up import ask_for_a_run
from server.runs.setting import Group
from shared.cli import command, identity_option, say
from shared.errors import UsageError

if TYPE_CHECKING:
    from server.federation.run import Run

OTHERS = {
    Group.WHO: ("federation", "node", "listen", "up", "authority", "identity", "insecure"),
    Group.FAILS: ("run_folder", "once"),
    Group.WHERE: ("page", "metrics", "as_json"),
}
"""Flags that are no settings."""

page_option = click.option(
    "--page",
    is_flag=True,
    help="Serve the run as a live page to browsers of this machine alone, and say at which "
    "address.",
)
up_option = click.option(
    "--up",
    is_flag=True,
    help="Have the coordinator train that `python -m server up` keeps running on this machine, "
    "with its nodes, and follow the run; Ctrl-C only stops following.",
)
resume_option = click.option(
    "--resume",
    "run_folder",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with the run in this folder after its last completed round, with its own settings.",
)
once_option = click.option(
    "--once",
    is_flag=True,
    help="One run in --run-dir, however often this is started: begin it where there is none, go on "
    "with the newest as --resume does, and do nothing where that has come to its end.",
)


@command(
    "train",
    f"python -m server train {TWO_NODES}",
    f"python -m server train {DIALLING_IN}",
    f"python -m server train {TWO_NODES} --recipe tutorial --seed 7",
    f"python -m server train {TWO_NODES} --compare",
    f"python -m server train {TWO_NODES} --recipe tutorial --mode pointers --replay",
    "python -m server train --federation federation.toml --json",
    f"python -m server train {TWO_NODES} --min-nodes 0.8 --round-deadline 120",
    "python -m server train --resume runs/20261122-170501-default",
    "python -m server train --once --run-dir runs/monday --node bob --listen 0.0.0.0:8770",
    "python -m server train --up --rounds 5",
    groups=in_groups(OTHERS),
)
@federation_option
@node_option
@listen_option
@authority_option
@identity_option
@insecure_option
@up_option
@resume_option
@once_option
@setting_options
@page_option
@metrics_option
@json_option
def train(
    node: tuple[str, ...],
    listen: str | None,
    authority: Path,
    identity: Path,
    insecure: bool,
    as_json: bool,
    page: bool,
    metrics: str | None,
    up: bool,
    run_folder: Path | None,
    once: bool,
    run_dir: Path,
    **_: Any,
) -> None:
    """Train on all nodes, a round at a time, and leave a run folder."""
    from server.cli.interrupts import run_until_signal

    context = click.get_current_context()
    if up:
        _check_asked(context)
        asked = ask_for_a_run(identity, given(context), as_json)
        _print_end(run_until_signal(asked), as_json)
        return
    if once:
        _check_once(run_folder)
        run_folder = _newest(run_dir)
        if run_folder is not None and _has_ended(run_folder, as_json):
            return
    settings = given(context)
    if once and run_folder is not None:  # the same words began it: all is the run's own
        settings, node, listen = {}, (), None
    elif run_folder is not None:  # what decides the weights is the run's own
        settings = typed(context)
        node = node if is_typed(context, "node") else ()
        listen = listen if is_typed(context, "listen") or node else None
    federation = federation_of(node, listen, identity, insecure, authority=authority)
    with metrics_at(metrics) as watching:
        run = run_until_signal(
            federation.train(
                resume=run_folder,
                progress="json" if as_json else "bars",
                page=_say_address if page else None,
                metrics=watching,
                **settings,
            )
        )
    _print_end(run, as_json)


def _check_asked(context: click.Context) -> None:
    """Raises UsageError for flags that say what the coordinator that stays knows itself."""
    others = ("node", "listen", "run_folder", "once", "page", "metrics")
    wrong = [name for name in others if is_typed(context, name)]
    if wrong:
        flag = {"run_folder": "--resume"}.get(wrong[0], f"--{wrong[0]}")
        raise UsageError(
            f"{flag} does not go with --up",
            "the coordinator that stays has nodes, pages and metrics of its own",
            f"Leave {flag} away, or give it to: python -m server up",
        )


def _check_once(run_folder: Path | None) -> None:
    """Raises UsageError where a run is named as well."""
    if run_folder is not None:
        raise UsageError(
            "--once does not go with --resume",
            "it finds the run to go on with itself",
            "Leave one of them away.",
        )


def _newest(run_dir: Path) -> Path | None:
    """The newest run folder in a folder; None where there is none."""
    from server.runs.listing import list_runs

    runs = list_runs(run_dir) if run_dir.is_dir() else ()
    return run_dir / runs[-1].name if runs else None


def _has_ended(folder: Path, as_json: bool) -> bool:
    """Whether a run has come to its end, which is then printed. Raises StorageError."""
    from server.federation.run import Run

    run = Run(folder)
    if run.status != "completed":
        return False
    say(f"The run in {folder} has come to its end already.", err=True)
    _print_end(run, as_json)
    return True


def _print_end(run: Run, as_json: bool) -> None:
    from server.cli.compare import print_worth
    from server.display.fitting import print_table
    from server.display.page.html import chart_scripts, charts_missing
    from server.federation.results import table_of

    worth = run.comparison if run.settings.get("compare") else None
    if as_json:
        told: dict[str, Any] = {"run": str(run.path), "status": run.status}
        if run.settings.get("hand_out") and run.handed_out is not None:
            told["handed_out"] = run.handed_out
        click.echo(json.dumps(told if worth is None else {**told, "comparison": worth.as_dict()}))
    else:
        rounds = run.rounds
        print_table(table_of(rounds))
        if rounds and rounds[-1].by_owner:
            print_table(rounds[-1].table())
        if worth is not None:
            print_worth(worth)
        click.echo(f"The model and all figures are in {run.path}")
        if not chart_scripts():
            say(f"Its report.html has no charts: {charts_missing()}", err=True)


def _say_address(address: str) -> None:
    click.echo(f"Follow the run at {address}", err=True)
