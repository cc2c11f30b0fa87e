"""A ledger on disk: whose its files are, the order of its syncs, and what a failure leaves."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.chain_file import MOST_BYTES, ChainFile, anchor_of, read_chain
from worker_node.privacy.ledger import LEDGER, MAX_RUNS_OVER, BudgetRefused, Ledger, results_of

KEY = ec.generate_private_key(ec.SECP256R1())
TERMS = Terms(releases=3, recipe="ab" * 32, mu=0.5, alone=0.8)
ONE = Run("hospital", "run-1", "training")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / LEDGER


def tell(ledger: Ledger, number: int, which: Run = ONE) -> bytes:
    ledger.charge(which, number, "x", TERMS, None)
    data = f"{which} {number}".encode()
    ledger.answer(which, number, data)
    return data


def whats(path: Path) -> list[str]:
    return [json.loads(line)["what"] for line in path.read_text().splitlines()]


def test_all_of_it_is_its_owners_alone_and_lies_where_it_is_said_to(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, 1)
    (result,) = results_of(path).iterdir()
    for one in (path, anchor_of(path), result):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert ledger.path == path
    assert anchor_of(path).name == "privacy.jsonl.anchor"
    assert results_of(path).name == "privacy.results"
    assert results_of(Path("audit.privacy.jsonl")) == Path("audit.privacy.results")
    ledger.close()


def test_in_memory_it_is_the_same_ledger() -> None:
    ledger = Ledger()
    assert ledger.path is None
    first, second = tell(ledger, 1), tell(ledger, 2)
    assert first != second
    assert ledger.told(ONE, 2, "x") == second
    with pytest.raises(BudgetRefused):
        ledger.told(ONE, 1, "x")  # who got the second has the first
    assert ledger.accounts.spent("training") == (0.5, 0.8)
    ledger.close()
    ledger.close()


def test_what_was_told_is_not_charged_again_and_no_round_is_below_1() -> None:
    ledger = Ledger()
    tell(ledger, 1)
    with pytest.raises(ValueError, match="told already"):
        ledger.charge(ONE, 1, "x", TERMS, None)
    for number in (0, -1):
        with pytest.raises(BudgetRefused) as caught:
            ledger.charge(Run("hospital", "run-2", "training"), number, "x", TERMS, None)
        assert caught.value.rule == "run"


def test_a_run_may_take_the_very_budget_and_the_next_one_nothing() -> None:
    for spent in ([], [0.3, 0.4]):
        ledger = Ledger()
        for number, mu in enumerate(spent):
            ledger.charge(ONE._replace(run=str(number)), 1, "x", Terms(1, "r", mu, mu), 1.3)
        rest = 1.2 if spent else 1.3  # squares add up
        ledger.charge(ONE, 1, "x", Terms(1, "r", rest, rest), 1.3)
        with pytest.raises(BudgetRefused) as caught:
            ledger.check(ONE._replace(run="next"), Terms(1, "r", 0.001, 0.001), 1.3)
        assert caught.value.rule == "epsilon"


def test_a_refusal_says_why() -> None:
    ledger = Ledger()
    tell(ledger, 1)
    with pytest.raises(BudgetRefused, match="from another state") as caught:
        ledger.told(ONE, 1, "another")
    assert caught.value.why == str(caught.value)


def test_a_run_that_goes_on_keeps_its_result_however_many_are_over_meanwhile() -> None:
    ledger, over = Ledger(), Run("hospital", "over", "training")
    told = tell(ledger, 1)
    for number in (1, 2, 3):
        last = tell(ledger, number, over)
    for number in range(MAX_RUNS_OVER):
        assert ledger.told(over, 3, "x") == last
        which = Run("hospital", f"run-{number}", "held_out")
        ledger.charge(which, 1, "x", Terms(1, "r", 0.01, 0.01), None)
        ledger.answer(which, 1, b"numbers")
    assert ledger.told(ONE, 1, "x") == told
    with pytest.raises(BudgetRefused, match="not stored any more"):
        ledger.told(over, 3, "x")


def test_a_run_is_over_once(path: Path) -> None:
    ledger = Ledger(path, KEY)
    for number in (1, 2, 3):
        tell(ledger, number)
    ledger.end(ONE)
    assert whats(path) == ["reserve", *["charge", "answer"] * 3, "close"]
    ledger.close()


def test_the_newest_runs_that_are_over_keep_their_last_result_and_no_more() -> None:
    ledger = Ledger()
    for number in range(MAX_RUNS_OVER + 3):
        which = Run("hospital", f"run-{number}", "held_out")
        ledger.charge(which, 1, "x", Terms(1, "r", 0.01, 0.01), None)
        ledger.answer(which, 1, b"numbers")
    assert MAX_RUNS_OVER == 64
    kept = []
    for which in ledger.accounts.runs:
        try:
            ledger.told(which, 1, "x")
        except BudgetRefused:
            continue
        kept.append(which.run)
    assert kept == [f"run-{number}" for number in range(3, MAX_RUNS_OVER + 3)]


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def harm_lines(path: Path) -> None:
    with_gift = ChainFile(path, KEY)
    with_gift.append({"what": "gift", "who": "x", "run": "y", "part": "training"})
    with_gift.close()


def harm_results(path: Path) -> None:
    results_of(path).rmdir()
    results_of(path).touch()


def harm_file(path: Path) -> None:
    path.write_bytes(b"no line\n")


@pytest.mark.parametrize("harm", [harm_lines, harm_results, harm_file])
def test_a_ledger_that_could_not_be_begun_is_let_go(path: Path, harm: Any) -> None:
    Ledger(path, KEY).close()
    harm(path)
    before = opened()
    for _ in range(2):  # the second is no other node's
        with pytest.raises(StorageError) as caught:
            Ledger(path, KEY)
        assert "another node" not in str(caught.value)
        assert str(path.parent) in str(caught.value)
    assert opened() == before


def test_who_finds_it_taken_leaves_nothing_open(path: Path) -> None:
    with_it = Ledger(path, KEY)
    before = opened()
    with pytest.raises(StorageError, match="another node"):
        Ledger(path, KEY)
    assert opened() == before
    with_it.close()
    with_it.close()
    assert opened() == before - 1
    with pytest.raises(StorageError, match="it was closed"):
        with_it.charge(ONE, 1, "x", TERMS, None)


def test_it_is_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Ledger(path, KEY)
    assert not (tmp_path / "elsewhere").exists()
    path.unlink()
    ledger = Ledger(path, KEY)
    anchor_of(path).rename(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    anchor_of(path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        tell(ledger, 1)
    assert (tmp_path / "elsewhere").read_bytes() == before
    ledger.close()


def test_a_line_is_synced_before_its_anchor_and_both_before_it_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(path, KEY)
    names = {one.stat().st_ino: one.name for one in (path, anchor_of(path))}
    events: list[tuple[str, str]] = []
    pwrite, sync = os.pwrite, os.fdatasync

    def writes(file: int, data: bytes, at: int) -> int:
        events.append(("written", names[os.fstat(file).st_ino]))
        return pwrite(file, data, at)

    def syncs(file: int) -> None:
        sync(file)
        events.append(("synced", names[os.fstat(file).st_ino]))

    monkeypatch.setattr(os, "pwrite", writes)
    monkeypatch.setattr(os, "fdatasync", syncs)
    ledger.charge(ONE, 1, "x", TERMS, None)
    line = [("written", path.name), ("synced", path.name)]
    anchor = [("written", anchor_of(path).name), ("synced", anchor_of(path).name)]
    assert events == 2 * [*line, *anchor]  # the run, and its first release
    ledger.close()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("at_once", [1, 7])
def test_a_system_that_takes_little_at_a_time_gets_all_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:at_once], at))
    ledger = Ledger(path, KEY)
    tell(ledger, 1)
    ledger.close()
    lines, place, end = read_chain(path, KEY.public_key())
    assert [line["what"] for line in lines] == ["reserve", "charge", "answer"]
    assert (place.n, end) == (3, path.stat().st_size)


@pytest.mark.parametrize("fails", ["the line", "its anchor"])
def test_a_line_that_could_not_be_written_counts_for_nothing_and_the_next_takes_its_place(
    path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, 1)
    real, harmed = os.pwrite, path if fails == "the line" else anchor_of(path)

    def breaks(file: int, data: bytes, at: int) -> int:
        if os.fstat(file).st_ino == harmed.stat().st_ino:
            real(file, data[:10] if harmed == path else data, at)
            raise OSError(28, "No space left on device")
        return real(file, data, at)

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", breaks)
        with pytest.raises(StorageError, match="No space left"):
            ledger.charge(ONE, 2, "x" * 500, TERMS, None)
    assert 2 not in ledger.accounts.runs[ONE].charged
    ledger.charge(ONE, 2, "y", TERMS, None)
    ledger.close()
    again = Ledger(path, KEY)
    assert again.accounts.runs[ONE].charged == {1: "x", 2: "y"}
    again.close()


def test_without_a_key_any_anchor_is_good_and_with_one_its_own_alone(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, 1)
    ledger.close()
    assert len(read_chain(path, None)[0]) == 3
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(StorageError, match="is not as this node left it"):
        read_chain(path, other.public_key())
    Ledger(path).close()


def test_a_file_beyond_the_bound_is_not_read(path: Path) -> None:
    Ledger(path, KEY).close()
    os.truncate(path, MOST_BYTES + 1)
    assert MOST_BYTES == 256 * 2**20
    with pytest.raises(StorageError, match="larger than 268,435,456 bytes"):
        Ledger(path, KEY)
