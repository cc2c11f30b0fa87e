"""What the process of one pointer session does, from its first message to its end.

Whatever ends it, an operation's signal, a limit, or the node that closes the line, ends this
session and nothing else.
"""

from __future__ import annotations

import gc
import socket
import warnings
from typing import Any

import torch

from shared.errors import FedsmsError, NodeFailed, PolicyRefused
from shared.pysyft import BaseDataset, ObjectMessage, VirtualWorker, make_hook, restrict_decoder
from shared.wire.frames import MalformedFrame
from worker_node.pointers.channel import Said, pack, receive, send, unpack
from worker_node.pointers.limits import at_most, fill_memory, leave_no_core, limit_memory
from worker_node.pointers.rows import TaggedTensor, unpack_rows
from worker_node.pointers.sealed_operations import part_of
from worker_node.pointers.sealed_session import SealedSession
from worker_node.pointers.session import PointerSession

_TENSORS = (torch.Tensor, torch.nn.Parameter, BaseDataset)
_PLAIN = (dict, list, set, str, tuple)


class _Decoder(VirtualWorker):
    """Reads and writes what PySyft serialises; nobody can reach it."""

    joins_registry = False
    crypto_plans = False


def make_decoder() -> Any:
    """A worker for PySyft's serialisation, which accepts what pointers are sent to alone."""
    decoder = _Decoder(make_hook(), id="pointers")
    restrict_decoder(decoder, (ObjectMessage, *_TENSORS, *_PLAIN))
    return decoder


class Child:
    """One session's end of the line."""

    def __init__(self, line: socket.socket, decoder: Any) -> None:
        self._line = line
        self._decoder = decoder

    def run(self) -> None:
        """Serves until the node closes the line."""
        first = receive(self._line)
        if first is None:
            return
        settings = unpack(first[1])
        warnings.simplefilter("ignore")  # of torch's, once for each operation of a stranger's
        leave_no_core()
        fill_memory()
        torch.set_num_threads(settings["threads"])
        rows = unpack_rows(settings.pop("rows"))
        gradients = settings["gradients"]
        load = (lambda: rows) if gradients else self._rows
        if settings.get("sealed") is None:
            session = PointerSession(
                self._decoder, rows, load, settings["seed"], gradients, self._take
            )
        else:
            part = part_of(settings.pop("sealed"))
            session = SealedSession(self._decoder, part, self._learned, self._take)
        del first
        gc.collect()
        limit_memory(settings["megabytes"])
        send(self._line, Said.DONE, pack((False, None)))
        while (message := receive(self._line)) is not None:
            with at_most(settings["seconds"]):
                self._serve(session, *message)

    def _serve(self, session: PointerSession, said: Said, payload: bytes) -> None:
        try:
            if said is Said.SUMMARISE:
                answer: Any = session.summarise(*unpack(payload))
            else:
                answer = session.handle(payload)
        except MalformedFrame as error:
            send(self._line, Said.MALFORMED, str(error).encode())
        except FedsmsError as error:
            is_refusal = isinstance(error, PolicyRefused)
            words = (error.fact, error.cause, error.next_step)
            send(self._line, Said.FAILED, pack((session.is_counted, is_refusal, *words)))
        else:
            if said is not Said.POST:
                send(self._line, Said.DONE, pack((session.is_counted, answer)))

    def _rows(self) -> list[TaggedTensor]:
        send(self._line, Said.NAMED)
        answer = receive(self._line)
        if answer is None:
            raise SystemExit
        return unpack_rows(unpack(answer[1]))

    def _learned(self, first: int, spam: list[float]) -> None:
        send(self._line, Said.LEARNED, pack((first, spam)))

    def _take(self, bits: int) -> None:
        send(self._line, Said.TAKE, pack(bits))
        answer = receive(self._line)
        if answer is None:
            raise SystemExit
        if answer[0] is Said.REFUSED:
            is_refusal, *words = unpack(answer[1])
            raise (PolicyRefused if is_refusal else NodeFailed)(*words)
