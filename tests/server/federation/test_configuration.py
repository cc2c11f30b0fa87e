"""What Federation is made from: a file, its content, a mapping of addresses, names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server import EarlyStopping, Federation
from server.federation.results import RoundResult
from shared.errors import UsageError
from tests.server.runs.test_runs import one_round

BOB = "ws://127.0.0.1:9"
FILE = f"""
rounds = 4
min_nodes = 0.8
[nodes]
bob = "{BOB}"
"""


@dataclass(frozen=True)
class Running:
    """A node that knows where it is."""

    id: str
    address: str


@pytest.mark.parametrize(
    ("given", "means"), [(True, "on"), (False, "off"), ("auto", "auto"), ("on", "on")]
)
def test_secure_aggregation_may_be_a_yes_or_a_no(given: object, means: str) -> None:
    settings = Federation({"bob": BOB}, secure_aggregation=given).configuration.settings
    assert settings["secure_aggregation"] == means
    with pytest.raises(UsageError, match="secure_aggregation"):
        Federation({"bob": BOB}, secure_aggregation="sometimes")


def test_a_file_its_content_and_names_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "federation.toml"
    path.write_text(FILE, encoding="utf-8")
    content = {"rounds": 4, "min_nodes": 0.8, "nodes": {"bob": BOB}}
    made = [
        Federation("federation.toml"),
        Federation(path),
        Federation(),
        Federation(content),
        Federation({"bob": BOB}, rounds=4, min_nodes=0.8),
        Federation(nodes={"bob": BOB}, rounds=4, min_nodes=0.8),
        Federation(nodes=[f"bob={BOB}"], rounds=4, min_nodes=0.8),
        Federation(nodes=[Running("bob", BOB)], rounds=4, min_nodes=0.8),
        Federation({"bob": Running("x", BOB)}, rounds=4, min_nodes=0.8),
    ]
    assert {one.configuration.nodes for one in made} == {made[0].configuration.nodes}
    assert all(dict(one.configuration.settings) == {"rounds": 4, "min_nodes": 0.8} for one in made)
    assert made[0].nodes == {"bob": BOB}


def test_a_name_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(FILE, encoding="utf-8")
    made = Federation(path, rounds=7, nodes={"anne": BOB})
    assert made.nodes == {"anne": BOB}
    assert made.configuration.settings["rounds"] == 7
    assert made.configuration.settings["min_nodes"] == 0.8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"round": 3}, "did you mean 'rounds'"),
        ({"rounds": 0}, "rounds: Input should be greater than or equal to 1"),
        ({"mode": "quickly"}, "mode: Input should be 'rounds' or 'pointers'"),
        ({"replay": True}, "--replay is for --mode pointers"),
        ({"min_nodes": 3}, "a round needs 3 nodes, and only 1 are asked"),
        ({"heartbeat": -1}, "heartbeat"),
        ({"insecure": True}, "insecure is no setting of a run"),
    ],
)
def test_a_wrong_setting_is_one_clear_error_before_anybody_is_dialled(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    federation = Federation({"bob": BOB}, run_dir=tmp_path)
    with pytest.raises(UsageError, match=words):
        federation.train(**settings)


def test_no_nodes_and_nodes_of_other_machines_without_tls_are_errors() -> None:
    with pytest.raises(UsageError, match="no node is given"):
        Federation({}).status()
    with pytest.raises(UsageError, match="would be dialled without TLS"):
        Federation({"bob": "ws://10.0.0.7:8777"}).rounds("tutorial")


def test_early_stopping_counts_rounds_without_a_better_value() -> None:
    result = RoundResult.of(one_round(1))
    stop = EarlyStopping("f1", patience=2)
    assert [stop(result) for _ in range(3)] == [False, False, True]
    with pytest.raises(AttributeError):
        EarlyStopping("f2")(result)
