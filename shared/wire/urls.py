"""Addresses that connections are opened to, as users write them: `wss://host:8777`."""

from __future__ import annotations

from urllib.parse import urlsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from shared.errors import UsageError


def check_url(url: str, whose: str) -> str:
    """The URL as it is, or with wss:// where it is `host:port`.

    Args:
        whose: address it is, for the error.

    Raises:
        UsageError: it is none, or holds a password.
    """
    if "://" not in url and url.rpartition(":")[2].isdecimal():
        url = f"wss://{url}"
    if "@" in url:
        raise UsageError(
            f"the address of {whose} holds a name or a password",
            "both sides know each other by certificates, and an address ends up in logs",
            "Leave out what stands before the @.",
        )
    try:
        parse_uri(url)
        parts = urlsplit(url)
        valid = parts.hostname and parts.port is not None
    except (ValueError, InvalidURI):
        valid = False
    if not valid:
        raise UsageError(
            f"{url!r} is not the address of {whose}",
            next_step="An address looks like wss://host:8777, and without TLS ws://host:8777.",
        )
    return url


def is_secure(url: str) -> bool:
    """True where TLS is spoken there."""
    return urlsplit(url).scheme == "wss"


def endpoint_of(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def with_scheme(url: str, scheme: str) -> str:
    """The URL with "ws" or "wss" instead of its own scheme."""
    return urlsplit(url)._replace(scheme=scheme).geturl()
