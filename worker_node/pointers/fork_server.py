"""Makes the processes of pointer sessions: one that has imported torch and PySyft, and forks.

    python -m worker_node.pointers.fork_server FD

Importing takes seconds, forking some milliseconds. It takes orders over the socket FD, one byte
with two sockets: the line of a new session, and one for its end. When the node closes the second,
or ends, the session's process is killed; when the process ends, its exit code is written there,
below 0 for a signal. This process itself runs no operation and has no rows.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import struct
import sys

from worker_node.pointers.child import Child, make_decoder

EXIT_CODE = struct.Struct("<i")


class ForkServer:
    """Args: orders: where the node asks for processes."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._decoder = make_decoder()
        self._ends: dict[int, socket.socket] = {}  # by process
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Until the node closes the line of orders; then all processes end."""
        woken, waking = socket.socketpair()
        for one in (woken, waking):
            one.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the byte that it writes is what counts
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._orders, selectors.EVENT_READ)
        self._selector.register(woken, selectors.EVENT_READ)
        gc.collect()
        gc.freeze()  # the pages of what was imported stay shared
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._orders:
                    if not self._order():
                        return
                elif key.fileobj is woken:
                    woken.recv(4096)
                else:
                    self._kill(key.data)
            self._reap()

    def close(self) -> None:
        signal.set_wakeup_fd(-1)  # its socket goes before the last process does
        for process in self._ends:
            os.kill(process, signal.SIGKILL)

    def _order(self) -> bool:
        """Starts a process; False where the node is gone."""
        data, sockets, _, _ = socket.recv_fds(self._orders, 1, 2)
        if not data:
            return False
        line, end = (socket.socket(fileno=one) for one in sockets)
        process = os.fork()
        if not process:
            self._become(line)
        line.close()
        self._ends[process] = end
        self._selector.register(end, selectors.EVENT_READ, process)
        return True

    def _become(self, line: socket.socket) -> None:
        """What a new process does; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for other in (self._orders, *self._ends.values()):
                other.close()
            line.setblocking(True)
            Child(line, self._decoder).run()
            code = 0
        except (MemoryError, ConnectionError):
            pass
        finally:
            os._exit(code)

    def _kill(self, process: int) -> None:
        """The node needs it no more. Its id is its own until it is reaped."""
        self._selector.unregister(self._ends[process])
        os.kill(process, signal.SIGKILL)

    def _reap(self) -> None:
        while self._ends:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            end = self._ends.pop(process)
            if end in self._selector.get_map():
                self._selector.unregister(end)
            with contextlib.suppress(OSError):  # the node may have closed it
                end.send(EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))
            end.close()


def main() -> None:
    server = ForkServer(socket.socket(fileno=int(sys.argv[1])))
    try:
        server.run()
    finally:
        server.close()


if __name__ == "__main__":
    main()
