"""The ledger: what is charged, what is answered again, and what a damaged one is good for."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.errors import StorageError
from worker_node.audit.lines import Place, make_anchor
from worker_node.privacy.accounts import Accounts, Run, Terms
from worker_node.privacy.chain_file import anchor_of
from worker_node.privacy.ledger import (
    LEDGER,
    MAX_RUNS_OVER,
    BudgetRefused,
    Ledger,
    results_of,
)

KEY = ec.generate_private_key(ec.SECP256R1())
TERMS = Terms(releases=4, recipe="ab" * 32, mu=0.5, alone=0.8)
ONE = Run("hospital", "run-1", "training")
MOST = 0.75


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / LEDGER


def tell(ledger: Ledger, which: Run, number: int, inputs: str = "x") -> bytes:
    ledger.charge(which, number, inputs, TERMS, MOST)
    data = f"{which} {number}".encode()
    ledger.answer(which, number, data)
    return data


def refused(rule: str) -> Any:
    return pytest.raises(BudgetRefused, check=lambda error: error.rule == rule)


def lines(path: Path) -> list[str]:
    return [json.loads(line)["what"] for line in path.read_text().splitlines()]


def test_a_run_counts_as_a_whole_from_its_first_release(path: Path) -> None:
    ledger = Ledger(path, KEY)
    ledger.charge(ONE, 1, "x", TERMS, MOST)
    assert ledger.accounts.spent("training") == (0.5, 0.8)
    assert ledger.accounts.spent("held_out") == (0.0, 0.0)
    with refused("epsilon"):  # 0.5^2 + 0.5^2 fit into 0.75^2 not once more
        tell(ledger, Run("other", "run-2", "training"), 1)
        tell(ledger, Run("third", "run-3", "training"), 1)


def test_whoever_asks_and_whatever_it_is_called_it_is_one_budget(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    tell(ledger, Run("hospital", "run-2", "training"), 1)
    for who, run in (("hospital", "run-3"), ("renamed", "run-1"), ("", "")):
        with refused("epsilon"):
            tell(ledger, Run(who, run, "training"), 1)


def test_no_restart_and_no_clock_gives_anything_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    ledger.close()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    again = Ledger(path, KEY)
    assert again.accounts.spent("training") == (0.5, 0.8)
    with refused("epsilon"):
        again.check(Run("x", "y", "training"), Terms(1, "r", 0.7, 0.7), MOST)


def test_the_same_again_is_the_same_bits_and_no_charge(path: Path) -> None:
    ledger = Ledger(path, KEY)
    data = tell(ledger, ONE, 1)
    before = path.read_bytes()
    assert ledger.told(ONE, 1, "x") == data
    ledger.close()
    assert Ledger(path, KEY).told(ONE, 1, "x") == data
    assert path.read_bytes() == before


def test_a_release_has_one_result(path: Path) -> None:
    ledger = Ledger(path, KEY)
    data = tell(ledger, ONE, 1)
    with refused("one_release"):
        ledger.answer(ONE, 1, b"other noise")
    assert ledger.told(ONE, 1, "x") == data
    assert lines(path) == ["reserve", "charge", "answer"]


def test_another_state_for_a_round_that_was_charged_is_refused(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    with refused("one_release"):
        ledger.told(ONE, 1, "another")
    ledger.charge(ONE, 2, "x", TERMS, MOST)  # and killed before its answer
    with refused("one_release"):
        ledger.charge(ONE, 2, "another", TERMS, MOST)


def test_killed_before_the_answer_nobody_was_told_and_nothing_is_charged_twice(path: Path) -> None:
    ledger = Ledger(path, KEY)
    ledger.charge(ONE, 1, "x", TERMS, MOST)
    ledger.close()
    again = Ledger(path, KEY)
    assert again.told(ONE, 1, "x") is None
    tell(again, ONE, 1)
    assert lines(path) == ["reserve", "charge", "answer"]


def test_a_result_that_is_gone_is_not_made_again(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    shutil.rmtree(results_of(path))
    ledger.close()
    again = Ledger(path, KEY)
    with refused("one_release"):
        again.told(ONE, 1, "x")
    with refused("one_release"):
        again.charge(ONE, 1, "x", TERMS, MOST)


def test_a_result_that_was_changed_does_not_leave(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    (stored,) = results_of(path).iterdir()
    stored.write_bytes(b"the rows themselves")
    with refused("one_release"):
        ledger.told(ONE, 1, "x")


def test_rounds_go_up_and_end_where_the_run_was_said_to(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    tell(ledger, ONE, 3)
    for number in (2, 5):
        with refused("run"):
            tell(ledger, ONE, number)
    with refused("one_release"):  # an older round is forgotten
        ledger.told(ONE, 1, "x")


def test_what_a_run_did_not_use_comes_back_at_its_end(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    tell(ledger, ONE, 4)  # the last: two rounds in between were lost
    mu, alone = ledger.accounts.spent("training")
    assert mu == pytest.approx(0.5 / math.sqrt(2))
    assert alone == pytest.approx(0.8 / math.sqrt(2))
    ledger.end(ONE)
    ledger.close()
    assert Ledger(path, KEY).accounts.spent("training")[0] == mu
    assert lines(path)[-1] == "close"


def test_an_owner_can_end_a_run_that_was_given_up(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    ledger.end(ONE)
    assert ledger.accounts.spent("training")[0] == pytest.approx(0.25)
    with refused("run"):
        tell(ledger, ONE, 2)


@pytest.mark.parametrize("releases", [1, 2])
def test_results_of_runs_do_not_fill_the_disk(path: Path, releases: int) -> None:
    """Of runs that are over, and of such as are begun alone."""
    ledger = Ledger(path, KEY)
    for number in range(MAX_RUNS_OVER + 5):
        which = Run("hospital", f"run-{number}", "held_out")
        ledger.charge(which, 1, "x", Terms(releases, "r", 0.01, 0.01), None)
        ledger.answer(which, 1, b"numbers")
    assert len(list(results_of(path).iterdir())) in (MAX_RUNS_OVER, MAX_RUNS_OVER + 1)
    assert ledger.told(which, 1, "x") == b"numbers"
    with refused("one_release"):
        ledger.told(Run("hospital", "run-0", "held_out"), 1, "x")


def test_a_run_goes_on_as_it_was_admitted(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    for other in (
        Terms(4, "cd" * 32, 0.5, 0.8),
        Terms(5, "ab" * 32, 0.5, 0.8),
        Terms(4, "ab" * 32, 0.4, 0.8),
        Terms(4, "ab" * 32, 0.5, 0.9),
    ):
        with refused("run"):
            ledger.charge(ONE, 2, "x", other, MOST)


def test_two_nodes_cannot_keep_one_ledger(path: Path) -> None:
    with_it = Ledger(path, KEY)
    with pytest.raises(StorageError, match="another node keeps the privacy ledger"):
        Ledger(path, KEY)
    with_it.close()
    Ledger(path, KEY).close()


def forget(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"mu": 0.5', b'"mu": 0.1'))


def swap(path: Path) -> None:
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([second, first, *rest]))


def lose_anchor(path: Path) -> None:
    anchor_of(path).unlink()


def forge_anchor(path: Path) -> None:
    cut(path)
    other = ec.generate_private_key(ec.SECP256R1())
    anchor_of(path).write_bytes(make_anchor(Place(), _now(), other, "privacy ledger"))


def anchor_of_the_audit_log(path: Path) -> None:
    path.write_bytes(b"")
    anchor_of(path).write_bytes(make_anchor(Place(), _now(), KEY))


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


@pytest.mark.parametrize(
    "harm",
    [forget, cut, change, swap, lose_anchor, forge_anchor, anchor_of_the_audit_log],
)
def test_a_ledger_that_is_not_as_it_was_left_is_refused(path: Path, harm: Any) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    ledger.close()
    harm(path)
    with pytest.raises(StorageError, match="is not as this node left it"):
        Ledger(path, KEY)


def test_a_copied_back_ledger_is_refused(path: Path, tmp_path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    copy = shutil.copy(path, tmp_path / "copy")
    tell(ledger, ONE, 2)
    ledger.close()
    shutil.copy(copy, path)
    with pytest.raises(StorageError, match="it had 5 lines"):
        Ledger(path, KEY)


def test_a_line_that_a_crash_cut_short_was_never_acted_on(path: Path) -> None:
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    ledger.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 4, "what": "charge", "wh')
    again = Ledger(path, KEY)
    assert path.read_bytes() == whole
    assert again.told(ONE, 2, "x") is None


def test_a_line_of_a_later_version_is_no_reason_to_forget(path: Path) -> None:
    ledger = Ledger(path, KEY)
    assert ledger._file is not None
    ledger._file.append({"what": "gift", "who": "x", "run": "y", "part": "training"})
    ledger.close()
    with pytest.raises(StorageError, match="is not as this node left it"):
        Ledger(path, KEY)


RESERVED = {**ONE._asdict(), "what": "reserve", "releases": 4, "recipe": "r", "mu": 1, "alone": 1}


@pytest.mark.parametrize(
    "lines",
    [
        [RESERVED, RESERVED],
        [{**RESERVED, "what": "charge", "round": 1, "inputs": "x"}],  # of no run that was reserved
        [RESERVED, {**RESERVED, "what": "gift"}],
        [RESERVED, {**RESERVED, "what": "charge"}],
        [{**RESERVED, "who": []}],
    ],
)
def test_lines_that_cannot_follow_each_other_are_no_accounts(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever is wrong with them
        Accounts(lines)
    assert Accounts(lines[:-1]).runs.keys() <= {ONE}


def test_without_a_place_to_write_nothing_is_charged(path: Path) -> None:
    ledger = Ledger(path, KEY)
    anchor_of(path).unlink()
    with pytest.raises(StorageError):
        ledger.charge(ONE, 1, "x", TERMS, MOST)
    assert ledger.accounts.runs == {}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_ledger_that_was_replaced_under_the_node_charges_nothing(
    path: Path, tmp_path: Path, is_there: bool
) -> None:
    """Its lock is on the file that is gone: at the path another node could begin from a copy."""
    ledger = Ledger(path, KEY)
    tell(ledger, ONE, 1)
    path.rename(tmp_path / "aside")
    if is_there:
        shutil.copy(tmp_path / "aside", path)
    with pytest.raises(StorageError):
        ledger.charge(ONE, 2, "x", TERMS, MOST)
    assert list(ledger.accounts.runs[ONE].charged) == [1]


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked, in whatever order, with restarts: what was told is within the budget."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = Path(tempfile.mkdtemp())
        self.told: dict[tuple[Run, int], bytes] = {}

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger(self.folder / LEDGER, KEY)

    runs = st.builds(Run, st.sampled_from("ab"), st.sampled_from("xyz"), st.just("training"))

    @rule(which=runs, number=st.integers(1, 5), inputs=st.sampled_from("pq"), crash=st.booleans())
    def ask(self, which: Run, number: int, inputs: str, crash: bool) -> None:
        try:
            again = self.ledger.told(which, number, inputs)
            if again is not None:
                assert again == self.told[which, number]
                return
            self.ledger.charge(which, number, inputs, TERMS, MOST)
        except BudgetRefused:
            return
        if crash:
            self.restart()
            return
        data = f"{which} {number} {inputs} {len(self.told)}".encode()
        self.ledger.answer(which, number, data)
        assert (which, number) not in self.told
        self.told[which, number] = data

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.folder / LEDGER, KEY)

    @invariant()
    def no_more_was_told_than_is_spent(self) -> None:
        if not hasattr(self, "ledger"):
            return
        told = math.sqrt(sum(TERMS.mu**2 / TERMS.releases for _ in self.told))
        spent, _ = self.ledger.accounts.spent("training")
        assert told <= spent * (1 + 1e-9)
        assert spent <= MOST * (1 + 1e-9)

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
