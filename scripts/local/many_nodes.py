"""Many owners' nodes in one process, each at a port of its own, for benchmarks of many.

    python scripts/local/many_nodes.py --shards FOLDER --node bob --node anne

They are the nodes of `python -m worker_node serve`, with the same wire and the same rules, but
share one training process, which takes their rows in turn. The folder is one that
scripts/split_data.py wrote. The addresses are printed as a line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from shared.cli import run
from shared.identity.folder import load
from worker_node.data.shard import Message, Shard, load_shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding
from worker_node.membership.admission import make_admission
from worker_node.node import DataOwnerNode
from worker_node.secure_aggregation.set_up import find_sums
from worker_node.serving.dialling import dialling
from worker_node.serving.door import Door
from worker_node.serving.listener import listening
from worker_node.training.handing_over import load_requests
from worker_node.training.trainer_process import OnEvent, TrainerProcess


@dataclass
class Pool:
    """One training process, and whose rows it holds."""

    process: TrainerProcess
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    holds: object = None


class SharedTrainer(TrainerProcess):
    """One owner's turn at the pool's training process."""

    def __init__(self, shard: Shard, pool: Pool) -> None:
        super().__init__(shard)
        self._pool = pool

    async def call(
        self, request: dict[str, Any], on_turn: Callable[[], None], on_progress: OnEvent
    ) -> dict[str, Any]:
        async with self._pool.turn:
            holds, self._pool.holds = self._pool.holds, None
            if holds is not self:
                for piece in load_requests(self._shard, None):
                    await self._pool.process.call(piece, _nothing, _ignore)
            answer = await self._pool.process.call(request, on_turn, on_progress)
            self._pool.holds = self  # not where it failed: then the process may be a new one
        return answer


def _nothing() -> None:
    """Loading needs no turn of its own."""


def _ignore(_: dict[str, Any]) -> None:
    """Loading makes no progress."""


def flipped(shard: Shard) -> Shard:
    """The shard with ham for spam and spam for ham in the rows that are trained on."""
    return replace(shard, train=tuple(Message(1 - row.label, row.text) for row in shard.train))


def read_shard(folder: Path, name: str) -> Shard:
    return load_shard(folder / f"{name}.train.tsv", held_out_file=folder / f"{name}.held-out.tsv")


@dataclass(frozen=True)
class Served:
    """A node of the process, and where it listens; "" where it dials."""

    node: DataOwnerNode
    url: str


@contextlib.asynccontextmanager
async def nodes_of(
    shards: Mapping[str, Shard],
    identities: Mapping[str, Path] | None = None,
    policies: Mapping[str, Policy] | None = None,
    dial: str = "",
) -> AsyncIterator[dict[str, Served]]:
    """Nodes in this process, by id.

    Args:
        identities: their identity folders; None serves without TLS.
        policies: of those that have another than the default one.
        dial: a coordinator's URL, which they dial; "" has them listen.
    """
    pool = Pool(TrainerProcess(next(iter(shards.values()))))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(pool.process.close)
        await pool.process.start()
        served = {}
        for name, given in shards.items():
            policy, folder = (policies or {}).get(name, Policy()), (identities or {}).get(name)
            shard = replace(given, most_scored=policy.most_scored_rows)
            counts = folder / "counts.json" if folder is not None else None
            sums = find_sums(Guarding(policy, counts=counts, identity=folder))
            trainer = SharedTrainer(shard, pool)
            node = DataOwnerNode(name, shard, trainer, guard=Guard(policy), sums=sums)
            admission = make_admission(load(folder, "node"), ()) if folder is not None else None
            if dial:
                await stack.enter_async_context(dialling(Door(node, admission), [dial]))
                served[name] = Served(node, "")
            else:
                where = listening(node, "127.0.0.1", 0, admission)
                served[name] = Served(node, await stack.enter_async_context(where))
        yield served


async def serve(
    shards: Mapping[str, Shard],
    identities: Mapping[str, Path] | None,
    policies: Mapping[str, Policy],
) -> None:
    """Serves until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with nodes_of(shards, identities, policies) as served:
        click.echo(json.dumps({name: one.url for name, one in served.items()}))
        await stop.wait()


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--shards", required=True, type=click.Path(path_type=Path))
@click.option("--node", "names", multiple=True, required=True)
@click.option(
    "--identities",
    type=click.Path(path_type=Path),
    help="Folder with an identity folder for each node, by its name; the nodes then serve by TLS.",
)
@click.option("--fewest-owners", default=3, help="In a secure sum, as the nodes' policy says.")
def main(shards: Path, names: tuple[str, ...], identities: Path | None, fewest_owners: int) -> None:
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("syft").setLevel(logging.WARNING)
    folders = {name: identities / name for name in names} if identities is not None else None
    policy = Policy.model_validate({"secure_aggregation": {"fewest_owners": fewest_owners}})
    found = {name: read_shard(shards, name) for name in names}
    asyncio.run(serve(found, folders, dict.fromkeys(names, policy)))


if __name__ == "__main__":
    run(main, "python scripts/local/many_nodes.py")
