"""An invitation: the one line that a coordinator's owner sends to a data owner.

    fedsms:bob@coordinator.example:8770/FINGERPRINT/ID.SECRET

It says who may join, where the coordinator listens, by which CA it is known (SHA-256 of the CA's
certificate, 64 hexadecimal digits), and holds a secret of 128 bits that works once. ID, of 64 bits,
names the invitation, so that who does not have the line cannot use up its tries.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from shared.errors import UsageError
from shared.identity.names import NODE_ID_PATTERN
from shared.quoting import quoted

SCHEME = "fedsms:"
COMMAND = "python -m worker_node join "
"""What `invite` prints before it: whoever copies the whole line has it as well."""
ID_PATTERN = r"[A-Za-z0-9_-]{11}"
SECRET_PATTERN = r"[A-Za-z0-9_-]{22}"  # noqa: S105 - what secrets look like
MOST_PORT = 65_535
_PLACE = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"
_LINE = re.compile(
    rf"fedsms:(?P<node>{NODE_ID_PATTERN})@(?P<place>{_PLACE})"
    rf"/(?P<ca>[0-9a-f]{{64}})/(?P<id>{ID_PATTERN})\.(?P<secret>{SECRET_PATTERN})"
)


@dataclass(frozen=True)
class Invitation:
    """place: host and port of the coordinator. ca: fingerprint of the CA, without colons."""

    node: str
    place: str
    ca: str
    id: str
    secret: str = field(repr=False)

    @property
    def line(self) -> str:
        """All of it, the secret too."""
        return f"{SCHEME}{self.node}@{self.place}/{self.ca}/{self.id}.{self.secret}"

    @property
    def url(self) -> str:
        """Where the coordinator listens."""
        return f"wss://{self.place}"


def new_invitation(node: str, place: str, ca: str) -> Invitation:
    """Args: place: HOST:PORT. ca: fingerprint, with colons or without.

    Raises:
        UsageError: the node or the place cannot be one.
    """
    identifier, secret = secrets.token_urlsafe(8), secrets.token_urlsafe(16)
    made = Invitation(node, place, ca.replace(":", "").lower(), identifier, secret)
    number = int(place.rpartition(":")[2]) if _LINE.fullmatch(made.line) is not None else 0
    if not 1 <= number <= MOST_PORT:
        raise UsageError(
            f"{place!r} is no place that an owner could dial",
            next_step="Write HOST:PORT, such as coordinator.example:8770.",
        )
    return made


def parse_invitation(text: str) -> Invitation:
    """Raises UsageError, which never repeats the text: it may hold a secret."""
    line = text.strip().removeprefix(COMMAND).strip()
    if line[:1] == line[-1:] == "'":  # as a shell wants a line with brackets
        line = line[1:-1]
    found = _LINE.fullmatch(line)
    if found is None:
        raise UsageError(
            "this is no whole invitation",
            f"it has {len(text.strip())} characters, and one begins with {quoted(SCHEME)}",
            "Copy the whole line that the coordinator's owner sent, or ask for another.",
        )
    return Invitation(**found.groupdict())
