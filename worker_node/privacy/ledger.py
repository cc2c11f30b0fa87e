"""The ledger: a line before noise is drawn, and one before what it gave leaves; both on disk.

A node that is killed between the two has told nothing: asked again, it draws new noise, and charges
nothing new. After the second it answers from the stored result, the same bits to whoever asks
again. A result that is gone is not made again: the mean of two is less private than either.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from shared.files import is_present, make_folder, read_bytes, write_whole
from shared.model.recipe import Unit
from worker_node.privacy.accounts import Accounts, Reservation, Run, Terms
from worker_node.privacy.chain_file import ChainFile, damaged

LEDGER = "privacy.jsonl"
RESULTS = "privacy.results"
MAX_RUNS_OVER = 64
"""Runs that are over whose last result is kept, the newest ones; and of those that are not."""
_MOST_RESULT = 256 * 2**20
_ROUNDING = 1 + 1e-9


class BudgetRefused(ValueError):
    """The owner's budget does not allow a release.

    Args:
        rule: its name in the table `differential_privacy` of docs/privacy.md.
    """

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(why)
        self.rule = rule
        self.why = why


class Ledger:
    """One node's. Each method does its work on disk before it returns; not for two threads.

    Args:
        path: of the ledger; results are in a folder beside it. None keeps all of it in memory.
        key: the node's.

    Raises:
        StorageError: it is damaged, or another node's.
    """

    def __init__(
        self, path: Path | None = None, key: ec.EllipticCurvePrivateKey | None = None
    ) -> None:
        self._path = path
        self._file = ChainFile(path, key) if path is not None else None
        self._results: Path | None = None
        self._in_memory: dict[str, bytes] = {}
        try:
            self.accounts = Accounts(self._file.lines if self._file is not None else ())
            if path is not None:
                self._results = results_of(path)
                make_folder(self._results)
        except ValueError as error:
            self.close()
            raise damaged(path or Path(LEDGER), str(error)) from None
        except StorageError:
            self.close()
            raise

    @property
    def path(self) -> Path | None:
        return self._path

    def check(self, which: Run, terms: Terms, most: float | None, unit: Unit = "message") -> None:
        """Raises BudgetRefused where a run is not as it was reserved, or does not fit.

        Args:
            most: the largest mu for all runs together; None sets none.
            unit: of what that mu is.
        """
        known = self.accounts.runs.get(which)
        if known is not None:
            if known.terms != terms:
                raise BudgetRefused("run", "this run was admitted with another recipe or noise")
            return
        if most is None:
            return
        spent, more = self.accounts.spent(which.part, unit)[0], terms.mu_of(unit)
        if math.isinf(more):
            raise BudgetRefused("unit", "a run of unit message bounds nothing of an owner")
        if math.isinf(spent):
            raise BudgetRefused("unit", "runs of unit message were told before, without a bound")
        if spent**2 + more**2 > most**2 * _ROUNDING:
            raise BudgetRefused("epsilon", "")

    def told(self, which: Run, number: int, inputs: str) -> bytes | None:
        """What was told of this before; None where nothing was.

        Args:
            number: of the release in its run. inputs: digest of all that decides it but noise.

        Raises:
            BudgetRefused: another thing was told under this number, or it is gone.
        """
        known = self.accounts.runs.get(which)
        if known is None or number not in known.charged:
            return None
        if known.charged[number] != inputs:
            raise BudgetRefused(
                "one_release", "this round of the run was asked for before, from another state"
            )
        if number not in known.answered:
            return None
        data = self._stored(which, number)
        if data is None or _digest(data) != known.answered[number]:
            raise BudgetRefused("one_release", "this was told before, and is not stored any more")
        return data

    def charge(
        self,
        which: Run,
        number: int,
        inputs: str,
        terms: Terms,
        most: float | None,
        unit: Unit = "message",
    ) -> None:
        """Charges a release, and reserves its run where it is the first; raises as `check` does.

        Raises:
            BudgetRefused: the run has no such release. StorageError: it cannot be noted.
        """
        self.check(which, terms, most, unit)
        if self.told(which, number, inputs) is not None:
            raise ValueError("it was told already")
        if which not in self.accounts.runs:
            self._note("reserve", which, **vars(terms))
        known = self.accounts.runs[which]
        if number in known.charged:  # and not answered: nobody was told
            return
        if known.closed or not self._is_next(known, number):
            raise BudgetRefused("run", "this run is over, or has had a later round already")
        self._note("charge", which, round=number, inputs=inputs)

    def answer(self, which: Run, number: int, data: bytes) -> None:
        """Stores what a charged release gave; it may leave when this returns.

        Raises:
            BudgetRefused: another result of it may have left.
            StorageError: it cannot be kept, and may not leave.
        """
        if number in self.accounts.runs[which].answered:
            raise BudgetRefused("one_release", "this round of the run has been told")
        self._store(which, number, data)
        self._note("answer", which, round=number, told=_digest(data))
        known = self.accounts.runs[which]
        for old in known.answered:
            if old < number:  # who got the next round has this one
                self._forget(which, old)
        if number == known.terms.releases:
            self.end(which)
        self._forget_older_than(MAX_RUNS_OVER)

    def end(self, which: Run) -> None:
        """No more is told to a run: what it did not use comes back. Idempotent."""
        if self.accounts.runs[which].closed:
            return
        self._note("close", which)

    def close(self) -> None:
        """Lets the file go, for another node. Idempotent."""
        if self._file is not None:
            self._file.close()

    def _forget_older_than(self, newest: int) -> None:
        """Results of runs that are over, and of others: nobody fills the disk by beginning runs."""
        for over in (True, False):
            runs = [run for run, found in self.accounts.runs.items() if found.closed is over]
            for old in runs[-2 * newest : -newest]:  # those before them are gone
                self._forget(old, max(self.accounts.runs[old].answered, default=0))

    @staticmethod
    def _is_next(known: Reservation, number: int) -> bool:
        return max(known.charged, default=0) < number <= known.terms.releases

    def _note(self, what: str, which: Run, **values: Any) -> None:
        line = {"what": what, **which._asdict(), **values}
        if self._file is not None:
            self._file.append(line)
        self.accounts.take(line)

    def _store(self, which: Run, number: int, data: bytes) -> None:
        name = _name(which, number)
        if self._results is None:
            self._in_memory[name] = data
        else:
            write_whole(self._results / name, data, 0o600)

    def _stored(self, which: Run, number: int) -> bytes | None:
        name = _name(which, number)
        if self._results is None:
            return self._in_memory.get(name)
        path = self._results / name
        return read_bytes(path, _MOST_RESULT) if is_present(path) else None

    def _forget(self, which: Run, number: int) -> None:
        name = _name(which, number)
        self._in_memory.pop(name, None)
        if self._results is not None:
            (self._results / name).unlink(missing_ok=True)


def results_of(path: Path) -> Path:
    """The folder of stored results beside a ledger."""
    return path.with_name(path.name.removesuffix(LEDGER) + RESULTS)


def _name(which: Run, number: int) -> str:
    return hashlib.sha256(repr((*which, number)).encode()).hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
