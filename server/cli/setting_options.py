"""A run's settings as flags: each made from its declaration in server/runs/settings.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from server.runs.setting import Group, Setting
from server.runs.settings import NOT_KEPT, SETTINGS, RunSettings
from shared.errors import UsageError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

BY_NAME = {one.name: one for one in SETTINGS}


def option_of(one: Setting) -> Callable[[Decorated], Decorated]:
    """The setting's flag."""
    words = one.help if one.default is not None else f"{one.help}  [default: {one.otherwise}]"
    return click.option(
        one.flag,
        one.name,
        type=_type_of(one),
        is_flag=one.type is bool,
        default=one.default,
        show_default=one.default is not None and one.type is not bool,
        metavar=one.metavar,
        envvar=one.variable,
        show_envvar=True,
        help=words,
    )


def setting_options(function: Decorated) -> Decorated:
    """Adds a flag for each setting to a command."""
    for one in reversed(SETTINGS):
        function = option_of(one)(function)
    return function


def in_groups(others: Mapping[Group, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Parameter names by heading of `--help`.

    Args:
        others: parameters that are no settings; they come first under their heading.
    """
    return {
        group.value: (
            *others.get(group, ()),
            *(one.name for one in SETTINGS if one.group is group),
        )
        for group in Group
    }


def _type_of(one: Setting) -> Any:
    if one.choices:
        return click.Choice(one.choices)
    if one.type is Path:
        return click.Path(path_type=Path)
    if one.type is int:
        most = int(one.at_most) if one.at_most is not None else None
        return click.IntRange(int(one.at_least) if one.at_least is not None else None, most)
    if one.type is float:
        most_float = one.at_most if one.at_most is not None else one.below
        return click.FloatRange(one.at_least, most_float, max_open=one.below is not None)
    return one.type


def check_mode(ctx: click.Context, mode: str) -> None:
    """Raises UsageError for a setting, wherever it was set, that the mode does not have."""
    for one in SETTINGS:
        given = ctx.get_parameter_source(one.name) is not ParameterSource.DEFAULT
        if mode in one.modes or not given:
            continue
        if mode == "pointers":
            raise UsageError(
                f"{one.flag} does not go with --mode pointers",
                "a batch is on one node at a time: nothing is averaged, and a lost node ends the "
                "run",
                f"Leave {one.flag} away, or train in rounds.",
            )
        if ctx.params[one.name]:
            raise UsageError(
                f"{one.flag} is for --mode pointers",
                next_step="Leave it out, or add --mode pointers.",
            )


def typed(ctx: click.Context) -> set[str]:
    """Names of the parameters that the user typed as flags."""
    named = (parameter.name or "" for parameter in ctx.command.params)
    return {name for name in named if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def check_resumed(settings: RunSettings, flags: Mapping[str, Any], typed_names: set[str]) -> None:
    """Raises UsageError for a typed flag that says something else than the run that is resumed.

    Args:
        settings: the run's own.
    """
    for one in SETTINGS:
        if one.may_change or one.name not in typed_names:
            continue
        is_kept = one.name not in NOT_KEPT
        if not is_kept or flags[one.name] != one.of(settings):
            raise UsageError(
                f"{one.flag} {flags[one.name]} does not go with --resume",
                f"the run has {one.of(settings)}" if is_kept else "the run folder is there",
                f"Leave {one.flag} away: a run goes on with what it began with.",
            )
