"""Who is in a federation, and its settings: from a file, a mapping, or by name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from server.nodes.addresses import (
    NodeAddress,
    check_distinct,
    check_protected,
    parse_address,
    parse_listen,
    parse_node,
)
from server.runs.federation_file import DEFAULT_FILE, OfCommands, checked, read_federation
from server.runs.settings import BY_NAME
from shared.errors import UsageError
from shared.identity.folder import DEFAULT

# A script prints nothing of its own; whoever wants to read along configures Python's logging.
logging.getLogger("fedsms").addHandler(logging.NullHandler())
log = logging.getLogger("fedsms.federation")


@runtime_checkable
class RunningNode(Protocol):
    """A node that knows its id and its address, such as worker_node.Node."""

    @property
    def id(self) -> str: ...

    @property
    def address(self) -> str: ...


Source = str | Path | Mapping[str, Any] | None
Nodes = Mapping[str, str | RunningNode] | Iterable[str | RunningNode]


@dataclass(frozen=True)
class Configuration:
    """nodes: may be none, for a run that is resumed knows its own. settings: those given, by name.

    listen: URL at which nodes dial in; None where none do.
    authority: folder with the CA, whose open invitations are taken there; None takes none.
    insecure: lines to other machines may be without TLS.
    """

    nodes: tuple[NodeAddress, ...]
    identity: Path
    insecure: bool
    settings: Mapping[str, Any]
    listen: str | None = None
    authority: Path | None = None

    def addresses(self) -> tuple[NodeAddress, ...]:
        """Where the nodes are, checked as `vet` does.

        Raises:
            UsageError: there are none.
        """
        if not self.nodes:
            raise UsageError(
                "no node is given",
                next_step="Name each with --node ID=URL, or --node ID where it dials in; list them "
                "in a federation.toml, or give them to Federation.",
            )
        self.vet(self.nodes)
        return self.nodes

    def moved(self, nodes: Sequence[NodeAddress]) -> tuple[NodeAddress, ...]:
        """Where a run's nodes are now; none where they are as they were."""
        if self.nodes or self.listen is None:
            return self.nodes
        return tuple(replace(one, url=self.listen) if one.dials_in else one for one in nodes)

    def vet(self, nodes: Sequence[NodeAddress]) -> None:
        """Checks that nodes may be dialled; logs what is not wrong yet.

        Raises:
            UsageError: one is dialled without TLS, and may not be.
            IdentityError: one is dialled with TLS, and the coordinator's identity is unfit for it.
        """
        warnings = check_protected(nodes, self.insecure)
        if any(address.is_secure for address in nodes):
            from shared.identity.folder import load

            warnings += load(self.identity, "coordinator").warnings()
        for warning in warnings:
            log.warning("%s", warning)


def configure(
    source: Source,
    nodes: Nodes | None,
    identity: str | Path | None,
    insecure: bool | None,
    settings: Mapping[str, Any],
    listen: str | None = None,
    authority: str | Path | None = None,
) -> Configuration:
    """What Federation's arguments say; those with a name win over those of the source.

    Args:
        source: the path of a federation.toml, its content, or a mapping of node ids to addresses;
            None reads ./federation.toml where it is there and no nodes are named.
        listen: host and port at which nodes dial in.
        authority: folder whose open invitations are taken there; None takes none.

    Raises:
        UsageError: no such file, an unknown key, a value out of bounds, or a malformed address.
    """
    file = _of_source(source, nodes)
    listen = listen if listen is not None else file.listen
    url = parse_listen(listen) if listen else None
    found = _addresses(file.nodes if nodes is None else nodes, url)
    given = file.model_dump(exclude_none=True, exclude=set(OfCommands.model_fields))
    return Configuration(
        tuple(check_distinct(found)),
        Path(identity if identity is not None else file.identity or DEFAULT),
        bool(file.insecure if insecure is None else insecure),
        {**given, **checked_settings(settings)},
        url,
        Path(authority) if authority is not None else None,
    )


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, as a recipe and a flag would have them; None counts as not given.

    Raises:
        UsageError: an unknown name, or a value out of bounds.
    """
    plain = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in settings.items()
        if value is not None
    }
    others = set(plain) - set(BY_NAME)
    if others & set(OfCommands.model_fields):
        wrong = sorted(others & set(OfCommands.model_fields))
        raise UsageError(f"{wrong[0]} is no setting of a run", next_step="Give it to Federation.")
    known = checked(plain, "what is given here").model_dump(exclude_none=True)
    return {
        name: Path(known[name]) if BY_NAME[name].type is Path else known[name] for name in plain
    }


def _of_source(source: Source, nodes: Nodes | None) -> OfCommands:
    if source is None:
        is_there = nodes is None and DEFAULT_FILE.is_file()
        return read_federation(DEFAULT_FILE) if is_there else checked({}, "nothing")
    if isinstance(source, str | Path):
        return read_federation(Path(source))
    if isinstance(source.get("nodes"), Mapping) or set(source) <= set(BY_NAME):
        plain = {**source, "nodes": _as_text(source.get("nodes", {}))}
        return checked(plain, "the mapping given")
    return checked({"nodes": _as_text(source)}, "the mapping given")


def _as_text(nodes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        node: one.address if isinstance(one, RunningNode) else one for node, one in nodes.items()
    }


def _addresses(nodes: Nodes, listen: str | None) -> Iterable[NodeAddress]:
    if isinstance(nodes, Mapping):
        return [parse_address(node, url, listen) for node, url in _as_text(nodes).items()]
    return [
        parse_address(one.id, one.address, listen)
        if isinstance(one, RunningNode)
        else parse_node(one, listen)
        for one in nodes
    ]
