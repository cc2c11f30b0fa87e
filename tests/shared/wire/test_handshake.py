from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import HandshakeRefused
from shared.version import PROTOCOL
from shared.wire.commands import MAX_ROWS
from shared.wire.frames import MalformedFrame, pack_map, unpack_map
from shared.wire.handshake import Greeting, check, greeting_from

COORDINATOR = Greeting(role="coordinator", id="office", expects="bob")
NODE = Greeting(role="node", id="bob", rows={"train": 8, "held_out": 2})


def replace(greeting: Greeting, **facts: Any) -> Greeting:
    return greeting.model_copy(update=facts)


def refusal(coordinator: Greeting, node: Greeting) -> HandshakeRefused:
    with pytest.raises(HandshakeRefused) as caught:
        check(coordinator, node)
    return caught.value


def marked(refused: HandshakeRefused) -> dict[str, list[str]]:
    """Name -> both sides' values, of the lines of the table that say they differ."""
    lines = [line for line in refused.cause.splitlines() if line.endswith("<- differs")]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return {name: values[:-1] for name, *values in cells}


def test_two_sides_of_one_installation_fit_together() -> None:
    check(COORDINATOR, NODE)
    check(replace(COORDINATOR, expects=""), NODE)


def test_a_greeting_comes_back_as_it_was_sent() -> None:
    sent = replace(NODE, labels={"train": {"ham": 7, "spam": 1}}, busy="training")
    assert greeting_from(unpack_map(pack_map(sent.to_map()))) == sent


@pytest.mark.parametrize("fact", ["fedsms", "syft"])
def test_another_version_is_refused_with_both_in_the_table(fact: str) -> None:
    other = replace(NODE, versions={**NODE.versions, fact: "9.9.9"})
    refused = refusal(COORDINATOR, other)
    assert marked(refused) == {fact: [COORDINATOR.versions[fact], "9.9.9"]}
    assert "same version" in refused.next_step


def test_another_protocol_is_refused_even_by_a_peer_that_names_a_package_so() -> None:
    other = replace(NODE, protocol=PROTOCOL + 1, versions={**NODE.versions, "protocol": "1"})
    assert marked(refusal(COORDINATOR, other)) == {"protocol": [str(PROTOCOL), str(PROTOCOL + 1)]}


def test_a_version_that_one_side_does_not_tell_is_refused() -> None:
    versions = {name: value for name, value in NODE.versions.items() if name != "syft"}
    assert marked(refusal(COORDINATOR, replace(NODE, versions=versions)))["syft"][1] == "-"


def test_versions_that_need_not_be_equal_may_differ() -> None:
    check(COORDINATOR, replace(NODE, versions={**NODE.versions, "torch": "3.0", "python": "3.12"}))


@pytest.mark.parametrize("kind", sorted(NODE.tokeniser))
def test_a_side_that_tokenises_otherwise_is_refused(kind: str) -> None:
    other = replace(NODE, tokeniser={**NODE.tokeniser, kind: "0000"})
    expected = {f"tokeniser {kind}": [COORDINATOR.tokeniser[kind], "0000"]}
    assert marked(refusal(COORDINATOR, other)) == expected
    assert marked(refusal(replace(other, role="coordinator", expects="bob"), NODE))


def test_the_address_of_another_node_is_refused_and_both_ids_are_named() -> None:
    refused = refusal(COORDINATOR, replace(NODE, id="anne"))
    assert marked(refused) == {"node id": ["bob", "anne"]}
    assert refused.next_step == "Check the address given for bob; anne answers there."


def test_every_difference_is_marked_at_once() -> None:
    other = replace(NODE, id="anne", protocol=7, versions={**NODE.versions, "fedsms": "0.0"})
    assert set(marked(refusal(COORDINATOR, other))) == {"node id", "protocol", "fedsms"}


def test_unknown_facts_of_a_newer_peer_are_passed_over() -> None:
    newer = {**NODE.to_map(), "compression": "zstd", "uptime": 12.5}
    assert greeting_from(newer) == NODE
    check(COORDINATOR, greeting_from({**newer, "versions": {**NODE.versions, "jax": "1"}}))


@pytest.mark.parametrize("name", ["role", "id", "protocol", "versions", "tokeniser"])
def test_a_greeting_without_a_fact_that_is_always_told_is_malformed(name: str) -> None:
    values = NODE.to_map()
    del values[name]
    with pytest.raises(MalformedFrame, match=name):
        greeting_from(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol", "1"),
        ("protocol", True),
        ("versions", ["fedsms"]),
        ("rows", {"train": "many"}),
        ("rows", {"train": -1}),
        ("rows", {"train": 1.5}),
        ("rows", {"train": True}),
        ("rows", {"train": MAX_ROWS + 1}),
        ("rows", {"held_out": 2_000_000_000}),
        ("rows", {"held_out": 2**70}),
        ("labels", {"train": {"ham": 7, "spam": 2}}),
        ("labels", {"held_out": {"ham": MAX_ROWS, "spam": MAX_ROWS}}),
        ("labels", {"elsewhere": {"ham": 1}}),
        ("labels", {"train": 3}),
        ("labels", {"train": {"spam": "some"}}),
        ("labels", []),
        ("busy", 1),
        ("id", None),
        ("id", ["bob"]),
    ],
)
def test_a_fact_of_the_wrong_type_is_malformed(name: str, value: Any) -> None:
    with pytest.raises(MalformedFrame, match=name):
        greeting_from({**NODE.to_map(), name: value})


