"""An owner is told that held-out rows repeat what is trained on, and never made to wait for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.local.nodes import local_nodes
from tests.helpers.running import Finished, until
from worker_node.data import near_held_out
from worker_node.data.shard import Message, Shard

TEMPLATE = "congratulations you have won prize number {} call now to claim it today"
WARNING = "2 of 3 held-out messages say almost the same as one that is trained on"


def written(path: Path, texts: list[str]) -> Path:
    lines = [f"{('ham', 'spam')[number % 2]}\t{text}" for number, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    train = [TEMPLATE.format(number) for number in range(10)] + ["see you at seven then", "ok"]
    held_out = [TEMPLATE.format(77), TEMPLATE.format(78), "what is on at the cinema tonight"]
    rows = written(tmp_path / "rows.tsv", train), written(tmp_path / "held.tsv", held_out)
    return ("--data", str(rows[0]), "--held-out-data", str(rows[1]))


def test_check_says_how_many_there_are(
    cli: Callable[..., Finished], files: tuple[str, ...]
) -> None:
    assert WARNING in cli("worker_node", "check", *files).out


def test_a_node_says_it_in_its_log_once_it_is_ready(files: tuple[str, ...]) -> None:
    with local_nodes({"bob": files}) as (node,):
        assert node.url
        until(lambda: any(WARNING in line for line in node.log), "the warning")


def test_of_more_rows_than_are_compared_some_are_and_the_warning_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = tuple(Message(number % 2, TEMPLATE.format(number)) for number in range(12))
    shard = Shard(rows[:8], rows[8:])
    monkeypatch.setattr(near_held_out, "COMPARED_ROWS", 12)
    assert near_held_out.near_held_out(shard) == near_held_out.Near(4, 4, 8, is_sample=False)
    monkeypatch.setattr(near_held_out, "COMPARED_ROWS", 11)
    assert near_held_out.near_held_out(shard) == near_held_out.Near(2, 2, 4, is_sample=True)
    (line,) = near_held_out.near_lines(shard)
    assert line.startswith("2 of 2 held-out messages that were looked at say almost the same")
    assert "one of 4 that are trained on, and more as one of all" in line
