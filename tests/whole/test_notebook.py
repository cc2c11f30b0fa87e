"""docs/federation.ipynb, executed as it is committed, and what a kernel's stop button does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import LocalNode
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import PATIENCE_SECONDS, ROOT, done_well, environment, run_python
from tests.helpers.scripted_pages import shape

NOTEBOOK = ROOT / "docs" / "federation.ipynb"
pytest.importorskip("nbclient", reason="requirements-notebook.txt is not installed")
pytest.importorskip("matplotlib", reason="requirements-notebook.txt is not installed")


def cells(notebook: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def told(cell: dict[str, Any]) -> list[object]:
    """What a cell shows: kinds of pictures and tables, and words without numbers."""
    streams = [one for one in cell["outputs"] if one["output_type"] == "stream"]
    others = [one for one in cell["outputs"] if one["output_type"] != "stream"]
    names = {one["name"] for one in streams}
    text = shape("".join("".join(one["text"]) for one in streams))
    return [names, text, [(one["output_type"], sorted(one["data"])) for one in others]]


@pytest.mark.timeout(280)
def test_the_notebook_shows_what_it_is_committed_with(tmp_path: Path) -> None:
    messages = write_tsv(tmp_path / "messages.tsv", made_up(1800))
    executed = tmp_path / "executed.ipynb"
    done_well(run_python("-m", "tests.helpers.notebooks", NOTEBOOK, messages, executed))
    here, committed = cells(executed), cells(NOTEBOOK)
    assert [told(cell) for cell in here] == [told(cell) for cell in committed]
    pictures = [one for cell in committed for one in cell["outputs"] if "image/png" in str(one)]
    assert len(pictures) == 3
    assert [cell["execution_count"] for cell in committed] == list(range(1, len(committed) + 1))


def test_no_output_names_a_folder_of_the_machine_it_ran_on() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    for place in ("/tmp", "/home", "/root", "/work"):
        assert f"{place}/" not in text


class Kernel:
    """A kernel as a notebook has it."""

    def __init__(self, folder: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(folder), env=environment())
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_SECONDS)

    def run(self, code: str, stop_at: str = "") -> tuple[str, dict[str, Any]]:
        """What a cell writes, and its reply; its stop button is pressed once these words come."""
        asked = self.client.execute(code)
        written = ""
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE_SECONDS)
            if message["parent_header"].get("msg_id") != asked:
                continue
            content = message["content"]
            written += content.get("text", "") or content.get("data", {}).get("text/plain", "")
            if stop_at and stop_at in written:
                self.manager.interrupt_kernel()
                stop_at = ""
            if content.get("execution_state") == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_SECONDS)
            if reply["parent_header"].get("msg_id") == asked:
                return written, reply["content"]

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    running = Kernel(tmp_path)
    yield running
    running.end()


BEGIN = """
from server import AsyncFederation, Federation
federation = Federation({nodes!r}, rounds=3)
twin = AsyncFederation({nodes!r}, rounds=3)
def told(progress):
    if progress.stage == "training":
        print("training", flush=True)
"""
WAITS = "federation.train({slow!r}, progress=told)"
LOOPS = "for round in federation.rounds({slow!r}, progress=told): pass"
AWAITS = "await twin.train({slow!r}, progress=told)"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("cell", [WAITS, LOOPS, AWAITS], ids=["train", "rounds", "await"])
def test_the_stop_button_ends_a_training_in_order_and_the_next_cell_works(
    cell: str, kernel: Kernel, nodes: list[LocalNode], slow: Path, quick: Path
) -> None:
    urls = {node.id: node.url for node in nodes}
    names = {"nodes": urls, "slow": str(slow), "quick": str(quick)}
    assert kernel.run(BEGIN.format(**names))[1]["status"] == "ok"
    _, reply = kernel.run(cell.format(**names), stop_at="training")
    assert reply["status"] == "error"
    assert reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    led = "twin" if "twin" in cell else "federation"
    written, _ = kernel.run(f"print({led}.last_run.status)")
    assert written == "interrupted\n"
    written, reply = kernel.run("federation.train({quick!r}).status".format(**names))
    assert (written, reply["status"]) == ("'completed'", "ok")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_table_is_shown_once_and_bars_are_lines_there(
    kernel: Kernel, nodes: list[LocalNode], quick: Path
) -> None:
    urls = {node.id: node.url for node in nodes}
    kernel.run(BEGIN.format(nodes=urls))
    written, _ = kernel.run("federation.status()")
    assert written.count("anne") == 1
    written, _ = kernel.run(f"run = federation.train({str(quick)!r}, progress='bars')")
    first, *rounds = written.splitlines()
    assert first.startswith("secure aggregation is off")
    assert [line[:9] for line in rounds] == [f"round {n}/3" for n in (1, 2, 3)]
