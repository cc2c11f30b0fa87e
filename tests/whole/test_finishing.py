"""The end of a run, whose report may take seconds: the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from server.nodes.addresses import parse_address
from server.runs.report import try_report
from server.runs.settings import from_values
from server.runs.training_run import train
from shared.errors import Interrupted
from shared.model.recipe import load_recipe

pytestmark = pytest.mark.timeout(120)


async def trained(flags: list[str], recipe: Path, folder: Path) -> Path:
    nodes = tuple(parse_address(*one.split("=", 1)) for one in flags if "=" in one)
    values = {"run_dir": folder, "secure_aggregation": "off"}
    return await train(from_values(values, load_recipe(str(recipe)), nodes=nodes))


def test_while_a_report_is_made_the_event_loop_answers_others(
    node_flags: list[str], quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Path:
        loop, answered = asyncio.get_running_loop(), threading.Event()

        def report(folder: Path) -> None:
            loop.call_soon_threadsafe(answered.set)
            assert answered.wait(60)  # for ever, where the loop waits for the report
            try_report(folder)

        monkeypatch.setattr("server.runs.run_folder.try_report", report)
        return await trained(node_flags, quick, tmp_path)

    folder = asyncio.run(run())
    assert (folder / "report.html").exists()
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"


def test_a_run_that_is_cancelled_while_its_report_is_made_is_whole(
    node_flags: list[str], quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        loop, cancelled = asyncio.get_running_loop(), threading.Event()
        task = asyncio.create_task(trained(node_flags, quick, tmp_path))

        def cancel() -> None:
            task.cancel()
            loop.call_soon(cancelled.set)

        def report(folder: Path) -> None:
            loop.call_soon_threadsafe(cancel)
            assert cancelled.wait(60)
            try_report(folder)

        monkeypatch.setattr("server.runs.run_folder.try_report", report)
        with pytest.raises(Interrupted, match="the run was over; all of it is in"):
            await task

    asyncio.run(run())
    (folder,) = tmp_path.glob("*-default")
    assert (folder / "report.html").exists()
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
