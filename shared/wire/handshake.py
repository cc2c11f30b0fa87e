"""The handshake: what a coordinator and a node tell each other before anything else.

The coordinator sends its Greeting first, whoever dialled; the node answers with its own, or refuses
with a table that shows both. `REQUIRED` names what must be equal; the rest is told so that people
can read it in `status`, in the run folder and in the table.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from shared.errors import HandshakeRefused
from shared.model.text import tokeniser_fingerprint
from shared.version import PROTOCOL, versions
from shared.wire.commands import MAX_ROWS
from shared.wire.frames import MalformedFrame

REQUIRED = ("protocol", "fedsms", "syft")
"""Facts that must be equal on both sides, besides every tokeniser of the coordinator's."""


def _printable(text: str) -> str:
    # It ends up in logs and on terminals, where a control character could forge what stands there.
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return text


Words = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Facts = Annotated[dict[Words, Words], Field(max_length=32)]
Shares = Annotated[dict[Words, Annotated[float, Field(ge=0, le=1)]], Field(max_length=8)]
Counts = Annotated[dict[Words, Annotated[int, Field(ge=0, le=MAX_ROWS)]], Field(max_length=8)]


class FalseGreeting(MalformedFrame):
    """A greeting of a peer that knows the protocol, and of what cannot be true."""


class Greeting(BaseModel):
    """What one side says of itself. Facts that this version does not know are passed over.

    role: "coordinator" or "node".
    id: the speaker's name; a node's id.
    expects: the node id that a coordinator dials; "" accepts any.
    rows: {"train": n, "held_out": n}, each MAX_ROWS at most; empty for a coordinator, and for a
        node whose owner lets numbers leave in secure sums alone.
    labels: {"train": {"ham": n, "spam": n}, "held_out": ...}, whose sums are the rows; None where
        the owner hides them.
    skipped: {"ham": share, "spam": share} of each label's rows that the node could not read and its
        owner had it skip, or {"all": share} where the owner hides labels; empty for none.
    rows_mark: changes, in most cases, where the rows do; "" says nothing.
    busy: what the node is working on, "" when it is idle.
    most_bytes: of one message that it takes, as its owner's policy bounds a model; 0 says nothing.
    secure_aggregation: a node that has a certificate, and can take part in secure sums.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    role: Literal["coordinator", "node"]
    id: Words
    expects: Words = ""
    protocol: int = PROTOCOL
    versions: Facts = Field(default_factory=versions)
    tokeniser: Facts = Field(default_factory=tokeniser_fingerprint)
    rows: Counts = Field(default_factory=dict)
    labels: Annotated[dict[Words, Counts], Field(max_length=8)] | None = None
    skipped: Shares = Field(default_factory=dict)
    rows_mark: Annotated[str, Field(pattern=r"^([0-9a-f]{4})?$")] = ""
    busy: Annotated[str, Field(max_length=1000), AfterValidator(_printable)] = ""
    most_bytes: int = Field(default=0, ge=0, lt=2**63)
    secure_aggregation: bool = False

    def to_map(self) -> dict[str, Any]:
        return self.model_dump()


_ALWAYS_SAID = ("role", "id", "protocol", "versions", "tokeniser")


def greeting_from(values: dict[str, Any]) -> Greeting:
    """A peer's Greeting.

    Raises:
        MalformedFrame: a fact is missing. FalseGreeting: one is wrong, or cannot be true.
    """
    missing = [name for name in _ALWAYS_SAID if name not in values]
    if missing:
        raise MalformedFrame(f"a greeting without {', '.join(missing)}")
    try:
        greeting = Greeting.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        wrong = ".".join(str(part) for part in first["loc"])
        raise FalseGreeting(f"a greeting whose {wrong!r} is wrong: {first['msg']}") from None
    for part, counts in (greeting.labels or {}).items():
        told, counted = greeting.rows.get(part, 0), sum(counts.values())
        if counted != told:
            raise FalseGreeting(
                f"a greeting whose 'labels' are of {counted:,} {part} rows, and its rows {told:,}"
            )
    return greeting


def facts(greeting: Greeting) -> dict[str, str]:
    """The facts of a greeting that are compared or shown, by name, in the order of the table."""
    tokenisers = {f"tokeniser {name}": value for name, value in greeting.tokeniser.items()}
    told = {"protocol": "", **greeting.versions, **tokenisers}
    return told | {"protocol": str(greeting.protocol)}  # last: no version may take its name


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
    if (coordinator.role, node.role) != ("coordinator", "node"):
        raise HandshakeRefused(
            f"{coordinator.id} and {node.id} do not fit together",
            f"a {coordinator.role} dialled a {node.role}; only a coordinator dials a node",
            "Check the address and the port.",
        )
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
