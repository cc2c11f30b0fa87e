"""Flags of `train` that say what a run does about nodes that are slow, dead or bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource

from shared.errors import UsageError
from shared.model.recipe import Aggregation
from shared.wire.timeouts import Timeouts

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

TIMEOUT_NAMES = tuple(each.name for each in fields(Timeouts))
POINTERS_TOO = ("connect_timeout", "handshake_timeout", "transfer_timeout", "heartbeat")
ROUNDS_ONLY = {"min_nodes", "cohort", "aggregation", "norm_bound", "trim"} | (
    set(TIMEOUT_NAMES) - set(POINTERS_TOO)
)
"""What training through pointers has no use for."""


def _timeout_option(name: str, default: float, meaning: str) -> Callable[[Decorated], Decorated]:
    off = "" if "; 0" in meaning else "; 0: no limit"
    return click.option(
        f"--{name.replace('_', '-')}",
        type=click.FloatRange(min=0, max=1e9),
        default=default,
        show_default=True,
        metavar="SECONDS",
        envvar=f"FEDSMS_{name.upper()}",
        show_envvar=True,
        help=f"{meaning.rstrip('.')}{off}.",
    )


FAULT_OPTIONS = (
    click.option(
        "--min-nodes",
        metavar="COUNT|SHARE",
        envvar="FEDSMS_MIN_NODES",
        show_envvar=True,
        help="Nodes that a round needs, also the first: a count such as 3, or a share of those "
        "asked such as 0.8.  [default: all to begin with, then 0.5]",
    ),
    click.option(
        "--cohort",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        envvar="FEDSMS_COHORT",
        show_envvar=True,
        help="Nodes drawn for each round, by the seed; 0 asks all.",
    ),
    click.option(
        "--aggregation",
        type=click.Choice(get_args(Aggregation)),
        envvar="FEDSMS_AGGREGATION",
        show_envvar=True,
        help="How results become a model; all but fedavg bound what a few bad nodes can do.  "
        "[default: the recipe's]",
    ),
    click.option(
        "--norm-bound",
        type=click.FloatRange(min=1),
        help="For the norm rules: times the median update's norm.  [default: the recipe's]",
    ),
    click.option(
        "--trim",
        type=click.FloatRange(min=0, max=0.5, max_open=True),
        help="For the trimmed mean: share cut at each end.  [default: the recipe's]",
    ),
    *(
        _timeout_option(each.name, getattr(Timeouts, each.name), each.metadata["help"])
        for each in fields(Timeouts)
    ),
)


def fault_options(function: Decorated) -> Decorated:
    """Adds these flags to a command."""
    for option in reversed(FAULT_OPTIONS):
        function = option(function)
    return function


def resume_option(function: Decorated) -> Decorated:
    """The flag that goes on with a run instead of beginning one."""
    return click.option(
        "--resume",
        "run_folder",
        type=click.Path(path_type=Path),
        metavar="RUN",
        help="Go on with the run in this folder after its last completed round, with its own "
        "settings.",
    )(function)


def check_mode(ctx: click.Context, mode: str) -> None:
    """Raises UsageError for a flag, wherever it was set, that the mode does not have."""
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        flag = f"--{name.replace('_', '-')}"
        if mode == "pointers" and name in ROUNDS_ONLY:
            raise UsageError(
                f"{flag} does not go with --mode pointers",
                "a batch is on one node at a time: nothing is averaged, and a lost node ends the "
                "run",
                f"Leave {flag} away, or train in rounds.",
            )
        if mode != "pointers" and name == "replay" and ctx.params[name]:
            raise UsageError(
                f"{flag} is for --mode pointers",
                next_step="Leave it out, or add --mode pointers.",
            )


def typed(ctx: click.Context) -> set[str]:
    """Names of the parameters that the user typed as flags."""
    named = (parameter.name or "" for parameter in ctx.command.params)
    return {name for name in named if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def check_no_conflict(wanted: dict[str, Any], found: dict[str, Any], typed_names: set[str]) -> None:
    """Raises UsageError for a flag that says something else than the run that is resumed.

    Args:
        wanted: the flags' values. found: the run's; a flag that is not there cannot be given.
    """
    for name in sorted(typed_names & set(wanted)):
        if name not in found or wanted[name] != found[name]:
            flag = f"--{name.replace('_', '-')}"
            its_own = f"the run has {found[name]}" if name in found else "the run folder is there"
            raise UsageError(
                f"{flag} {wanted[name]} does not go with --resume",
                its_own,
                f"Leave {flag} away: a run goes on with what it began with.",
            )


def changed_timeouts(own: Timeouts, given: dict[str, float], typed_names: set[str]) -> Timeouts:
    """A run's timeouts, with those that the user typed in their place."""
    typed_values = {name: given[name] for name in TIMEOUT_NAMES if name in typed_names}
    return Timeouts(**{**vars(own), **typed_values})
