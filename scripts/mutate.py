"""Changes critical modules for the worse, one small change at a time, and says what tests notice.

    python scripts/mutate.py --sample 20                   # 20 mutants of each module
    python scripts/mutate.py worker_node/guarding --seed 2
    python scripts/mutate.py --changed                     # modules that differ from main

scripts/mutation/critical.toml says which tests each module has. A mutant lives in a copy of the
checkout, never in the checkout itself, and is noticed where a test fails or does not end. What came
of it is kept in .cache/mutation: a run that was stopped goes on, and a mutant that was noticed is
not tried again while its module is the same. Survivors are printed; those with a reason stand in
scripts/mutation/known_survivors.toml, and what changes nothing does not count.

    python scripts/mutate.py --report                      # what is known by now, without a run
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.mutation.checkout import Tests, Verdict, copy_of
from scripts.mutation.mutants import Mutant, mutants_of
from scripts.mutation.records import Kept, Known, Module, Outcome, read_known, read_modules
from scripts.needs import need
from shared.cli import run
from shared.errors import FedsmsError, UsageError

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "scripts" / "mutation" / "critical.toml"
KNOWN = ROOT / "scripts" / "mutation" / "known_survivors.toml"
KEPT = ROOT / ".cache" / "mutation" / "outcomes.jsonl"
BASELINE_SECONDS = 900.0


@dataclass
class Score:
    """What came of a module's mutants.

    known: survivors that change nothing, as is listed. survivors: the others, with the reasons of
    those that have one. untried: how many nothing is known of.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    known: int = 0
    survivors: dict[Mutant, str] = field(default_factory=dict)
    untried: int = 0

    def add(self, module: Module, mutant: Mutant, outcome: Outcome, known: list[Known]) -> None:
        self.outcomes[outcome] += 1
        if outcome == "survived":
            found = next((one for one in known if one.fits(module.path, mutant)), None)
            if found is not None and not found.counts:
                self.known += 1
            else:
                self.survivors[mutant] = found.reason if found is not None else ""

    @property
    def percent(self) -> float | None:
        """Of the mutants without a listed reason, those that were noticed; None where none is."""
        counted = self.outcomes.total() - self.known
        noticed = self.outcomes["killed"] + self.outcomes["hung"]
        return 100 * noticed / counted if counted else None


@dataclass
class Trial:
    """Tries mutants of modules.

    seconds: that a mutant's tests may take; 0 goes by how long they take without it.
    """

    tests: Tests
    kept: Kept
    known: list[Known]
    seconds: float = 0.0

    def of(self, module: Module, mutants: list[Mutant]) -> Score:
        """Raises FedsmsError where the tests fail on the module as it is."""
        score, limit = Score(), 0.0
        for index, mutant in enumerate(mutants, 1):
            outcome = self.kept.find(module, mutant)
            if outcome is None:
                if not limit:
                    self.tests.prepare(module.path, module.tests)
                    limit = self.seconds or self._limit(module)
                outcome = self._try(module, mutant, limit)
                self.kept.keep(module, mutant, outcome)
            score.add(module, mutant, outcome, self.known)
            click.echo(f"\r{module.path}: {index}/{len(mutants)}", err=True, nl=False)
        click.echo(err=True)
        return score

    def known_of(self, module: Module, mutants: list[Mutant]) -> Score:
        """What came of them before; no test is run."""
        score = Score()
        for mutant in mutants:
            outcome = self.kept.find(module, mutant)
            if outcome is None:
                score.untried += 1
            else:
                score.add(module, mutant, outcome, self.known)
        return score

    def _limit(self, module: Module) -> float:
        """Several times what they take now, for the machine may be busier later."""
        good = self._run(module, None, BASELINE_SECONDS)
        if good.code != 0:
            raise FedsmsError(
                f"the tests of {module.path} fail without a mutant", self.tests.said[-2000:]
            )
        return 20 + 4 * good.seconds

    def _try(self, module: Module, mutant: Mutant, limit: float) -> Outcome:
        verdict = self._run(module, mutant, limit)
        if verdict.code is None:
            return "hung"
        return "killed" if verdict.code else "survived"

    def _run(self, module: Module, mutant: Mutant | None, seconds: float) -> Verdict:
        with self.tests.mutated(module.path, mutant):
            return self.tests.run(module.tests, seconds)


def chosen(modules: list[Module], parts: Iterable[str]) -> list[Module]:
    """Those whose path begins with one of the parts; all without parts. Raises UsageError."""
    wanted = [part.removeprefix("./").rstrip("/") for part in parts]
    for part in wanted:
        if not any(module.path.startswith(part) for module in modules):
            raise UsageError(f"no critical module is {part}", next_step=f"{TABLE} names them all.")
    if not wanted:
        return modules
    return [one for one in modules if any(one.path.startswith(part) for part in wanted)]