def test_a_greeting_that_cannot_be_true_says_which_number_and_why() -> None:
    with pytest.raises(MalformedFrame, match=r"'rows\.train' is wrong: .*536870911"):
        greeting_from({**NODE.to_map(), "rows": {"train": 500_000_000_000}})
    labels = {"train": {"ham": 1_000, "spam": 1}}
    with pytest.raises(MalformedFrame, match="'labels' are of 1,001 train rows, and its rows 8"):
        greeting_from({**NODE.to_map(), "labels": labels})


def test_the_most_rows_that_there_can_be_are_a_greeting() -> None:
    rows = {"train": MAX_ROWS, "held_out": 0}
    assert greeting_from({**NODE.to_map(), "rows": rows}).rows == rows


@pytest.mark.parametrize("name", ["id", "busy", "expects"])
@pytest.mark.parametrize("hostile", ["bob\n2026-01-01 INFO all is well", "\x1b[2J", "x" * 100_000])
def test_a_peer_cannot_write_lines_or_colours_into_a_log(name: str, hostile: str) -> None:
    with pytest.raises(MalformedFrame, match=name):
        greeting_from({**NODE.to_map(), name: hostile})


@pytest.mark.parametrize("name", ["versions", "tokeniser", "labels"])
def test_a_peer_cannot_forge_the_table(name: str) -> None:
    line = "9\n  syft  1  2  <- differs"
    forged = {line: {"ham": 1}} if name == "labels" else {"fedsms": line}
    for values in (forged, {line: "1"}, {"x" * 9999: "1"}):
        with pytest.raises(MalformedFrame, match=name):
            greeting_from({**NODE.to_map(), name: values})


values = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats()
tables = st.dictionaries(st.text(), values | st.dictionaries(st.text(), values), max_size=3)


@given(st.sampled_from(sorted(NODE.to_map())), values | tables)
def test_no_greeting_raises_anything_but_malformed_or_refused(name: str, value: Any) -> None:
    with suppress(MalformedFrame, HandshakeRefused):
        check(COORDINATOR, greeting_from({**NODE.to_map(), name: value}))


def test_only_a_coordinator_dials_a_node() -> None:
    assert "a node dialled a node" in refusal(replace(NODE, id="anne", expects="bob"), NODE).cause
    assert "dialled a coordinator" in refusal(COORDINATOR, replace(COORDINATOR, id="bob")).cause


def named(count: int, value: Any) -> dict[str, Any]:
    return {f"name{number}": value for number in range(count)}


@pytest.mark.parametrize(
    ("name", "most", "more"),
    [
        ("busy", "x" * 1000, "x" * 1001),
        ("expects", "x" * 200, "x" * 201),
        ("versions", named(32, "1"), named(33, "1")),
        ("tokeniser", named(32, "1"), named(33, "1")),
        ("rows", named(8, 0), named(9, 0)),
        ("labels", named(8, {}), named(9, {})),
        ("skipped", named(8, 0.5), named(9, 0.5)),
        ("skipped", {"ham": 1.0}, {"ham": 1.0000001}),
        ("skipped", {"ham": 0.0}, {"ham": -0.0000001}),
        ("most_bytes", 2**63 - 1, 2**63),
        ("most_bytes", 0, -1),
        ("rows_mark", "", "0"),
        ("rows_mark", "09af", "09AF"),
    ],
)
def test_a_fact_is_taken_up_to_its_bound(name: str, most: Any, more: Any) -> None:
    values = {**NODE.to_map(), "rows": {}, "labels": None}
    assert getattr(greeting_from({**values, name: most}), name) == most
    with pytest.raises(MalformedFrame, match=name):
        greeting_from({**values, name: more})


def test_what_is_not_said_claims_nothing() -> None:
    said = {name: NODE.to_map()[name] for name in ("role", "id", "protocol")}
    greeting = greeting_from({**said, "versions": {}, "tokeniser": {}})
    assert (greeting.most_bytes, greeting.secure_aggregation, greeting.busy) == (0, False, "")
    assert (greeting.rows, greeting.labels, greeting.skipped) == ({}, None, {})
    assert not hasattr(greeting_from({**NODE.to_map(), "other": 1}), "other")


def test_the_table_stands_in_columns_and_the_node_comes_first() -> None:
    other = replace(NODE, id="anne", versions={**NODE.versions, "fedsms": "9" * 40})
    cause = refusal(COORDINATOR, other).cause
    assert cause.startswith("they differ in node id, fedsms\n")
    lines = cause.splitlines()[1:]
    at = lines[0].index("node", lines[0].index("coordinator") + len("coordinator"))
    marks = {line.index("<- differs") for line in lines if "<- differs" in line}
    assert len(marks) == 1
    for line in lines[1:]:
        name, ours, theirs = re.split(r"\s{2,}", line.strip())[:3]
        assert line[at:].startswith(theirs)
        assert line.index(ours, len(name) + 2) == lines[0].index("coordinator")
    anybody = refusal(replace(COORDINATOR, expects=""), replace(NODE, protocol=0)).cause
    assert re.search(r"node id\s+any\s+bob", anybody)
