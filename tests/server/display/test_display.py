"""What a run looks like: bars on a terminal, a line a round elsewhere, JSON for machines."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from server.display.fitting import print_table
from server.display.progress import Bars, JsonLines, Lines, make_display
from server.display.status_table import status_table
from server.display.tables import metrics_table, rounds_table
from server.nodes.addresses import NodeAddress
from server.nodes.status import NodeStatus
from shared.errors import NodeUnreachable
from shared.model.metrics import BINS, Metrics, ScoreSummary, metrics_from
from shared.wire.commands import Progress
from shared.wire.handshake import Greeting
from tests.server.runs.test_runs import figures, one_round

STATE = np.zeros(3, np.float32)
NOTHING = metrics_from(ScoreSummary(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), 0.0))


def test_lines_say_a_round_a_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    display = Lines()
    with display.running():
        display.on_progress(1, "anne", "training", Progress(done=1, total=9, loss=0.5))
        display.on_round(one_round(1, 12), STATE)
        display.on_round(replace(one_round(2, 12), metrics=NOTHING), STATE)
    written = capsys.readouterr()
    assert written.out == ""
    first, second = written.err.splitlines()
    assert first.startswith("round  1/12  loss 0.3000  AUC 100.00 %")
    assert "AUC - %" in second


def test_json_says_the_rows_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    display = JsonLines()
    with display.running():
        display.on_progress(1, "anne", "training", None)
        display.on_round(one_round(1), STATE)
    written = capsys.readouterr()
    assert written.err == ""
    told = [json.loads(line) for line in written.out.splitlines()]
    assert [row["node"] for row in told] == ["anne", "bob", "*"]


def drawn(colour: bool) -> str:
    """What a terminal gets while a round goes by."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120, no_color=not colour)
    bars = Bars(5, ["anne", "bob"], console)
    with bars.running():
        bars.on_progress(1, "anne", "sending", None)
        bars.on_progress(1, "anne", "training", Progress(done=3, total=9, loss=0.5))
        bars.on_progress(1, "bob", "waiting", None)
        bars.on_round(one_round(1), STATE)
    return written.getvalue()


def test_bars_show_each_node_and_its_loss_and_the_rounds_above() -> None:
    shown = drawn(colour=True)
    for word in ("rounds", "anne", "bob", "training, loss 0.5000", "waiting", "round 1/5"):
        assert word in shown
    assert "\x1b[38" in shown or "\x1b[3" in shown


def test_without_colour_the_bars_are_drawn_all_the_same() -> None:
    shown = drawn(colour=False)
    assert "training, loss 0.5000" in shown
    assert "\x1b[38" not in shown


def test_no_color_in_the_environment_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    display = make_display(5, ["anne"], as_json=False)
    assert isinstance(display, Bars)
    assert display._bars.console.no_color


def test_the_display_suits_where_the_output_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(make_display(5, ["anne"], as_json=True), JsonLines)
    assert isinstance(make_display(5, ["anne"], as_json=False), Lines)


def test_tables_show_what_is_known_and_a_dash_for_what_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    each = {"anne": figures(), "bob": NOTHING}
    print_table(metrics_table("runs/[/x] on held-out rows", each, figures(8)))
    print_table(rounds_table([one_round(1), replace(one_round(2), metrics=NOTHING)]))
    shown = capsys.readouterr().out
    assert "runs/[/x] on held-out rows" in shown
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert lines["anne"] == ["9", "0.1667", *["100.00"] * 6, "5", "0", "0", "4"]
    assert lines["bob"] == ["0", *["-"] * 7, "0", "0", "0", "0"]  # no rows, no figure
    assert lines["1"][0] == "0.3000"
    assert "\x1b" not in shown


def measured(tn: int, fp: int, fn: int, tp: int) -> Metrics:
    """Figures of rows with these verdicts."""
    ham, spam = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    ham[0], ham[-1], spam[0], spam[-1] = tn, fp, fn, tp
    return metrics_from(ScoreSummary(ham, spam, 1.0))


def test_the_owners_mean_and_the_worst_of_them_stand_beside_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    each = {"anne": measured(9, 0, 0, 3), "bob": measured(8, 2, 2, 2), "zoe": NOTHING}
    print_table(metrics_table("", each, measured(17, 2, 2, 5)))
    lines = capsys.readouterr().out.splitlines()
    (mean,) = (line.split() for line in lines if line.strip().startswith("mean of owners"))
    (worst,) = (line.split() for line in lines if line.strip().startswith("worst of owners"))
    assert mean[-2:] == ["75.00", "65.00"]  # F1 and MCC: (1 + .5) / 2, (1 + .3) / 2; zoe has none
    assert worst[-2:] == ["50.00", "30.00"]
    alone = metrics_table("", {"anne": measured(9, 0, 0, 3)}, measured(9, 0, 0, 3))
    assert list(alone.columns[0].cells) == ["anne", "all"]


def test_the_table_of_rounds_names_who_was_left_out_where_somebody_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = one_round(1)
    print_table(rounds_table([first]))
    assert "left out" not in capsys.readouterr().out
    second = replace(one_round(2), left_out={"zoe": "it was late", "bob": "it is away"})
    print_table(rounds_table([first, second]))
    shown = capsys.readouterr().out
    assert "left out" in shown
    assert [line.split()[-2:] for line in shown.splitlines() if line.strip()[:1] == "2"] == [
        ["bob,", "zoe"]
    ]


def test_status_shows_words_of_others_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    bob = NodeAddress("bob", "ws://[fe80::1]:8777")
    busy = "training round 1 of 2 for [/red] :smile:"
    greeting = Greeting(role="node", id="bob", rows={"train": 8}, busy=busy)
    hidden = NodeStatus(bob, greeting, round_trip=0.002)
    told = Greeting(role="node", id="amy", labels={"train": {"ham": 3, "spam": 1}})
    gone = NodeUnreachable("cannot reach node zoe", "no answer [/in] time")
    print_table(
        status_table(
            [
                hidden,
                NodeStatus(NodeAddress("amy", "ws://h:1"), told, round_trip=0.01),
                NodeStatus(NodeAddress("zoe", "ws://h:2"), error=gone),
            ]
        )
    )
    shown = capsys.readouterr().out
    for words in (
        "ws://[fe80::1]:8777",
        busy,
        "hidden",
        "2.0 ms",
        "25.0 %",
        "no answer [/in] time",
    ):
        assert words in shown
