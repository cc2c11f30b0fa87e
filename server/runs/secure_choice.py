"""Whether a run's sums are secure: what was asked for, and what its nodes can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.nodes.addresses import NodeAddress
from server.nodes.link import Link
from server.rounds.secure_sums import FEWEST_OWNERS, Rosters, Secure
from server.runs.setting import SecureWanted
from shared.errors import UsageError
from shared.identity import folder as identity
from shared.model.recipe import Recipe
from shared.secure_aggregation.canonical import MAX_OWNERS
from shared.secure_aggregation.trust import Trust

MAX_NUMBERS = 8_000_000
"""Parameters of the largest model whose masked vector fits into a frame."""


OWNERS_FOR_A_UNIT = 30
"""With so many, a model in which no owner can be told is as good as others, with epsilon 8."""


@dataclass(frozen=True)
class Choice:
    """is_on: whether sums are secure. why: one line for whoever reads along."""

    is_on: bool
    why: str


def choose(
    wanted: SecureWanted,
    nodes: Sequence[NodeAddress],
    links: Mapping[str, Link],
    parameters: int,
    rule: str = "fedavg",
) -> Choice:
    """On by default where nothing stands against it and there are enough owners.

    Args:
        links: of the nodes that are there, by id; one that is not has offered nothing.
        parameters: of the model. rule: the aggregation rule's name.

    Raises:
        UsageError: it was asked for, and cannot be.
    """
    if wanted == "off":
        return Choice(False, "secure aggregation is off: the coordinator sees each owner's numbers")
    against = _against(nodes, links, parameters, rule)
    if wanted == "on":
        if against:
            raise UsageError("this cannot have --secure-aggregation on", against, _WHAT_ELSE)
        return Choice(True, _on_words(nodes))
    if not against and len(nodes) < FEWEST_OWNERS:
        against = (
            f"a sum of {len(nodes)} hides little; --secure-aggregation on has it anyway, where the "
            "owners allow that"
        )
    if against:
        return Choice(False, f"secure aggregation is off: {against}")
    return Choice(True, _on_words(nodes))


_WHAT_ELSE = (
    "docs/privacy.md says what it needs. --secure-aggregation off does without, where the owners "
    "allow that."
)


def _on_words(nodes: Sequence[NodeAddress]) -> str:
    words = "secure aggregation is on: the coordinator sees sums alone"
    if len(nodes) == 2:
        return f"{words}; of two owners, each can subtract itself from one"
    return words


def _against(
    nodes: Sequence[NodeAddress],
    links: Mapping[str, Link],
    parameters: int,
    rule: str,
) -> str:
    """What stands against it; "" where nothing does."""
    if rule != "fedavg":
        return (
            f"the aggregation rule {rule} compares owners' results, which nobody sees then; "
            "what there is instead are fedavg and each owner's own bounds"
        )
    if not 2 <= len(nodes) <= MAX_OWNERS:
        return f"{len(nodes)} nodes; a secure sum has 2 to {MAX_OWNERS}"
    if parameters > MAX_NUMBERS:
        return f"the model has {parameters:,} parameters, and may have {MAX_NUMBERS:,}"
    open_ones = sorted(node.id for node in nodes if not node.is_secure)
    if open_ones:
        return f"{_some(open_ones)} without TLS, and so without a certificate to sign with"
    away = sorted(node.id for node in nodes if node.id not in links)
    if away:
        return f"{_some(away)} not there yet to say whether it offers it"
    not_offered = sorted(node for node, link in links.items() if not _offers(link))
    return f"{_some(not_offered)} not offering it" if not_offered else ""


def about_owners(recipe: Recipe, owners: int, is_secure: bool) -> str:
    """What stands against a good model where the unit is an owner; "" where nothing does.

    Args:
        owners: of the run. is_secure: whether its sums are.
    """
    if recipe.privacy.unit != "owner":
        return ""
    if not is_secure and owners > 1:
        return (
            f"the recipe's noise hides a whole owner, and without secure sums each of {owners} "
            "adds all of it: the model may be useless (docs/privacy.md)"
        )
    if owners < OWNERS_FOR_A_UNIT:
        return (
            f"the recipe's noise hides a whole owner, of whom there are {owners}: with fewer than "
            f"{OWNERS_FOR_A_UNIT} it hides much of what they have in common (docs/privacy.md)"
        )
    return ""


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"


def _offers(link: Link) -> bool:
    return link.greeting.secure_aggregation


def secure_from(folder: Path, rosters: Rosters) -> Secure:
    """Args: folder: the coordinator's identity folder, read for each round anew."""
    return Secure(lambda: Trust.of(identity.load(folder, "coordinator")), rosters)