def changed_since(branch: str) -> set[str]:
    """Files that differ from where this branch left another, committed or not."""
    base = _git("merge-base", branch, "HEAD").strip()
    listed = _git("diff", "--name-only", base) + _git("ls-files", "--others", "--exclude-standard")
    return set(listed.splitlines())


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(f"git {arguments[0]} failed", done.stderr.strip())
    return done.stdout


def sampled(mutants: list[Mutant], number: int, seed: int) -> list[Mutant]:
    """Some of them, in their order; the first of a larger number are those of a smaller one."""
    shuffled = random.Random(seed).sample(mutants, len(mutants))  # noqa: S311  # no secret
    taken = set(shuffled[:number]) if number else set(mutants)
    return [one for one in mutants if one in taken]


def show(scores: dict[str, Score]) -> None:
    """A line a module, then every survivor."""
    width = max(len(path) for path in scores)
    names = "  noticed  hung  known  survived untried score"
    click.echo(f"{'module':<{width}}{names}")
    for path, score in scores.items():
        noticed, hung = score.outcomes["killed"], score.outcomes["hung"]
        percent = "-" if score.percent is None else f"{score.percent:.0f} %"
        row = f"{path:<{width}} {noticed:>8} {hung:>5} {score.known:>6} {len(score.survivors):>9}"
        click.echo(f"{row} {score.untried:>7} {percent:>5}")
    for path, score in scores.items():
        for one, reason in score.survivors.items():
            where = f"{path}:{one.line}" + (f", {one.within}" if one.within else "")
            click.echo(f"\n{where} ({one.kind})\n- {one.before}\n+ {one.after}")
            if reason:
                click.echo(f"  {reason}")


def show_reasons(known: list[Known]) -> None:
    """Every survivor that is listed, and why."""
    for one in known:
        where = one.module + (f", {one.within}" if one.within else "")
        kind = "no test is worth it" if one.counts else "changes nothing"
        click.echo(f"\n{where} ({kind})\n- {one.before}\n+ {one.after}\n  {one.reason}")


def as_json(scores: dict[str, Score]) -> str:
    """The same for programs."""
    told = {
        path: {
            **score.outcomes,
            "known": score.known,
            "untried": score.untried,
            "percent": score.percent,
            "survivors": [
                {name: getattr(one, name) for name in ("line", "within", "kind", "before", "after")}
                | {"reason": reason}
                for one, reason in score.survivors.items()
            ],
        }
        for path, score in scores.items()
    }
    return json.dumps(told)


@click.command()
@click.argument("parts", nargs=-1, metavar="[PATH]...")
@click.option("--sample", type=click.IntRange(min=0), default=0, help="Mutants a module; 0: all.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the sample.")
@click.option("--changed", is_flag=True, help="Only modules that differ from --since.")
@click.option("--since", default="main", show_default=True, help="A branch or commit.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=0,
    help="Most of a mutant; 0: by its tests.",
)
@click.option("--least", type=click.FloatRange(0, 100), default=0, help="Score that each needs.")
@click.option("--count", is_flag=True, help="Only say how many mutants there are.")
@click.option("--report", is_flag=True, help="What is known by now, and each reason; no run.")
@click.option("--json", "wants_json", is_flag=True, help="Scores and survivors for programs.")
def main(
    parts: tuple[str, ...],
    sample: int,
    seed: int,
    changed: bool,
    since: str,
    seconds: float,
    least: float,
    count: bool,
    report: bool,
    wants_json: bool,
) -> None:
    """Change critical modules for the worse, and say what the tests notice."""
    need("pytest", "hypothesis")
    modules = chosen(read_modules(TABLE), parts)
    if changed:
        differ = changed_since(since)
        modules = [one for one in modules if one.path in differ]
        if not modules:
            click.echo(f"no critical module differs from {since}", err=True)
            return
    of = {one: sampled(mutants_of((ROOT / one.path).read_bytes()), sample, seed) for one in modules}
    if count:
        for module, mutants in of.items():
            click.echo(f"{len(mutants):>6} {module.path}")
        return
    known = read_known(KNOWN)
    scores: dict[str, Score] = {}
    if report:
        trial = Trial(Tests(ROOT), Kept(KEPT, ROOT), known)
        scores = {one.path: trial.known_of(one, mutants) for one, mutants in of.items()}
        show(scores)
        show_reasons([one for one in known if one.module in scores])
        return
    with copy_of(ROOT) as folder, Tests(folder) as tests:
        trial = Trial(tests, Kept(KEPT, ROOT), known, seconds)
        for module, mutants in of.items():
            scores[module.path] = trial.of(module, mutants)
    if wants_json:
        click.echo(as_json(scores))
    else:
        show(scores)
    low = [path for path, one in scores.items() if one.percent is not None and one.percent < least]
    if low:
        raise FedsmsError(f"below {least:g} %: {', '.join(low)}")


if __name__ == "__main__":
    run(main, "python scripts/mutate.py")
