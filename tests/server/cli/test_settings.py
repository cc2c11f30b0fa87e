"""Each declared setting of `train`: its flag, variable, key, record and check at a resume."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.cli.train import train
from server.display.progress import JsonLines
from server.federation.async_federation import AsyncFederation
from server.nodes.addresses import parse_address
from server.runs.federation_file import read_federation
from server.runs.resume import open_stopped
from server.runs.setting import Group, Setting
from server.runs.settings import (
    NOT_KEPT,
    OVER_THE_RECIPE,
    OWN,
    SETTINGS,
    RunSettings,
    changed,
    check_resumed,
    from_json,
    from_values,
    to_json,
)
from server.runs.training_run import Steering
from shared.cli import HELP
from shared.errors import UsageError
from shared.model.recipe import load_recipe
from tests.helpers.running import Finished

NODE = "bob=ws://127.0.0.1:9"
NODES = (parse_address("bob", "ws://127.0.0.1:9"),)

by_setting = pytest.mark.parametrize("one", SETTINGS, ids=lambda one: one.name)


def other_values(one: Setting) -> tuple[str, str]:
    """Two texts of a flag that are neither the default nor each other."""
    if one.choices:
        return one.choices[-1], one.choices[-2]
    if one.is_parsed:
        return "7", "0.25"
    if one.type in (int, float):
        return ("0.125", "0.375") if one.below is not None else ("7", "11")
    return ("tutorial", "default") if one.name == "recipe" else ("here", "there")


def seen(monkeypatch: pytest.MonkeyPatch, *flags: str, **variables: str) -> dict[str, Any]:
    """What `train` would begin with: values by setting's name, where they are not the default."""
    found: dict[str, Any] = {}

    def trains(federation: AsyncFederation, **given: Any) -> Any:
        found.update(given)
        raise UsageError("seen")

    monkeypatch.setattr(AsyncFederation, "train", trains)
    result = CliRunner().invoke(train, ["--node", NODE, *flags], env=variables)
    assert isinstance(result.exception, UsageError), result.output
    assert str(result.exception) == "seen"
    return found


