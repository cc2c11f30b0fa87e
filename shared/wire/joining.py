"""What is said when somebody joins by an invitation: two questions, each over its own connection.

Both go to JOIN_PATH of the coordinator's port, as msgpack maps. First, to whoever answers, `{}`:
the answer has the federation's CA, which must have the fingerprint of the invitation. Then, to one
whom that CA calls a coordinator, the request with the invitation's secret.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.identity.folder import MAX_ANSWER_BYTES
from shared.identity.invitation import ID_PATTERN, SECRET_PATTERN
from shared.wire.commands import WireTable

JOIN_PATH = "/join"
MAX_PEM = 32_768
"""Characters of a request, and of a CA's certificate."""
MAX_ERROR = 2**16
"""Bytes of an error."""


class JoinQuestion(WireTable):
    """invitation: its id. request: a signing request in PEM."""

    invitation: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
    secret: Annotated[str, Field(pattern=f"^{SECRET_PATTERN}$", repr=False)]
    request: Annotated[str, Field(max_length=MAX_PEM)]


class CaAnswer(WireTable):
    """ca: the federation's CA in PEM."""

    ca: Annotated[str, Field(max_length=MAX_PEM)]


class JoinAnswer(WireTable):
    """answer: what `admit` writes. error: an error as frames carry it. One of them is empty."""

    answer: Annotated[str, Field(max_length=MAX_ANSWER_BYTES)] = ""
    error: Annotated[bytes, Field(max_length=MAX_ERROR)] = b""
