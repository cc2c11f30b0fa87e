"""A node's countersignature of a model's passport: of its own part, as it knows it itself."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import NodeFailed
from shared.identity.folder import Identity
from shared.passport.signing import sign
from shared.passport.statements import Anchor, Countersignature, Countersigned, now_in_words
from shared.version import versions
from shared.wire.commands import CountersignCommand
from worker_node.audit.lines import Place
from worker_node.guarding.participation import Participation


class Countersigning:
    """Countersigns for one node.

    Args:
        participation: what the node took part in.
        identity: reads the node's certificate and key, anew each time; None where it has none.
        policy: the owner's, in the audit log's words.
        place: how far the audit log has got; None where there is none.
    """

    def __init__(
        self,
        participation: Participation | None = None,
        identity: Callable[[], Identity] | None = None,
        policy: str = "default policy",
        place: Callable[[], Place | None] = lambda: None,
    ) -> None:
        self.participation = participation or Participation()
        self._identity = identity
        self._policy = policy
        self._place = place

    def sign(self, coordinator: str, command: CountersignCommand) -> Countersignature:
        """The signed statement.

        Args:
            coordinator: who asks, by its certificate.

        Raises:
            NodeFailed: the node has no key, or what it is told is not so.
            IdentityError, StorageError: its identity cannot be read.
        """
        if self._identity is None:
            raise NodeFailed("the node has no key to sign with", "it serves without TLS")
        self.participation.check(coordinator, command)
        identity, place = self._identity(), self._place()
        says = Countersigned(
            at=now_in_words(),
            node=identity.name.id,
            coordinator=coordinator,
            run=command.run,
            recipe=command.recipe,
            model=command.model,
            rounds=sorted(set(command.rounds)),
            rows=command.rows,
            has_measured=self.participation.has_measured(coordinator, command.model),
            policy=self._policy,
            audit=Anchor(lines=place.n, hash=place.hash) if place is not None else None,
            versions=versions(),
        )
        signature = sign("countersignature", says.model_dump(), identity)
        return Countersignature(says=says, signature=signature)
