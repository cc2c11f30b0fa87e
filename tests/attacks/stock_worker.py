"""PySyft's own WebsocketServerWorker with two tensors of an owner's, for attacks to run against.

    python -m tests.attacks.stock_worker

The class is PySyft's, unmodified. It reads messages as PySyft 0.2.5 did on its own stack: with the
decompression that the sender names, and tensors by `torch.load`, which in 2020 knew no other way
than unpickling. The mends that make the package importable today stay. A test starts it as a child
process and ends it; it listens on the loopback interface and prints its port and its objects' ids.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import Any

import msgpack
import torch
from websockets.asyncio.server import serve

from shared.pysyft import make_hook, sy

ROWS = [[11, 12, 13], [21, 22, 23]]
LABELS = [0.0, 1.0]


def _unpack(binary: bytes, worker: Any = None) -> Any:
    return msgpack.loads(
        sy.serde.compression._decompress(binary), use_list=False, strict_map_key=False
    )


def _load(worker: Any, data: Any) -> Any:
    if isinstance(data, bytes):
        return torch.load(io.BytesIO(data), weights_only=False)
    return _plain(worker, data)


_plain = sy.serde.msgpack.torch_serde.torch_tensor_deserializer


async def main() -> None:
    hook = make_hook()
    sy.serde.msgpack.serde._deserialize_msgpack_binary = _unpack
    sy.serde.msgpack.torch_serde.torch_tensor_deserializer = _load
    rows: Any = torch.tensor(ROWS).tag("#inputs")  # type: ignore[attr-defined]
    labels: Any = torch.tensor(LABELS).tag("#labels")  # type: ignore[attr-defined]
    worker: Any = sy.WebsocketServerWorker(
        hook, "127.0.0.1", 0, id="bob", data=[rows, labels], loop=asyncio.get_running_loop()
    )
    # what its `start` does, in a loop that runs already
    async with serve(worker._handler, "127.0.0.1", 0, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(json.dumps({"port": port, "rows_id": rows.id, "labels_id": labels.id}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
