"""What a secure sum costs at each side: `scripts/benchmark.py secure-aggregation`.

Owners and coordinator in one process hand each other the bytes of the protocol, without sockets.
The reference of the same run is the plain sum: what it takes to add a result, and a dense state of
4 bytes a number. Every sum is compared with the plain one, byte for byte.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median

import click
import numpy as np
from cryptography.hazmat.primitives.serialization import Encoding

from server.aggregation.aggregators import FedAvg
from server.authority.folder import make_authority
from server.secure_aggregation.aggregation import Aggregation
from shared.identity.certificates import Name, certificate_from_pem, crl_from_pem, new_key
from shared.model.vectors import Vector
from shared.secure_aggregation.contents import TrainingSum, encode_training, training_numbers
from shared.secure_aggregation.messages import Context
from shared.secure_aggregation.roster import threshold
from shared.secure_aggregation.trust import Signer, Trust
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory
from worker_node.secure_aggregation.owner import Owner
from worker_node.secure_aggregation.terms import Terms

KEYS_AND_SHARES = ("keys", "share", "receive")
UNMASKING = ("agree", "open")


@dataclass
class Costs:
    """Processor milliseconds by side and step, one a call; bytes that an owner sends and gets."""

    spent: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    up: dict[str, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)
    same_bytes: bool = False

    @contextmanager
    def measured(self, side: str, step: str) -> Iterator[None]:
        start = time.thread_time()
        yield
        self.spent[side, step].append(1000 * (time.thread_time() - start))

    def of_one(self, *steps: str) -> float:
        """Milliseconds that an owner spends with some steps: medians, added."""
        return sum(median(self.spent["owner", step]) for step in steps)

    def of_all(self, *steps: str) -> float:
        """Milliseconds that the coordinator spends with some steps, for all owners together."""
        return sum(sum(self.spent["coordinator", step]) for step in steps)


@click.command("secure-aggregation")
@click.option("--numbers", type=click.IntRange(1), default=401_665, show_default=True)
@click.option("--owners", type=click.IntRange(2, 100), multiple=True, default=(2, 10, 30, 100))
def secure_aggregation(numbers: int, owners: tuple[int, ...]) -> None:
    """Milliseconds of processor and kilobytes of a secure sum, for an owner and the coordinator."""
    click.echo(f"{numbers:,} numbers; an owner's columns are medians, the coordinator's are totals")
    click.echo(
        "owners lost | owner ms: keys+shares masking unmasking | coordinator ms: keys+shares "
        "adding opening | kB up: keys+shares+unmasking vector | kB down | up/dense | plain add ms "
        "| same"
    )
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        signers = make_signers(Path(scratch), max(owners))
        for count in owners:
            for lost in sorted({0, min(count - threshold(count), max(1, count // 20))}):
                click.echo(_line(count, lost, numbers, one_sum(signers[:count], lost, numbers)))


def make_signers(folder: Path, count: int) -> list[Signer]:
    """Owners with certificates of one new CA, sorted by id."""
    authority, _ = make_authority(folder / "authority")
    trust = Trust(authority.ca, crl_from_pem(authority.crl()))
    signers = []
    for number in range(count):
        key, name = new_key(), f"o{number:03}"
        issued = authority.issue(Name("node", name), key.public_key(), days=1)
        der = certificate_from_pem(issued.pem.encode()).public_bytes(Encoding.DER)
        signers.append(Signer(name, key, der, trust))
    return signers


def one_sum(signers: list[Signer], lost: int, numbers: int) -> Costs:
    """One training's sum, of which the last owners are lost after they dealt their shares."""
    costs, rng = Costs(), np.random.default_rng(len(signers))
    digest = sha256(b"benchmark").digest()
    context = Context(
        run="benchmark", round=1, rounds=1, sum="training", state=digest, recipe=digest
    )
    coordinator = Aggregation(context, signers[0].trust, training_numbers(numbers))
    owners = _shared(signers, context, coordinator, costs)
    plain = FedAvg(np.zeros(numbers, np.float32))
    for name in list(owners)[: len(owners) - lost]:
        state: Vector = rng.normal(scale=0.1, size=numbers).astype(np.float32)
        with costs.measured("plain", "add"):
            plain.add(name, state, 100)
        with costs.measured("owner", "mask"):
            masked = owners[name].mask(encode_training(state, 100, 0.1))
        costs.up["vector"] = len(masked)
        with costs.measured("coordinator", "add"):
            coordinator.take_masked(name, masked)
    with costs.measured("coordinator", "open"):
        proposal = coordinator.make_proposal()
    costs.down["proposal"] = len(proposal)
    survivors = dict(list(owners.items())[: len(owners) - lost])
    _unmask(survivors, coordinator, proposal, costs)
    with costs.measured("coordinator", "open"):
        found = TrainingSum.decode(coordinator.result())
    costs.same_bytes = found.state.tobytes() == plain.finish().state.tobytes()
    return costs


def _shared(
    signers: list[Signer], context: Context, coordinator: Aggregation, costs: Costs
) -> dict[str, Owner]:
    """The owners, once keys and shares were exchanged."""
    owners = {}
    terms = Terms(fewest_owners=2, dropouts=1)
    for signer in signers:
        with costs.measured("owner", "keys"):
            owners[signer.id] = Owner(signer, context, terms, RoundsInMemory())
        keys = owners[signer.id].keys()
        with costs.measured("coordinator", "keys"):
            coordinator.take_keys(signer.id, keys)
        costs.up["keys"] = len(keys)
    roster = coordinator.make_roster()
    costs.down["roster"] = len(roster)
    for name, owner in owners.items():
        with costs.measured("owner", "share"):
            dealt = owner.share(roster)
        with costs.measured("coordinator", "share"):
            coordinator.take_dealt(name, dealt)
        costs.up["shares"] = len(dealt)
    for name, owner in owners.items():
        delivery = coordinator.make_delivery(name)
        with costs.measured("owner", "receive"):
            owner.receive(delivery)
        costs.down["shares"] = len(delivery)
    return owners


def _unmask(
    survivors: dict[str, Owner], coordinator: Aggregation, proposal: bytes, costs: Costs
) -> None:
    def all_do(step: str, do: Callable[[Owner], bytes], take: Callable[[str, bytes], None]) -> None:
        for name, owner in survivors.items():
            with costs.measured("owner", step):
                sent = do(owner)
            costs.up[step] = len(sent)
            with costs.measured("coordinator", "open"):
                take(name, sent)

    all_do("agree", lambda owner: owner.agree(proposal), coordinator.take_statement)
    agreement = coordinator.make_agreement()
    costs.down["agreement"] = len(agreement)
    all_do("open", lambda owner: owner.open(agreement), coordinator.take_opening)


def _line(count: int, lost: int, numbers: int, costs: Costs) -> str:
    vector = costs.up["vector"]
    around = sum(costs.up.values()) - vector
    return (
        f"{count:6} {lost:4} | {costs.of_one(*KEYS_AND_SHARES):7.1f} {costs.of_one('mask'):7.1f} "
        f"{costs.of_one(*UNMASKING):7.1f} | {costs.of_all('keys', 'share'):7.1f} "
        f"{costs.of_all('add'):7.1f} {costs.of_all('open'):7.1f} | {around / 1000:7.1f} "
        f"{vector / 1000:7.1f} | {sum(costs.down.values()) / 1000:7.1f} | "
        f"{(around + vector) / (4 * numbers):5.3f} | {median(costs.spent['plain', 'add']):5.1f} | "
        f"{'yes' if costs.same_bytes else 'NO'}"
    )
