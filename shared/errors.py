"""Every error that fedsms raises on purpose, and the exit code that each kind ends a command with.

FedsmsError                       1   anything else
├── UsageError                    2   a flag, a settings file or a recipe is wrong
├── DataError                     3   an owner's file of messages is missing, malformed or unfit
├── NodeUnreachable               4   nobody answers at the address, or the connection was lost
│   └── NodeTimeout               4   the node is there, but did not do it in the time it was given
├── HandshakeRefused              5   somebody answers, but it is not the peer we may work with
│   └── CertificateRefused        5   one side does not accept the certificate of the other
├── NodeFailed                    6   the node answered that it could not do what was asked
├── StorageError                  7   a run folder, a model or an identity cannot be written or read
├── IdentityError                 8   this side's own certificate, key, request or CA is unfit
├── QuorumLost                    9   too few nodes took part for too long; the run can be resumed
├── PolicyRefused                10   the owner's policy does not allow what was asked for
├── NotProven                    11   a passport or statement is unsigned, changed, or not as signed
└── Interrupted                 130   Ctrl-C; what was done is kept

Exit code 0 is success. Each error says what happened, why, and what to do next; what a program
may want to know stands in attributes, so nobody has to parse the text.
"""

from __future__ import annotations

import os


class FedsmsError(Exception):
    """Base of all errors of fedsms.

    Args:
        fact: what happened, one clause, without a final full stop.
        cause: why; "" when nothing more is known.
        next_step: what the reader can do now; "" when there is nothing to do.
    """

    exit_code = 1

    def __init__(self, fact: str, cause: str = "", next_step: str = "") -> None:
        super().__init__(fact, cause, next_step)
        self.fact = fact
        self.cause = cause
        self.next_step = next_step

    @property
    def words(self) -> str:
        """The fact, and the cause where one is known."""
        return f"{self.fact}: {self.cause}" if self.cause else self.fact

    def __str__(self) -> str:
        return f"{self.words}\n  {self.next_step}" if self.next_step else self.words


class UsageError(FedsmsError):
    """A flag, a settings file or a recipe is wrong."""

    exit_code = 2


class DataError(FedsmsError):
    """An owner's file of messages is missing, malformed or unfit for training."""

    exit_code = 3


class NodeUnreachable(FedsmsError):
    """Nobody answers at a node's address, or the connection to the node was lost."""

    exit_code = 4


class NodeTimeout(NodeUnreachable):
    """A node did not do something within the time that a setting gives it."""


class HandshakeRefused(FedsmsError):
    """A peer answers, but is not one that this side may work with (version, id, tokeniser)."""

    exit_code = 5


class CertificateRefused(HandshakeRefused):
    """One side does not accept the other's certificate, or does not work with whom it names."""


class NodeFailed(FedsmsError):
    """A node answered that it could not do what it was asked for."""

    exit_code = 6


class StorageError(FedsmsError):
    """A run folder, a model file or a file of an identity cannot be written or read."""

    exit_code = 7


class IdentityError(FedsmsError):
    """A certificate, key, request or CA here is missing, malformed, expired or does not fit.

    A peer's certificate that is unfit is a CertificateRefused.
    """

    exit_code = 8


class QuorumLost(FedsmsError):
    """Fewer nodes than a round needs took part, for longer than a run waits for them."""

    exit_code = 9


POLICY_ADVICE = (
    "Ask for less, or ask the node's owner to change policy.toml and start the node again."
)

PAUSE = "pause"
"""The rule of a PolicyRefused whose owner has the node wait; none of policy.toml."""


class PolicyRefused(FedsmsError):
    """An owner's policy.toml does not allow what a coordinator asked for.

    rule: name of the rule that says no; "" where whoever refused did not tell.
    """

    exit_code = 10
    rule = ""


class NotProven(FedsmsError):
    """A passport or statement does not hold: unsigned, changed since, another's, or of an unknown
    CA."""

    exit_code = 11


class Interrupted(FedsmsError):
    """The user stopped the command; what was done until then is kept."""

    exit_code = 130


def describe_os_error(error: OSError) -> str:
    """The system's words for an error, without Python's decoration around them."""
    import ssl  # whoever has an error of TLS has it loaded; files need none

    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):  # its errno is none of the system's
        return f"TLS failed ({error.reason or error})"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, ConnectionResetError):  # asyncio's own has no words
        return "the other side closed the connection"
    return error.strerror or str(error) or type(error).__name__


def one_line(error: FedsmsError) -> str:
    """An error's fact and cause without line breaks, for logs and records."""
    return " ".join(error.words.split())