def as_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@by_setting
def test_it_is_a_flag_a_variable_and_a_key_and_the_nearer_one_wins(
    one: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert one.name not in seen(monkeypatch)
    if one.type is bool:
        assert seen(monkeypatch, one.flag)[one.name] is True
        assert seen(monkeypatch, **{one.variable: "1"})[one.name] is True
        (tmp_path / "federation.toml").write_text(f"{one.name} = true\n", encoding="utf-8")
        assert seen(monkeypatch)[one.name] is True
        assert seen(monkeypatch, **{one.variable: "0"})[one.name] is False
        return
    first, second = other_values(one)
    assert as_text(seen(monkeypatch, one.flag, first)[one.name]) == first
    assert as_text(seen(monkeypatch, **{one.variable: first})[one.name]) == first
    key = first if one.type in (int, float) else f'"{first}"'
    (tmp_path / "federation.toml").write_text(f"{one.name} = {key}\n", encoding="utf-8")
    assert as_text(seen(monkeypatch)[one.name]) == first
    assert as_text(seen(monkeypatch, **{one.variable: second})[one.name]) == second
    assert as_text(seen(monkeypatch, one.flag, second, **{one.variable: first})[one.name]) == second


@pytest.mark.parametrize("one", [one for one in SETTINGS if one.type in (int, float)])
def test_its_bounds_hold_at_a_flag_and_in_a_file(one: Setting, tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    edges = [(one.at_least, -1), (one.at_most, 1)]
    wrong = [edge + step for edge, step in edges if edge is not None]
    wrong += [one.below] if one.below is not None else []
    right = [edge for edge, _ in edges if edge is not None]
    assert wrong
    for value, is_right in [*((one, False) for one in wrong), *((one, True) for one in right)]:
        text = str(one.type(value))
        path.write_text(f"{one.name} = {text}\n", encoding="utf-8")
        result = CliRunner().invoke(train, [one.flag, text])
        assert (f"Invalid value for '{one.flag}'" in result.output) is not is_right
        if is_right:
            assert read_federation(path).as_defaults() == {one.name: one.type(value)}
        else:
            with pytest.raises(UsageError, match=one.name):
                read_federation(path)


def test_help_shows_every_setting_once_under_one_of_four_headings() -> None:
    names, width = HELP["help_option_names"], HELP["max_content_width"]
    asked = CliRunner().invoke(train, ["--help"], help_option_names=names, max_content_width=width)
    shown = asked.output
    headings = [group.value for group in Group]
    parts = dict(zip(headings, _split(shown, headings), strict=True))
    for one in SETTINGS:
        has_it = [title for title, part in parts.items() if f"  {one.flag} " in part]
        assert has_it == [one.group.value], one.name
        assert one.variable in parts[one.group.value].replace("\n", "").replace(" ", "")
    rest = shown.split("\nOptions:\n")[1].split()
    assert rest == ["-h,", "--help", "Show", "this", "message", "and", "exit."]


def _split(text: str, headings: list[str]) -> list[str]:
    starts = [text.index(f"\n{title}:\n") for title in headings]
    assert starts == sorted(starts)
    ends = [*starts[1:], text.index("\nOptions:\n")]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def all_changed() -> RunSettings:
    """Settings of which each differs from its default."""
    values: dict[str, Any] = {}
    for one in SETTINGS:
        text = other_values(one)[0] if one.type is not bool else "1"
        values[one.name] = one.type(text) if not one.choices else text
    values["min_nodes"] = "0.25"
    recipe = load_recipe("tutorial")
    return from_values(values, recipe, nodes=NODES)


def test_settings_json_gives_back_every_setting_that_it_keeps() -> None:
    settings = all_changed()
    for one in OWN:
        assert one.of(settings) != one.default, one.name
    written = json.loads(json.dumps(to_json(settings)))
    back = from_json(
        written,
        nodes=settings.nodes,
        recipe=settings.recipe,
        run_dir=settings.run_dir,
        name=settings.name,
    )
    assert back == settings


OLD = """
{"run": "r", "recipe": {}, "recipe_name": "tutorial", "seed": 5, "checkpoints": 2,
 "min_nodes": "0.8", "cohort": 3, "timeouts": {"heartbeat": 4.0, "round_deadline": 60.0},
 "mode": "rounds", "replay": false, "resumed_after": [],
 "nodes": {"bob": {"url": "ws://127.0.0.1:9"}}}
"""
"""As version 0.1.0 wrote it, with fewer timeouts than there are now."""


def old_run(tmp_path: Path) -> Path:
    values = json.loads(OLD) | {"recipe": load_recipe("tutorial").model_dump()}
    (tmp_path / "settings.json").write_text(json.dumps(values), encoding="utf-8")
    return tmp_path


def test_a_run_folder_of_an_older_version_opens(tmp_path: Path) -> None:
    stopped = open_stopped(old_run(tmp_path))
    stopped.lock.release()
    settings = stopped.settings
    assert (settings.seed, settings.checkpoints, settings.cohort) == (5, 2, 3)
    assert str(settings.min_nodes) == "0.8"
    assert settings.timeouts.heartbeat == 4
    assert settings.timeouts.quorum_wait == 300  # the default of what the file does not have


@by_setting
def test_a_resumed_run_takes_another_value_only_where_no_weight_depends_on_it(
    one: Setting, tmp_path: Path
) -> None:
    stopped = open_stopped(old_run(tmp_path))
    stopped.lock.release()
    own = stopped.settings
    text = other_values(one)[0] if one.type is not bool else "1"
    value = text if one.choices or one.is_parsed else one.type(text)
    if one.name == "recipe":
        value = "default"
    assert not (one.decides and one.may_change)
    if one.may_change:
        check_resumed(own, {one.name: value})
        assert str(one.of(changed(own, {one.name: value}))) == str(value)
        return
    with pytest.raises(UsageError, match=f"{one.flag} .* does not go with --resume"):
        check_resumed(own, {one.name: value})
    if one.name not in NOT_KEPT:  # the same value again is no other
        check_resumed(own, {one.name: one.of(own)})
    assert changed(own, {one.name: value}) == own


@pytest.mark.parametrize(
    "one", [one for one in SETTINGS if "pointers" not in one.modes], ids=lambda one: one.name
)
def test_what_only_rounds_have_does_not_go_with_pointers_wherever_it_is_set(
    cli: Callable[..., Finished], tmp_path: Path, one: Setting
) -> None:
    value = "true" if one.type is bool else other_values(one)[0]
    pointers = ("server", "train", "--node", NODE, "--mode", "pointers")
    key = value if one.type in (int, float, bool) else f'"{value}"'
    flag = (one.flag,) if one.type is bool else (one.flag, value)
    (tmp_path / "federation.toml").write_text(f"{one.name} = {key}\n", encoding="utf-8")
    assert tomllib.loads((tmp_path / "federation.toml").read_text(encoding="utf-8"))
    for flags in (flag, ()):
        done = cli(*pointers, *flags)
        assert done.code == 2
        assert f"{one.flag} does not go with --mode pointers" in done.err


def test_every_key_of_a_recipes_federation_is_a_setting_and_reaches_the_recipe() -> None:
    settings = all_changed()
    own = load_recipe("tutorial")
    assert {one.name for one in OVER_THE_RECIPE} == set(type(own.federation).model_fields)
    for one in OVER_THE_RECIPE:
        assert one.of(settings) != getattr(own.federation, one.name), one.name


def test_a_run_that_begins_has_the_values_of_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[RunSettings] = []

    async def trains(settings: RunSettings, steering: Steering) -> None:
        assert isinstance(steering.display, JsonLines)
        found.append(settings)
        raise UsageError("seen")

    monkeypatch.setattr("server.runs.training_run.train", trains)
    flags = "--seed 9 --trim 0.3 --heartbeat 2.5 --min-nodes 3 --name mine --json"
    result = CliRunner().invoke(train, ["--node", NODE, *flags.split()])
    assert str(result.exception) == "seen"
    (settings,) = found
    assert (settings.seed, settings.folder_name) == (9, "mine")
    assert settings.recipe.federation.trim == 0.3
    assert settings.recipe.federation.rounds == load_recipe("default").federation.rounds
    assert settings.timeouts.heartbeat == 2.5
    assert settings.min_nodes is not None
    assert settings.min_nodes.count == 3
