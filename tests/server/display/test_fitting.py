"""Tables at any width: every word and number whole, no line wider than the terminal."""

from __future__ import annotations

import os
import pty
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from server.display.fitting import Column, Fitted, print_table
from server.display.status_table import status_table
from server.display.tables import metrics_table, rounds_table
from server.nodes.addresses import NodeAddress
from server.nodes.status import NodeStatus
from shared.errors import NodeUnreachable
from shared.model.metrics import Metrics
from shared.wire.handshake import Greeting
from tests.helpers.running import PATIENCE_SECONDS, environment
from tests.server.runs.test_runs import figures, one_round

WIDTHS = (60, 80, 100, 120)


def shown(fitted: Fitted, width: int) -> str:
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        for table in fitted.tables(console):
            console.print(table)
    return capture.get()


def check(fitted: Fitted, width: int) -> None:
    """All that the table promises stands there whole; text that may be wrapped word by word."""
    text = shown(fitted, width)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    longest = max((len(line.rstrip()) for line in text.splitlines()), default=0)
    words = re.split(r"\s+", text)
    for column in fitted.columns:
        for cell in column.cells:
            for part in cell.split():
                assert part in words or (len(part) > 20 and longest >= width - 4), (part, text)
    assert longest <= width, text


def metrics(rows: int) -> Metrics:
    return replace(figures(4), rows=rows, true_negatives=rows, false_positives=rows)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_run_of_many_nodes_fits(width: int) -> None:
    rounds = [replace(one_round(number, 1000), seconds=1234.5) for number in (1, 999, 1000)]
    check(rounds_table(rounds), width)
    left_out = {f"hospital-{number}": "it was late" for number in range(12)}
    check(rounds_table([*rounds, replace(one_round(7), left_out=left_out)]), width)
    each = {f"owner-{number}": metrics(123_456) for number in range(100)}
    check(metrics_table("runs/x on held-out rows", each, metrics(999_999)), width)


def test_at_80_columns_the_rounds_of_a_run_are_one_table() -> None:
    console = Console(width=80)
    assert len([*rounds_table([one_round(1), one_round(15)]).tables(console)]) == 1


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(names, st.booleans()), min_size=1, max_size=4, unique_by=lambda one: one[0]),
    st.sampled_from(WIDTHS),
)
def test_whoever_answers_or_does_not_is_shown_whole(
    nodes: list[tuple[str, bool]], width: int
) -> None:
    statuses = []
    for name, answers in nodes:
        address = NodeAddress(name, "wss://10.0.0.7:8777")
        versions = {"fedsms": "0.1.0", "syft": "0.2.5", "torch": "2.13.0"}
        greeting = Greeting(role="node", id=name, rows={"train": 2068}, versions=versions)
        gone = NodeUnreachable("cannot reach", "the other side closed it before it said a word")
        statuses.append(
            NodeStatus(address, greeting, round_trip=0.0123)
            if answers
            else NodeStatus(address, error=gone)
        )
    check(status_table(statuses), width)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=2, max_size=14),
    st.integers(1, 4),
    st.sampled_from(WIDTHS),
)
def test_any_table_of_short_cells_fits_any_width(
    sizes: list[tuple[int, bool]], rows: int, width: int
) -> None:
    columns = [
        Column(f"c{place}", [f"{place}" + "x" * size] * rows, right=right)
        for place, (size, right) in enumerate(sizes)
    ]
    check(Fitted("a title", columns), width)


def test_a_word_too_long_for_the_terminal_is_folded_and_not_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = ":".join(["ab"] * 32)
    text = shown(Fitted("", [Column("name", ["bob"]), Column("key", [key])]), 60)
    assert key in re.sub(r"\s", "", text)
    print_table(Fitted("", [Column("name", ["bob"]), Column("key", [key * 5])]))
    assert key * 5 in capsys.readouterr().out  # piped: as wide as it must be


def test_no_line_ends_with_blanks_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(rounds_table([one_round(1), one_round(2)]))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert len(lines) > 4


@pytest.mark.parametrize("columns", [80, 120])
def test_a_real_terminal_gets_a_table_of_its_width(columns: int, tmp_path: Path) -> None:
    """`status` of a node that is not there, at a pseudo-terminal."""
    arguments = ["-m", "server", "status", "--node", "hospital-of-vienna=ws://127.0.0.1:9"]
    variables = environment(TERM="xterm", COLUMNS=str(columns))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, *arguments], variables)
    written = b""
    try:
        while chunk := os.read(terminal, 65536):
            written += chunk
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert PATIENCE_SECONDS
    assert os.waitstatus_to_exitcode(status) == 4
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).split("error:")[0]
    assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "hospital-of-vienna" in text
    assert "Connection refused" in re.sub(r"\s+", " ", text)
