"""Other owners whose keys an owner has compared with them: peers.toml in the identity folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from shared.errors import UsageError
from shared.files import is_present, read_bytes, read_toml, write_whole
from shared.identity.certificates import certificates_from_pem, key_fingerprint, name_of
from shared.identity.names import check_node_id

PEERS = "peers.toml"
_FINGERPRINT = re.compile(r"([0-9a-f]{2}:){31}[0-9a-f]{2}")
_HOW = "Add an owner with: python -m worker_node peers add NAME FINGERPRINT"
_HEAD = """\
# Owners of this federation, by the fingerprints of their keys. What makes them worth something is
# that you compared them with the owners themselves, by telephone for instance.
"""


def read_peers(folder: Path) -> dict[str, str]:
    """Fingerprints of keys by node id; empty where there is no file.

    Raises:
        UsageError: the file is none of these.
    """
    path = folder / PEERS
    if not is_present(path):
        return {}
    tables = read_toml(path, "the list of peers", _HOW)
    peers = tables.get("peers", {})
    if set(tables) - {"peers"} or not isinstance(peers, dict):
        raise UsageError(f"{path} is no list of peers", "it holds other keys than [peers]", _HOW)
    return {_checked_id(path, name): _checked(path, name, value) for name, value in peers.items()}


def pinned(folder: Path, names: Collection[str], by: str) -> dict[str, str]:
    """Fingerprints of these owners' keys.

    Args:
        by: which rule of the policy names them.

    Raises:
        UsageError: one is not written down, or the file is no list of peers.
    """
    peers = read_peers(folder)
    missing = sorted(set(names) - set(peers))
    if missing:
        raise UsageError(
            f"the policy pins {', '.join(missing)}",
            f"rule {by}: {folder / PEERS} has no fingerprint of theirs",
            f"Compare it with them, then: python -m worker_node peers add {missing[0]} FINGERPRINT",
        )
    return {name: peers[name] for name in names}


def add_peer(folder: Path, node_id: str, fingerprint: str) -> str | None:
    """Writes an owner's fingerprint down; gives the one that stood there before, if another.

    Raises:
        UsageError: the file that is there is no list of peers. StorageError: it cannot be written.
    """
    peers = read_peers(folder)
    before = peers.get(node_id)
    _write(folder, {**peers, node_id: fingerprint})
    return before if before != fingerprint else None


def remove_peer(folder: Path, node_id: str) -> None:
    """Raises UsageError where nobody of that name stands there."""
    peers = read_peers(folder)
    if node_id not in peers:
        raise UsageError(
            f"{node_id} is not in {folder / PEERS}",
            f"it has {', '.join(sorted(peers)) or 'nobody'}",
            "List them with: python -m worker_node peers",
        )
    _write(folder, {name: value for name, value in peers.items() if name != node_id})


def fingerprint_from(source: str, node_id: str) -> str:
    """What somebody typed, or the key in a certificate's file, as `ab:cd:...`.

    Args:
        node_id: whose it must be, where it is a file.

    Raises:
        UsageError: it is neither, or the certificate is another's.
    """
    plain = re.sub(r"[\s:]", "", source).lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain):
        return ":".join(plain[place : place + 2] for place in range(0, 64, 2))
    path = Path(source)
    if not path.is_file():
        raise UsageError(
            f"{source!r} is no fingerprint, and no file",
            "a fingerprint is 64 hexadecimal digits, with or without colons",
            "The other owner sees it with: python -m worker_node peers",
        )
    for certificate in certificates_from_pem(read_bytes(path)):
        name = name_of(certificate)
        if (name.role, name.id) == ("node", node_id):
            return key_fingerprint(certificate.public_key())
    raise UsageError(f"{path} holds no certificate of node {node_id}", next_step=_HOW)


def _write(folder: Path, peers: Mapping[str, str]) -> None:
    lines = [f'"{name}" = "{value}"' for name, value in sorted(peers.items())]
    write_whole(folder / PEERS, (_HEAD + "\n".join(["[peers]", *lines]) + "\n").encode())


def _checked_id(path: Path, name: str) -> str:
    try:
        return check_node_id(name)
    except UsageError as error:
        raise UsageError(f"{path} names {name!r}", error.words, _HOW) from None


def _checked(path: Path, name: str, value: object) -> str:
    if not isinstance(value, str) or not _FINGERPRINT.fullmatch(value.lower()):
        raise UsageError(
            f"{path} has no fingerprint for {name}",
            "one is 32 pairs of hexadecimal digits, with colons between them",
            _HOW,
        )
    return value.lower()
