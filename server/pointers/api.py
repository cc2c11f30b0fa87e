"""PySyft's own API against nodes, from a Python session or a notebook.

    from server.pointers import connect     # makes `syft` importable on today's stack
    import syft as sy, torch

    hook = sy.TorchHook(torch)
    bob = connect("bob=wss://10.0.0.7:8777")
    x = torch.tensor([1.0, 2.0]).send(bob)
    (x + x).get()

From there on everything is PySyft's; docs/tutorial.md walks through it. The owner must have started
the node with `--allow pointers`.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from server.nodes.addresses import NodeAddress, check_protected, parse_node
from server.nodes.dial import dial
from server.pointers.client import PointerClient
from shared.identity.folder import DEFAULT
from shared.model.recipe import Recipe, load_recipe

Answer = TypeVar("Answer")


def connect(
    node: str,
    recipe: str = "tutorial",
    seed: int | None = None,
    pipeline: bool = True,
    identity: Path = DEFAULT,
    insecure: bool = False,
) -> PointerClient:
    """A worker of PySyft's that is a data owner's node.

    Args:
        node: its id and address, for example "bob=wss://10.0.0.7:8777".
        recipe: a recipe's name or file: how the owner's messages become the tensors that
            `worker.search("#train")` and `worker.search("#test")` find.
        seed: of what the node draws, for dropout; None draws a new one.
        pipeline: False waits for each operation by itself, which is slow and changes no number.
        identity: the coordinator's identity folder, for nodes that are dialled with TLS.
        insecure: True dials a ws:// address of another machine, without TLS.

    Raises:
        UsageError: the address or the recipe is none, or TLS is missing. IdentityError: the
        identity folder is unfit. NodeUnreachable, HandshakeRefused: no such node. PolicyRefused:
        its owner does not allow pointers.
    """
    rules, address = load_recipe(recipe), _address(node, insecure)
    seed = secrets.randbelow(2**63) if seed is None else seed
    opening = open_worker(address, rules, seed, pipeline, identity)
    return asyncio.run_coroutine_threadsafe(opening, _loop()).result()


def connect_shared(
    node: str,
    pipeline: bool = True,
    identity: Path = DEFAULT,
    insecure: bool = False,
) -> PointerClient:
    """A worker of PySyft's that holds shares, or makes triples, and none of its owner's rows.

    See docs/encrypted.md. Arguments and errors are those of `connect`; the owner must have allowed
    the mode "shared" to this coordinator by name.
    """
    address = _address(node, insecure)
    opening = _open(address, PointerClient.open_shared, pipeline, identity)
    return asyncio.run_coroutine_threadsafe(opening, _loop()).result()


def disconnect(worker: PointerClient) -> None:
    """Ends the session; the node forgets what it held for it."""
    worker.leave()
    asyncio.run_coroutine_threadsafe(worker.link.close(), _loop()).result()


def dial_workers(
    nodes: Sequence[str], pipeline: bool, identity: Path, insecure: bool
) -> list[PointerClient]:
    """Nodes that were dialled, and of which none has a session yet; all or none.

    Raises as `connect` does.
    """
    workers: list[PointerClient] = []
    try:
        for node in nodes:
            address = _address(node, insecure)
            workers.append(in_loop(_open(address, _begin_nothing, pipeline, identity)))
    except BaseException:
        close_workers(workers)
        raise
    return workers


def close_workers(workers: Sequence[PointerClient]) -> None:
    """Disconnects each."""
    for one in workers:
        disconnect(one)


async def _begin_nothing(worker: PointerClient) -> None:
    pass


def in_loop(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs a coroutine in the event loop of the links, and waits for it."""
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


async def open_worker(
    address: NodeAddress,
    recipe: Recipe,
    seed: int,
    pipeline: bool = True,
    identity: Path = DEFAULT,
) -> PointerClient:
    """Connects and opens a session, in the event loop that the link is to run in."""
    return await _open(address, lambda worker: worker.open(recipe, seed), pipeline, identity)


async def _open(
    address: NodeAddress,
    begin: Callable[[PointerClient], Awaitable[None]],
    pipeline: bool,
    identity: Path,
) -> PointerClient:
    link = await dial(address, identity)
    try:
        worker = PointerClient(address.id, link, pipeline)
        try:
            await begin(worker)
        except BaseException:
            worker.leave()
            raise
    except BaseException:
        await link.close()
        raise
    return worker


def _address(node: str, insecure: bool) -> NodeAddress:
    address = parse_node(node)
    for warning in check_protected([address], insecure):
        warnings.warn(warning, stacklevel=3)
    return address


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own, for as long as the process lasts."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="fedsms-links", daemon=True).start()
    return loop
