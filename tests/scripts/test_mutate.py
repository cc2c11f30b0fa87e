"""scripts/mutate.py: which changes it makes, and that it tells what tests notice of them."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.mutate import KNOWN, ROOT, TABLE, Trial, chosen, main, sampled
from scripts.mutation.checkout import Tests, copy_of
from scripts.mutation.mutants import Mutant, mutants_of
from scripts.mutation.records import Kept, Known, Module, read_known, read_modules
from scripts.mutation.untouched import untouched
from shared.errors import FedsmsError, UsageError

HALF = '''"""Half."""

LIMIT = 4 * 2


def half(number: int, most: int = 3) -> int:
    """The half of 10 is 5."""
    if number > most and most:
        raise ValueError(f"{number} is more than {most}")
    return int(number / 2)
'''


def changes(source: str) -> set[tuple[str, str]]:
    return {(one.before, one.after) for one in mutants_of(source.encode())}


def test_a_module_is_changed_at_each_place_that_does_something_and_nowhere_else() -> None:
    condition = "if number > most and most:"
    assert changes(HALF) == {
        ("LIMIT = 4 * 2", "LIMIT = (4 * 2) * 1000"),
        (
            "def half(number: int, most: int = 3) -> int:",
            "def half(number: int, most: int = (3 + 1)) -> int:",
        ),
        (
            "def half(number: int, most: int = 3) -> int:",
            "def half(number: int, most: int = (3 - 1)) -> int:",
        ),
        (condition, "if number >= most and most:"),
        (condition, "if number <= most and most:"),
        (condition, "if ((number > most) or (most)):"),
        (condition, "if ((most)):"),
        (condition, "if ((number > most)):"),
        (condition, "if (not (number > most and most)):"),
        (condition, "if True:"),
        (condition, "if False:"),
        ('raise ValueError(f"{number} is more than {most}")', "pass"),
        ("return int(number / 2)", "return int(number * 2)"),
        ("return int(number / 2)", "return int(number / (2 + 1))"),
        ("return int(number / 2)", "return int(number / (2 - 1))"),
        ("return int(number / 2)", "return None"),
    }


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("f(a, b=c)", {"f(a, )", "pass"}),
        ("x = (a) + (b)", {"x = (a) - (b)"}),
        ("x = not a", {"x = (a)"}),
        ("x = a in b", {"x = a not in b"}),
        ("x = a is not None", {"x = a is None"}),
        ("x = max(a, b)", {"x = min(a, b)"}),
        ("x = [a for a in b if c]", {"x = [a for a in b if True]"}),
        ("x = True", {"x = False"}),
        ("x.y = z", {"pass"}),
        ("x += y", {"pass"}),
        ("log.warning(a, b=c)", set()),
        ("'words'", set()),
        ("x: int = y", set()),
        ("x = Field(description=7)", set()),
        ("assert a > 1", set()),
    ],
)
def test_a_line_has_these_mutants(line: str, after: set[str]) -> None:
    # not at the module's level, where numbers are limits
    found = mutants_of(f"def f():\n    {line}\n".encode())
    assert {one.after for one in found} == after
    assert {one.within for one in found} <= {"f"}
    for one in found:
        ast.parse(one.apply(f"def f():\n    {line}\n".encode()))


def test_places_are_counted_in_bytes() -> None:
    source = "x = 'ä', 2 < y  # ö\n"
    (found,) = [one for one in mutants_of(source.encode()) if one.replacement == "<="]
    assert found.apply(source.encode()).decode() == "x = 'ä', 2 <= y  # ö\n"


def test_a_sample_is_the_same_for_a_seed_and_a_larger_one_holds_it() -> None:
    mutants = mutants_of(HALF.encode())
    few, more = sampled(mutants, 5, seed=1), sampled(mutants, 9, seed=1)
    assert len(few) == 5
    assert set(few) < set(more) < set(sampled(mutants, 0, seed=1))
    assert few == sampled(mutants, 5, seed=1) != sampled(mutants, 5, seed=2)
    assert sampled(mutants, 0, seed=1) == mutants


TESTS = """
from half import half

def test_half():
    assert half(2) == 1

