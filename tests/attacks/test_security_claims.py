"""Each sentence of docs/security.md is held by tests, or says that nothing holds it.

security_claims.toml has the list: whoever changes a sentence, or adds one, says there what holds
it.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode
from tests.attacks.security_page import Unit, table_rows, units
from tests.helpers.running import ROOT

TESTS = ROOT / "tests"
WITHOUT_TESTS = ("not prevented", "measured", "no claim")


def claims() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Heading, phrase, and what holds it."""
    text = (TESTS / "attacks" / "security_claims.toml").read_text(encoding="utf-8")
    for heading, phrases in tomllib.loads(text).items():
        for key, held_by in phrases.items():
            for phrase in key.split(" // "):
                yield heading, phrase, (held_by,) if isinstance(held_by, str) else tuple(held_by)


def units_with(heading: str, phrase: str) -> list[Unit]:
    """A phrase that is a whole sentence is of no longer one."""
    found = [unit for unit in units() if unit.heading == heading and phrase in unit.text]
    return [unit for unit in found if unit.text == phrase] or found


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def functions_of(path: Path) -> frozenset[str]:
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ()
    return frozenset(one.name for one in found if isinstance(one, FUNCTIONS))


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return name.startswith("test_") and name in functions_of(TESTS / file)


def test_each_sentence_has_its_tests_or_says_that_it_has_none() -> None:
    known = {unit for heading, phrase, _ in claims() for unit in units_with(heading, phrase)}
    assert [unit.text for unit in units() if unit not in known] == []


def test_each_phrase_stands_in_one_sentence_of_the_page() -> None:
    found = {phrase: len(units_with(heading, phrase)) for heading, phrase, _ in claims()}
    assert {phrase: many for phrase, many in found.items() if many != 1} == {}


def test_each_test_that_holds_a_sentence_exists() -> None:
    named = {test for _, _, held_by in claims() for test in held_by}
    assert [test for test in named - set(WITHOUT_TESTS) if not exists(test)] == []


def test_what_is_not_prevented_is_said_to_be_so() -> None:
    silent = [
        phrase
        for heading, phrase, held_by in claims()
        for unit in units_with(heading, phrase)
        if "not prevented" in held_by and not unit.is_not_prevented
    ]
    assert silent == []


def reported() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """Attack and answer of each `report(...)` in this folder; what is filled in is anything."""
    found = []
    for path in (TESTS / "attacks").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "report":
                attack, _, ours = map(_pattern, node.args)
                found.append((attack, ours))
    return found


def _pattern(argument: ast.expr) -> re.Pattern[str]:
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    return re.compile(
        "".join(
            re.escape(str(one.value)) if isinstance(one, ast.Constant) else ".+" for one in parts
        )
    )


def test_each_row_of_attacks_is_what_a_test_reports() -> None:
    told = reported()
    missing = [
        found
        for found, _, ours in table_rows("Attacks", "attack")
        if not any(what.fullmatch(found) and got.fullmatch(ours) for what, got in told)
    ]
    assert missing == []


def test_after_an_attack_on_a_node_of_rounds_it_trains_for_somebody_else(
    bob: LocalNode, request: pytest.FixtureRequest
) -> None:
    """As after each test of this folder that has the node."""
    assert bob.process.poll() is None
    assert "still_serves" in request.fixturenames
