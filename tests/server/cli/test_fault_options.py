"""The flags and keys about failing nodes: all there, all checked before anything is dialled."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from scripts.chaos import Size, Soak, growth
from server.runs.federation_file import read_federation
from shared.errors import UsageError
from shared.wire.timeouts import Timeouts, limit

NODE = ("--node", "bob=ws://127.0.0.1:9")


def test_a_federation_file_says_when_a_round_may_go_on(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text("min_nodes = 0.8\ncohort = 20\nheartbeat = 30.0\n", encoding="utf-8")
    defaults = read_federation(path).as_defaults()
    assert defaults == {"min_nodes": "0.8", "cohort": 20, "heartbeat": 30.0}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--min-nodes", "2"), "a round needs 2 nodes, and only 1 are asked"),
        (("--min-nodes", "some"), "'some' is no number of nodes"),
        (("--heartbeat", "-1"), "--heartbeat"),
        (("--trim", "0.5"), "--trim"),
        (("--aggregation", "mode"), "'mode' is not one of"),
    ],
)
def test_a_wrong_flag_is_a_usage_error(cli: Any, flags: tuple[str, ...], said: str) -> None:
    done = cli("server", "train", *NODE, *flags)
    assert done.code == 2
    assert said in done.err


def test_a_timeout_that_is_no_duration_is_a_usage_error_and_0_sets_none() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="heartbeat"):
            Timeouts(heartbeat=wrong)
    assert limit(0) is None
    assert limit(2.5) == 2.5


def test_the_soak_says_what_has_grown() -> None:
    def after(**late: Any) -> list[str]:
        early = Size(memory=100, descriptors=10, threads=3, objects=1000, stored=0)
        soak = Soak(random.Random(1), {}, {}, {}, 10)
        soak.sizes = [(1, {"node bob": early}), (10, {"node bob": Size(**vars(early) | late)})]
        return growth(soak)

    assert after() == []
    assert after(memory=104, descriptors=12) == []
    assert after(memory=120) == ["memory of node bob: 100 to 120 MB"]
    assert after(stored=1000) == ["stored of node bob: 0 to 1000"]
    assert after(objects=2000) == ["objects of node bob: 1000 to 2000"]
