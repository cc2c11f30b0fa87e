"""A process that tells releases, to be killed: `python -m tests.worker_node.privacy.telling PATH`.

It asks its ledger as a node does, a run after the other, draws noise, and prints what it tells once
it may leave: run, number and the digest of the numbers. Told before, it is told again.
"""

from __future__ import annotations

import hashlib
import sys
from itertools import count
from pathlib import Path

from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.ledger import BudgetRefused, Ledger
from worker_node.training.noise import gaussian

TERMS = Terms(releases=3, recipe="ab" * 32, mu=0.5, alone=0.5)
MOST = 4.0


def main(path: Path) -> None:
    ledger = Ledger(path)
    print("begun", flush=True)
    for name in count():
        which = Run("hospital", f"run-{name}", "training")
        for number in range(1, TERMS.releases + 1):
            try:
                data = ledger.told(which, number, "x")
                if data is None:
                    ledger.charge(which, number, "x", TERMS, MOST)
                    data = gaussian(2.0**20, 4096).tobytes()
                    ledger.answer(which, number, data)
            except BudgetRefused as error:
                if error.rule == "epsilon":
                    return
                continue  # an older round, which the killed process told
            print(which.run, number, hashlib.sha256(data).hexdigest(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
