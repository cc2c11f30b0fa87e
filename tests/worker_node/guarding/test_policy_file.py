"""policy.toml as it is written: what stands in it, and that it is read as what it says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from shared.errors import UsageError
from tests.helpers.running import ROOT
from worker_node.guarding import policy_file
from worker_node.guarding.policy import Policy
from worker_node.guarding.policy_file import find_policy, read_policy, write_example


def test_the_example_is_written_where_there_is_no_policy_and_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    assert write_example(tmp_path) == path
    assert path.read_bytes() == (ROOT / "docs" / "policy.toml").read_bytes()
    assert read_policy(path) == Policy()
    path.write_text("fewest_rows = 3\n", encoding="utf-8")
    assert write_example(tmp_path) is None
    assert path.read_text(encoding="utf-8") == "fewest_rows = 3\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (9_999, "9999"),
        (10_000, "10_000"),
        (1_000_000, "1_000_000"),
        (0.5, "0.5"),
        (1e-05, "1e-05"),
        (True, "true"),
        (False, "false"),
        ("20:00", '"20:00"'),
        ((), "[]"),
        (("mon", "tue"), '["mon", "tue"]'),
    ],
)
def test_a_value_is_written_as_toml_that_says_it(value: Any, written: str) -> None:
    assert policy_file._toml(value) == written
    (read,) = tomllib.loads(f"it = {written}").values()
    expected = list(value) if isinstance(value, tuple) else value
    assert (type(read), read) == (type(expected), expected)


def test_every_rule_has_its_explanation_above_it_and_every_table_its_own() -> None:
    lines = policy_file.example().splitlines()
    for place, line in enumerate(lines):
        if line and not line.startswith("#"):
            assert lines[place - 1].startswith("# "), line
    tables = [line for line in lines if line.startswith("[")]
    named = {name for name, value in Policy() if isinstance(value, BaseModel)}
    assert sorted(tables) == sorted(f"[{name}]" for name in named)


def test_all_wrong_keys_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("fewest_row = 3\n[hours]\nbegins = 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match="is not a valid policy") as caught:
        read_policy(path)
    assert "'fewest_row'" in str(caught.value)
    assert "; " in str(caught.value)
    assert "'hours.begins'" in str(caught.value)


def test_a_folder_of_that_name_is_an_error_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner's policy that cannot be read must not become the defaults."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").mkdir()
    with pytest.raises(UsageError, match="cannot read the policy"):
        find_policy(None, None)
