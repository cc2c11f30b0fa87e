"""`python -m server runs` and `show`: the runs that there are, and each as a page."""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.options import json_option, run_dir_option
from shared.cli import command, say

if TYPE_CHECKING:
    from server.display.fitting import Fitted
    from server.runs.listing import ListedRun


@command("runs", "python -m server runs", "python -m server runs --json")
@run_dir_option
@json_option
def runs(run_dir: Path, as_json: bool) -> None:
    """List the runs, the oldest first."""
    from server.display.fitting import print_table
    from server.runs.listing import list_runs

    found = list_runs(run_dir)
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found]))
    elif found:
        print_table(_runs_table(found))
    else:
        say(f"There is no run in {run_dir}.", err=True)


@command(
    "show",
    "python -m server show runs/20261122-170501-default",
    "python -m server show RUN OTHER-RUN",
    "python -m server show --no-browser RUN",
)
@click.argument("run", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--no-browser", is_flag=True, help="Make the page and say where it is, no more.")
def show(run: tuple[Path, ...], no_browser: bool) -> None:
    """Make a RUN's page anew and open it; with several, one page beside each other.

    The page is one file, report.html in the run folder, and asks nobody for anything.
    """
    from server.display.page.html import chart_scripts, charts_missing
    from server.runs.report import make_report, make_side_by_side

    if len(run) == 1:
        page = make_report(run[0])
    else:
        others = "-".join(one.resolve().name for one in run[1:])
        page = make_side_by_side(run, run[0] / f"beside-{others}.html")
    if not chart_scripts():
        say(charts_missing(), err=True)
    click.echo(str(page))
    if not no_browser and not webbrowser.open(page.resolve().as_uri()):
        say("There is no browser here to open it with.", err=True)


def _runs_table(each: Sequence[ListedRun]) -> Fitted:
    from server.display.fitting import Column, Fitted
    from server.display.words import percent

    return Fitted(
        "Runs",
        [
            Column("run", [one.name for one in each]),
            Column("status", [one.status for one in each]),
            Column("recipe", [one.recipe or "-" for one in each]),
            Column("owners", [_count(one.owners) for one in each], right=True),
            Column("rounds", [f"{one.rounds} of {_count(one.of)}" for one in each], right=True),
            Column("AUC %", [percent(one.roc_auc) for one in each], right=True),
            Column("F1 %", [percent(one.f1) for one in each], right=True),
            Column("MCC %", [percent(one.mcc) for one in each], right=True),
            Column("compared", ["yes" if one.compared else "-" for one in each]),
        ],
    )


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
