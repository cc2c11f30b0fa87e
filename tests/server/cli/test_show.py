"""`runs` lists what is there, whatever state it is in; `show` opens its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from server.runs.run_lock import RunLock
from shared.model.recipe import Recipe
from tests.helpers.run_folders import made_round, made_run
from tests.helpers.running import Finished, done_well, refused, run

Cli = Callable[..., Finished]


def test_runs_are_listed_with_how_they_stand(cli: Cli, tmp_path: Path, recipe: Recipe) -> None:
    there = tmp_path / "runs"
    done, going = made_run(there, recipe, 4), made_run(there, recipe, 2, status="failed")
    damaged = made_run(there, recipe, 2)
    (damaged / "summary.json").write_text("[")
    (there / "not-a-run").mkdir()
    lock = RunLock(going)
    out = done_well(cli("server", "runs"))
    listed = {row["name"]: row for row in json.loads(done_well(cli("server", "runs", "--json")))}
    lock.release()
    assert list(listed) == sorted([done.name, going.name, damaged.name])
    assert listed[damaged.name]["status"] == "damaged"
    assert listed[going.name]["status"] == "running"
    found = listed[done.name]
    assert (found["status"], found["rounds"], found["of"]) == ("completed", 4, 4)
    assert (found["owners"], found["recipe"], found["compared"]) == (3, "quick", False)
    assert found["roc_auc"] == made_round(4, 4).metrics.roc_auc
    assert f"{100 * found['roc_auc']:.2f}" in out
    assert "not-a-run" not in out


def test_no_runs_are_no_error_and_no_folder_is_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert "There is no run" in cli("server", "runs").err
    refused(cli("server", "runs", "--run-dir", "nowhere"), "there is no folder nowhere", code=2)


def test_show_makes_the_page_anew_and_opens_it(cli: Cli, tmp_path: Path, recipe: Recipe) -> None:
    made = made_run(tmp_path / "runs", recipe, 3)
    (made / "report.html").unlink()
    told, browser = tmp_path / "told", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {told}\n')
    browser.chmod(0o700)
    shown = run("server", "show", made, cwd=tmp_path, BROWSER=str(browser))
    assert done_well(shown).strip() == str(made / "report.html")
    assert told.read_text() == (made / "report.html").as_uri()
    told.unlink()
    other = made_run(tmp_path / "runs", recipe, 2)
    both = Path(done_well(cli("server", "show", "--no-browser", made, other)).strip())
    assert both == made / f"beside-{other.name}.html"
    assert other.name in both.read_text()
    assert not told.exists()


def test_show_of_no_run_is_one_clear_error(cli: Cli, tmp_path: Path) -> None:
    refused(cli("server", "show", tmp_path / "none"), "there is no run in", code=7)
    assert cli("server", "show").code == 2
