"""The audit log as text: one JSON object a line, each with the hash of the line before it.

    {"n": 7, "time": "2026-11-22T20:47:15.123456Z", "who": "hospital", "certificate": "AB:12:...",
     "address": "10.0.0.9:51234", "what": "train", "object": "41", "decision": "allowed",
     "detail": "round 3 of 15", "bytes_out": 213, "previous": "9f8e..."}

n counts from 1 over all files. certificate is "" where nothing proves who it was: then `who` is
what the other side called itself. `previous` is the SHA-256 of the line before, without its end.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

NOTHING = "0" * 64
"""`previous` of the first line of all."""
MAX_LINE_BYTES = 8192
AUDIT = "audit log"

Decision = Literal["began", "allowed", "refused", "failed"]
"""began: work that takes time was admitted, and another line tells how it ended. refused: a rule
said no. failed: it was allowed, and could not be done, or was malformed."""


@dataclass
class Entry:
    """What one line tells, but for its place in the log.

    what: the kind of request. object: the id it is about, as the coordinator gave it; "" for none.
    bytes_out: of the answer and of events before it, headers included.
    """

    what: str
    who: str = ""
    certificate: str = ""
    address: str = ""
    object: str = ""
    decision: Decision = "allowed"
    detail: str = ""
    bytes_out: int = 0


@dataclass(frozen=True)
class Place:
    """Where a log has got to: its last line's number and hash."""

    n: int = 0
    hash: str = NOTHING


def line_of(entry: Entry, after: Place, now: datetime) -> tuple[bytes, Place]:
    """The entry's line, with its end, and the place after it."""
    return chained({name: _cut(value) for name, value in asdict(entry).items()}, after, now)


def chained(values: dict[str, Any], after: Place, now: datetime) -> tuple[bytes, Place]:
    """A line of these values, with its end, and the place after it."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    numbered = {"n": after.n + 1, "time": stamp, **values, "previous": after.hash}
    body = json.dumps(numbered).encode("ascii")
    return body + b"\n", Place(after.n + 1, hashlib.sha256(body).hexdigest())


def _cut(value: Any) -> Any:
    return value[:300] if isinstance(value, str) else value


class BadLine(ValueError):
    """A line that cannot be what the node wrote at that place."""


def check_line(line: bytes, after: Place | None) -> tuple[dict[str, Any], Place]:
    """A line's values, and the place after it.

    Args:
        line: without its end.
        after: the place before; None takes whatever place the line says it has.

    Raises:
        BadLine: with what is wrong.
    """
    try:
        values = json.loads(line)
        n, previous = values["n"], values["previous"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadLine("it is no line of such a log") from None
    if type(n) is not int or type(previous) is not str:
        raise BadLine("it is no line of such a log")
    if after is not None and n != after.n + 1:
        raise BadLine(f"it is number {n}, and {after.n + 1} should stand here")
    if after is not None and previous != after.hash:
        raise BadLine("the line before it was changed, or this one")
    return values, Place(n, hashlib.sha256(line).hexdigest())


# The anchor: how far the log had got, signed, because a chain cannot tell that its end was cut off.


def make_anchor(
    place: Place, now: datetime, key: ec.EllipticCurvePrivateKey | None, of: str = AUDIT
) -> bytes:
    """Always of the same length for the same key, so that it can be written in place.

    Args:
        of: what is anchored: the anchor of one kind of log is none of another's.
    """
    values = {
        "lines": place.n,
        "hash": place.hash,
        "time": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    if key is not None:
        signature = key.sign(_signed(values, of), ec.ECDSA(hashes.SHA256()))
        values["signature"] = base64.b64encode(signature).decode()
    return json.dumps(values).encode().ljust(511) + b"\n"


def read_anchor(
    data: bytes, key: ec.EllipticCurvePublicKey | None, of: str = AUDIT
) -> tuple[Place, bool]:
    """How far the log had got, and whether `key` signed that.

    Raises BadLine where it is no anchor, or one without the signature of a key that is given.
    """
    try:
        values = json.loads(data)
        place = Place(values["lines"], values["hash"])
        if key is None:
            return place, False
        signature = base64.b64decode(values.pop("signature", ""), validate=True)
        key.verify(signature, _signed(values, of), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise BadLine("it lacks this node's signature") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadLine("it is no anchor of such a log") from None
    return place, True


def _signed(values: dict[str, Any], of: str) -> bytes:
    return f"fedsms {of}\n".encode() + json.dumps(values, sort_keys=True).encode()
