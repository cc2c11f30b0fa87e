"""Measuring a saved model on the nodes, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from server.nodes.addresses import NodeAddress
from server.nodes.members import Members
from server.nodes.reaching import connected
from server.rounds.plan import Plan, new_run_id
from server.rounds.secure_sums import NoRosters
from server.runs.setting import SecureWanted
from shared.identity.folder import DEFAULT
from shared.model.metrics import Metrics
from shared.trained_model.saved_model import SavedModel


async def evaluate(
    nodes: Sequence[NodeAddress],
    saved: SavedModel,
    identity: Path = DEFAULT,
    wanted: SecureWanted = "auto",
) -> tuple[Metrics, dict[str, Metrics]]:
    """Metrics on the owners' held-out rows: overall, and by node id.

    Of secure sums there are the overall ones alone.

    Args:
        identity: the identity folder, for nodes that are dialled with TLS.
        wanted: whether the counts are to be summed securely.

    Raises:
        UsageError: they are to be, and cannot. FedsmsError: a node is not there, or failed.
    """
    # all that is loaded, before anybody is dialled: server/runs/loading.py
    from server.rounds.coordinator import Coordinator
    from server.runs.secure_choice import choose, secure_from

    async with connected(nodes, identity) as links:
        is_on = choose(wanted, nodes, links, saved.recipe.parameters).is_on
        secure = secure_from(identity, NoRosters()) if is_on else None
        plan = Plan(seed=0, run=new_run_id())
        members = Members.standing(links)
        try:
            coordinator = Coordinator(members, saved.recipe, plan, secure=secure)
            return await coordinator.evaluate(saved.state)
        finally:  # or the end of the connections that follows would look like a loss
            await members.close()