def test_large():
    try:
        half(4)
    except ValueError:
        return
    raise AssertionError
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with one module and its tests."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "half.py").write_text(HALF, encoding="utf-8")
    (root / "test_half.py").write_text(TESTS, encoding="utf-8")
    (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (root / ".gitignore").write_text("ignored.py\n", encoding="utf-8")
    (root / "ignored.py").write_text("", encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


MODULE = Module("half.py", ("test_half.py",))


def of_after(text: str) -> Mutant:
    (found,) = [one for one in mutants_of(HALF.encode()) if one.after == text]
    return found


@pytest.mark.timeout(120)
def test_mutants_live_in_a_copy_and_what_came_of_them_is_kept(
    project: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.jsonl"
    noticed = of_after("return int(number * 2)")
    survives = of_after("LIMIT = (4 * 2) * 1000")
    mutants = [one for one in mutants_of(HALF.encode()) if one != survives]
    hangs = Mutant("", 0, "", "", "", 0, 0, "while True: pass\n")
    known = Known("half.py", "", survives.before, survives.after, "nobody reads it")
    with copy_of(project) as folder, Tests(folder, loaded=()) as tests:
        assert not (folder / "ignored.py").exists()
        Trial(tests, Kept(kept, project), [], seconds=1).of(MODULE, [hangs])
        trial = Trial(tests, Kept(kept, project), [])
        score = trial.of(MODULE, [noticed, survives, hangs])
        assert dict(score.outcomes) == {"killed": 1, "survived": 1, "hung": 1}
        assert score.survivors == {survives: ""}
        assert score.percent == pytest.approx(200 / 3)
        assert (folder / "half.py").read_text(encoding="utf-8") == HALF
        (folder / "half.py").write_text("broken(", encoding="utf-8")  # nothing is run any more
        again = Trial(tests, Kept(kept, project), [known]).of(MODULE, [noticed, survives, hangs])
        assert (again.outcomes, again.known) == (score.outcomes, 1)
        assert (again.survivors, again.percent) == ({}, 100)
        left = Known("half.py", "", survives.before, survives.after, "nobody reads it", counts=True)
        unread = Trial(tests, Kept(kept, project), [left]).known_of(MODULE, [*mutants, survives])
        assert (unread.known, unread.survivors) == (0, {survives: "nobody reads it"})
        assert (unread.untried, unread.percent) == (len(mutants) - 1, 50)
        with pytest.raises(FedsmsError, match="fail without a mutant"):
            Trial(tests, Kept(tmp_path / "none", project), []).of(MODULE, [noticed])
    assert not folder.exists()
    assert (project / "half.py").read_text(encoding="utf-8") == HALF


def test_what_never_loads_a_module_is_loaded_once_and_nothing_else_is(tmp_path: Path) -> None:
    for name, text in {
        "package/__init__.py": "",
        "package/half.py": "",
        "package/other.py": "import json",
        "package/above.py": "from package import half",
        "package/later.py": "def f():\n    import package.above",
        "package/for_types.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 1",
        "deep/__init__.py": "from package import half",
        "deep/inside.py": "",
        "unread/__init__.py": "",
        "tests/conftest.py": "import package.for_types",
        "tests/test_half.py": "from package import above, later, other\nimport deep.inside\n"
        "def f():\n    import unread",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = untouched(tmp_path, "package/half.py", ["tests/test_half.py::test_half"])
    assert found == ["package", "package.for_types", "package.other"]
    assert "package.half" in untouched(tmp_path, "package/other.py", ["tests"])


def test_what_is_kept_counts_while_the_module_and_for_survivors_the_tests_are_the_same(
    project: Path, tmp_path: Path
) -> None:
    kept = Kept(tmp_path / "kept.jsonl", project)
    killed, survived = mutants_of(HALF.encode())[:2]
    kept.keep(MODULE, killed, "killed")
    kept.keep(MODULE, survived, "survived")

    def found() -> list[str | None]:
        read = Kept(tmp_path / "kept.jsonl", project)
        return [read.find(MODULE, one) for one in (killed, survived)]

    assert found() == ["killed", "survived"]
    (project / "test_half.py").write_text(TESTS + "\n", encoding="utf-8")
    assert found() == ["killed", None]
    (project / "half.py").write_text(HALF + "\n", encoding="utf-8")
    assert found() == [None, None]


def test_the_table_names_modules_and_tests_that_are_there() -> None:
    modules = read_modules(TABLE)
    assert len(modules) > 20
    assert all(module.tests for module in modules)
    wanted = chosen(modules, ["worker_node/guarding/"])
    assert {"worker_node/guarding/policy.py", "worker_node/guarding/guard.py"} <= {
        one.path for one in wanted
    }
    assert chosen(modules, []) == modules
    with pytest.raises(UsageError, match="no critical module is nowhere"):
        chosen(modules, ["nowhere"])


def test_the_report_names_every_survivor_that_is_listed_with_its_reason() -> None:
    said = CliRunner().invoke(main, ["--report"]).output
    for one in read_known(KNOWN):
        assert f"- {one.before}\n+ {one.after}\n  {one.reason}\n" in said


def test_every_survivor_that_is_listed_is_one_and_says_why() -> None:
    known = read_known(KNOWN)
    mutants = {one.module: mutants_of((ROOT / one.module).read_bytes()) for one in known}
    for one in known:
        assert len(one.reason) > 10
        fitting = [mutant for mutant in mutants[one.module] if one.fits(one.module, mutant)]
        assert fitting, f"{one.module}: no mutant makes {one.before!r} to {one.after!r}"
