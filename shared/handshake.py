"""The handshake: what a coordinator and a node tell each other before anything else.

The dialling side sends its Greeting first; the other answers with its own, or refuses with a table
that shows both. `REQUIRED` names what must be equal; the rest is told so that people can read it
in `status`, in the run folder and in the table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from shared.errors import HandshakeRefused
from shared.text import tokeniser_fingerprint
from shared.version import PROTOCOL, versions
from shared.wire import MalformedFrame

REQUIRED = ("protocol", "fedsms", "syft")
"""Facts that must be equal on both sides, besides every tokeniser that both know."""

NODE_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
NODE_ID_RULE = "an id has 1 to 64 letters, digits, dots, dashes and underscores"


@dataclass(frozen=True)
class Greeting:
    """What one side says of itself.

    role: "coordinator" or "node".
    id: the speaker's name; a node's id.
    expects: the node id that a coordinator dials; "" accepts any.
    rows: {"train": n, "held_out": n}; empty for a coordinator.
    labels: {"train": {"ham": n, "spam": n}, "held_out": ...}; None where the owner hides them.
    busy: what the node is working on, "" when it is idle.
    """

    role: str
    id: str
    expects: str = ""
    protocol: int = PROTOCOL
    versions: dict[str, str] = field(default_factory=versions)
    tokeniser: dict[str, str] = field(default_factory=tokeniser_fingerprint)
    rows: dict[str, int] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] | None = None
    busy: str = ""

    def to_map(self) -> dict[str, Any]:
        return asdict(self)


_TYPES: dict[str, type | tuple[type, ...]] = {
    "role": str,
    "id": str,
    "expects": str,
    "protocol": int,
    "versions": dict,
    "tokeniser": dict,
    "rows": dict,
    "labels": (dict, type(None)),
    "busy": str,
}


def greeting_from(values: dict[str, Any]) -> Greeting:
    """A peer's Greeting; unknown facts of a newer peer are passed over.

    Raises:
        MalformedFrame: a fact is missing or has the wrong type.
    """
    for name, kind in _TYPES.items():
        if not isinstance(values.get(name), kind):
            raise MalformedFrame(f"a greeting whose {name!r} is missing or of the wrong type")
    known = {name: values[name] for name in _TYPES}
    known["versions"] = {str(name): str(value) for name, value in known["versions"].items()}
    known["tokeniser"] = {str(name): str(value) for name, value in known["tokeniser"].items()}
    return Greeting(**known)


def facts(greeting: Greeting) -> dict[str, str]:
    """The facts of a greeting that are compared or shown, by name, in the order of the table."""
    tokenisers = {f"tokeniser {name}": value for name, value in greeting.tokeniser.items()}
    return {"protocol": str(greeting.protocol), **greeting.versions, **tokenisers}


def mismatches(coordinator: Greeting, node: Greeting) -> list[str]:
    """Names of the facts that forbid the two sides to work together; empty when there are none."""
    ours, theirs = facts(coordinator), facts(node)
    names = [*REQUIRED, *(name for name in ours if name.startswith("tokeniser "))]
    found = [name for name in names if ours.get(name) != theirs.get(name)]
    if coordinator.expects and coordinator.expects != node.id:
        found.insert(0, "node id")
    return found


def table(coordinator: Greeting, node: Greeting, wrong: list[str]) -> str:
    """Both sides' facts, a line each, with the ones in `wrong` marked."""
    ours = {"node id": coordinator.expects or "any", **facts(coordinator)}
    theirs = {"node id": node.id, **facts(node)}
    names = list(dict.fromkeys([*ours, *theirs]))
    rows = [("", "coordinator", "node")]
    rows += [(name, ours.get(name, "-"), theirs.get(name, "-")) for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {cells}  {'<- differs' if row[0] in wrong else ''}".rstrip())
    return "\n".join(lines)


def check(coordinator: Greeting, node: Greeting) -> None:
    """Raises HandshakeRefused, with the table of both sides, where the two must not work together.

    Both sides call it, so that each refuses by its own judgement.
    """
    wrong = mismatches(coordinator, node)
    if not wrong:
        return
    if wrong[0] == "node id":
        next_step = f"Check the address given for {coordinator.expects}; {node.id} answers there."
    else:
        next_step = "Install the same version of fedsms, and its requirements, on both sides."
    raise HandshakeRefused(
        f"coordinator {coordinator.id} and node {node.id} do not fit together",
        f"they differ in {', '.join(wrong)}\n{table(coordinator, node, wrong)}",
        next_step,
    )
