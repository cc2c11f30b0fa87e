"""`python -m worker_node budget`: what was told with noise, to whom, and what is left to tell."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.cli import command, identity_option, say
from shared.errors import UsageError
from shared.quoting import escaped
from worker_node.cli.options import counts_of

if TYPE_CHECKING:
    from shared.model.recipe import Unit
    from worker_node.guarding.budget import Spent, Told
    from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
    from worker_node.privacy.accounts import Accounts, Part

LEDGER = "privacy.jsonl"
_NAMES: dict[Part, str] = {"training": "Training", "held_out": "Held-out"}
_OF: dict[Unit, str] = {"message": "", "owner": " of you as an owner"}


@command(
    "budget",
    "python -m worker_node budget",
    "python -m worker_node budget --recipe private",
    "python -m worker_node budget --end RUN",
)
@identity_option
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    help=f"[default: {LEDGER} in the identity folder; without one, beside the node's counts]",
)
@counts_of("ledger is")
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_POLICY",
    show_envvar=True,
    help="[default: policy.toml where serve finds it]",
)
@click.option("--recipe", metavar="NAME|FILE.toml", help="Say what a run of it would cost.")
@click.option(
    "--end",
    "ended",
    metavar="RUN",
    help="No more is told to this run, and what it did not use comes back. The node must be "
    "stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def budget(
    identity: Path,
    ledger: Path | None,
    counts: Path | None,
    policy: Path | None,
    recipe: str | None,
    ended: str | None,
    as_json: bool,
) -> None:
    """Show what coordinators were told with noise, and what the budget has left.

    Epsilon is told twice: towards a coordinator, with the noise of the owners that you trust, and
    towards all others together, who know their own.
    """
    from shared.files import is_present
    from worker_node.guarding.budget import spent, told_to
    from worker_node.guarding.policy_file import find_policy
    from worker_node.guarding.set_up import ledger_beside

    path = ledger or (ledger_beside(counts) if counts is not None else identity / LEDGER)
    terms = find_policy(policy, identity)[0].differential_privacy
    accounts = _end(path, identity, ended) if ended else _read(path, identity)
    parts = {part: spent(accounts, part, terms) for part in _NAMES}
    runs = [told_to(run, found, terms.delta) for run, found in accounts.runs.items()]
    cost = _cost(recipe, parts["training"], terms) if recipe else None
    if not is_present(path):
        say(f"There is no ledger at {path}: no node that keeps it there has served yet.", err=True)
    if as_json:
        facts: dict[str, Any] = {"ledger": str(path), "delta": terms.delta}
        facts["runs"] = [asdict(run) for run in runs]
        facts |= {name: asdict(part) for name, part in parts.items()}
        click.echo(json.dumps({**facts, "cost": cost} if cost else facts))
        return
    lines = [f"{_NAMES[name]}: {part.in_words(terms.delta)}" for name, part in parts.items()]
    lines += [_line(run) for run in runs]
    lines += [cost["words"]] if cost else []
    click.echo("\n".join(map(escaped, lines)))


def _line(run: Told) -> str:
    what = "rounds" if run.part == "training" else "evaluations"
    open_yet = "" if run.over else ", and counts as a whole until it is over"
    return (
        f"  {run.coordinator}  {run.run[:40]}  {run.told} of {run.releases} {what}  "
        f"epsilon {run.epsilon:.2f}{_OF[run.unit]}{open_yet}"
    )


def _cost(recipe: str, left: Spent, terms: DifferentialPrivacyTerms) -> dict[str, Any]:
    """What a run of a recipe would tell, and whether it fits."""
    from shared.model.recipe import load_recipe
    from shared.privacy.accountant import epsilon_of, mu_of

    found = load_recipe(recipe)
    if not found.is_private:
        raise UsageError(
            f"the recipe {recipe} is not private, and has no cost in epsilon",
            "what its rounds tell has no noise, and so no bound",
            "Name a private one: private, private-strict, private-owner.",
        )
    mu = mu_of(found.privacy.epsilon, found.privacy.delta)
    epsilon = epsilon_of(mu, terms.delta)
    alone = epsilon_of(mu * math.sqrt(terms.honest_owners + 1), terms.delta)
    unit = found.privacy.unit
    fits = left.left is None or (
        (left.unit, unit) != ("owner", "message") and epsilon <= left.left * (1 + 1e-6)
    )
    words = (
        f"A run of {recipe} would tell epsilon {epsilon:.2f}{_OF[unit]} in "
        f"{found.federation.rounds} rounds, and {'fits' if fits else 'does not fit'}."
    )
    if left.left is not None and (left.unit, unit) == ("owner", "message"):
        words += " The policy counts you as one owner, and the recipe each message for itself."
    if alone > epsilon:
        words += f" In a secure sum, {alone:.2f} towards all others together."
    return {
        "epsilon": epsilon,
        "towards_all_others": alone,
        "unit": unit,
        "fits": fits,
        "words": words,
    }


def _read(path: Path, identity: Path) -> Accounts:
    from shared.files import is_present
    from shared.identity.folder import KEY, read_key
    from worker_node.privacy.accounts import Accounts
    from worker_node.privacy.chain_file import anchor_of, damaged, read_chain

    if not is_present(path):
        if is_present(anchor_of(path)):
            raise damaged(path, "it is missing, and its anchor is there")
        return Accounts()
    key = read_key(identity).public_key() if (identity / KEY).exists() else None
    try:
        return Accounts(read_chain(path, key)[0])
    except ValueError as error:
        raise damaged(path, str(error)) from None


def _end(path: Path, identity: Path, ended: str) -> Accounts:
    from shared.files import is_present
    from shared.identity.folder import KEY, read_key
    from worker_node.privacy.ledger import Ledger

    key = read_key(identity) if (identity / KEY).exists() else None
    found = Ledger(path, key) if is_present(path) else None
    runs = [run for run in found.accounts.runs if run.run == ended] if found is not None else []
    if found is None or not runs:
        raise UsageError(
            f"the ledger has no run {ended!r:.80}",
            next_step="python -m worker_node budget lists them.",
        )
    try:
        for run in runs:
            found.end(run)
    finally:
        found.close()
    return found.accounts
