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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from shared.cli import run
from worker_node.data.shard import Message, Shard, load_shard
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
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
                await self._pool.process.call(self._load_request(), _nothing, _ignore)
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


async def serve(shards: dict[str, Shard]) -> None:
    """Serves until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pool = Pool(TrainerProcess(next(iter(shards.values()))))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(pool.process.close)
        await pool.process.start()
        urls = {}
        for name, shard in shards.items():
            node = DataOwnerNode(name, shard, SharedTrainer(shard, pool))
            urls[name] = await stack.enter_async_context(listening(node, "127.0.0.1", 0))
        click.echo(json.dumps(urls))
        await stop.wait()


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--shards", required=True, type=click.Path(path_type=Path))
@click.option("--node", "names", multiple=True, required=True)
def main(shards: Path, names: tuple[str, ...]) -> None:
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("syft").setLevel(logging.WARNING)
    asyncio.run(serve({name: read_shard(shards, name) for name in names}))


if __name__ == "__main__":
    run(main, "python scripts/local/many_nodes.py")
