"""An owner's terms as numbers, and the file of rounds that were masked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import StorageError
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import context
from worker_node.secure_aggregation.masked_rounds import RoundsOnDisk
from worker_node.secure_aggregation.terms import Terms


@pytest.mark.parametrize(
    "wrong",
    [
        {"fewest_owners": 1},
        {"fewest_pinned": 1},
        {"fewest_pinned": -1},
        {"dropouts": 1.5},
        {"dropouts": float("nan")},
    ],
)
def test_terms_that_protect_nobody_are_no_terms(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"hides nobody|pinned|share"):
        Terms(**wrong)  # type: ignore[arg-type]


def test_rounds_go_up_in_each_run_and_sum_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "masked.json"
    first = RoundsOnDisk(path)
    first.claim(context(number=3))
    first.claim(context(number=3, which="evaluation"))
    first.claim(context(number=1, run="another"))
    after_a_kill = RoundsOnDisk(path)
    for number in (1, 3):
        with pytest.raises(Violation, match="round 3"):
            after_a_kill.claim(context(number=number))
    after_a_kill.claim(context(number=4))
    with pytest.raises(Violation):
        RoundsOnDisk(path).claim(context(number=4))
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"[]",
        b"{}",
        b'[["run", "training", 0]]',
        b'[["run", "training", 1.5]]',
        b'[["run", "training", 1.0]]',
        b'[["run", "training", "1"]]',
        b'[["run", "training", true]]',
        b'[["run", "other", 1]]',
        b'[["run", "training", 1], ["run", "training", 2]]',
        b'[["run", "training", 1]',
    ],
)
def test_a_damaged_file_is_an_error_and_never_read_as_an_empty_one(
    damaged: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "masked.json"
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match="damaged"):
        RoundsOnDisk(path)


def test_a_round_that_cannot_be_noted_is_not_masked_and_can_be_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    rounds = RoundsOnDisk(folder / "masked.json")
    with pytest.raises(StorageError):
        rounds.claim(context())
    folder.mkdir()
    rounds.claim(context())
    with pytest.raises(Violation):
        rounds.claim(context())


def test_a_file_of_16_mib_has_no_room_for_a_run_and_one_byte_less_has(tmp_path: Path) -> None:
    path = tmp_path / "masked.json"
    new = len(json.dumps([["run-1", "training", 1]])) - 1  # with a comma and a blank, less brackets
    frame = len(json.dumps([["", "training", 1]]))
    fits = 16 * 2**20 - frame - new - 1
    path.write_text(json.dumps([["x" * (fits + 1), "training", 1]]))
    full = path.read_bytes()
    with pytest.raises(StorageError, match="full of runs"):
        RoundsOnDisk(path).claim(context())
    assert path.read_bytes() == full
    path.write_text(json.dumps([["x" * fits, "training", 1]]))
    rounds = RoundsOnDisk(path)
    rounds.claim(context())
    assert path.stat().st_size == 16 * 2**20
    with pytest.raises(Violation):
        RoundsOnDisk(path).claim(context())
    with pytest.raises(StorageError, match="full of runs"):
        rounds.claim(context(run="run-10"))
