"""A run's settings as flags: each made from its declaration in server/runs/settings.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from server.runs.setting import Group, Setting
from server.runs.settings import SETTINGS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def option_of(one: Setting) -> Callable[[Decorated], Decorated]:
    """The setting's flag."""
    words = one.help if one.default is not None else f"{one.help}  [default: {one.otherwise}]"
    alone: dict[str, Any] = {} if one.bare is None else {"flag_value": one.bare}
    return click.option(
        one.flag,
        one.name,
        type=_type_of(one),
        is_flag=one.type is bool,
        **alone,
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


def given(ctx: click.Context) -> dict[str, Any]:
    """The settings that somebody gave, wherever: by a flag, a variable or a file."""
    return _by_source(ctx, lambda source: source is not ParameterSource.DEFAULT)


def typed(ctx: click.Context) -> dict[str, Any]:
    """The settings that the user typed as flags."""
    return _by_source(ctx, lambda source: source is ParameterSource.COMMANDLINE)


def is_typed(ctx: click.Context, name: str) -> bool:
    """True where the user typed the parameter as a flag."""
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _by_source(
    ctx: click.Context, wanted: Callable[[ParameterSource | None], bool]
) -> dict[str, Any]:
    names = (one.name for one in SETTINGS if one.name in ctx.params)
    return {name: ctx.params[name] for name in names if wanted(ctx.get_parameter_source(name))}
