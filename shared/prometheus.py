"""Figures for Prometheus: served as text at an address of this machine, to whoever fetches them.

    GET /metrics    https://prometheus.io/docs/instrumenting/exposition_formats/

On the loopback interface it answers under that interface's own names alone, so that no page of a
browser reads along under another name that resolves to it (DNS rebinding). Elsewhere it answers
everybody who reaches the port: it proves nothing, and asks for nothing.
"""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from shared.errors import UsageError, describe_os_error
from shared.extras import check_extra
from shared.quoting import escaped
from shared.wire.transport import is_loopback

if TYPE_CHECKING:  # whoever wants no metrics needs no package for them
    from prometheus_client import CollectorRegistry

LOOPBACK = "127.0.0.1"
OTHERS = "(others)"
MAX_NAME = 100
"""Characters of a name that a peer chose."""
PATIENCE = 10.0
"""Seconds for a request to come, and for an answer to be taken."""

Application = Callable[[Mapping[str, Any], Any], Iterable[bytes]]


@dataclass(frozen=True)
class Place:
    """Where metrics are served; port 0 takes a free one."""

    host: str
    port: int


def parse_place(text: str) -> Place:
    """A port, or host and port. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or (colon and not host):
        raise UsageError(
            f'--metrics "{escaped(text, MAX_NAME)}" is no port',
            next_step="Give a port such as 9100, or host and port such as 0.0.0.0:9100.",
        )
    return Place(host or LOOPBACK, int(port))


def check_installed() -> None:
    """Imports nothing. Raises UsageError, which says how to get it, where the package is absent."""
    check_extra("--metrics", "prometheus_client", "metrics")


def new_registry() -> CollectorRegistry:
    """One with the figures of this process: its memory, processor time and open files.

    Raises UsageError where the package is absent.
    """
    check_installed()
    from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


@contextmanager
def serving_metrics(
    registry: CollectorRegistry, place: Place, told: Callable[[str], object]
) -> Iterator[None]:
    """Answers for as long as the context lasts, in threads of its own.

    Args:
        told: given the address.

    Raises:
        UsageError: nothing can listen there.
    """
    from prometheus_client import make_wsgi_app

    plain = make_wsgi_app(registry)
    try:
        server = _Server(place)
    except (OSError, OverflowError) as error:
        why = describe_os_error(error) if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"metrics cannot be served at {place.host}:{place.port}",
            why,
            "Give another port with --metrics; 0 takes a free one.",
        ) from error
    host = f"[{place.host}]" if ":" in place.host else place.host
    port = server.server_address[1]
    names = {f"{name}:{port}" for name in (host, "localhost")}
    server.set_app(_only(plain, names if is_loopback(place.host) else None))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        told(f"http://{host}:{port}/metrics")
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Names:
    """Names that others chose, as values of a label: escaped, cut, and only so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def of(self, name: str) -> str:
        """The label's value; OTHERS for a name that is new when there are as many as may be."""
        shown = escaped(name, MAX_NAME)
        if shown not in self._known:
            if len(self._known) >= self._most:
                return OTHERS
            self._known.add(shown)
        return shown


def amount(value: float | None) -> float:
    """What a counter may be increased by; 0 for a claim that is no such amount."""
    return value if value is not None and math.isfinite(value) and value > 0 else 0.0


def _only(plain: Any, names: set[str] | None) -> Application:
    """Args: names: under which alone it answers; None: all."""

    def answer(asked: Mapping[str, Any], begin: Any) -> Iterable[bytes]:
        if names is not None and asked.get("HTTP_HOST") not in names:
            begin("403 Forbidden", [("Content-Type", "text/plain")])
            return [b""]
        if asked.get("PATH_INFO") != "/metrics" or asked.get("REQUEST_METHOD") != "GET":
            begin("404 Not Found", [("Content-Type", "text/plain")])
            return [b""]
        found: Iterable[bytes] = plain(asked, begin)
        return found

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: Place) -> None:
        if ":" in place.host:
            self.address_family = socket.AF_INET6
        super().__init__((place.host, place.port), _Handler)

    def server_bind(self) -> None:
        """Without asking a name server what this machine is called, as wsgiref's would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up: nothing to tell."""


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - its name
        """Each scrape would be a line."""
