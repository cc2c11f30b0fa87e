"""model_card.md: a passport for people.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019. A function of the passport alone,
so that whoever verifies the one can verify the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.passport.statements import OwnerPart, Passport

CARD = "model_card.md"
_FIGURES = {"roc_auc": "ROC AUC", "average_precision": "average precision", "f1": "F1"}


def model_card(passport: Passport, unsigned: str = "") -> str:
    """The card in Markdown.

    Args:
        unsigned: why nobody signed the passport; "" where somebody did.
    """
    return "\n".join(
        [
            f"# Model card: {passport.folder}",
            "",
            "A classifier of SMS messages as ham or spam, trained where the messages are.",
            "",
            f"Signed: {_signer(passport, unsigned)}.",
            "",
            *_section("Training", _training(passport)),
            *_table("Owners", _owners(passport)),
            *_table("Measured on rows that nobody trained on", _measured(passport)),
            *_section("Limits", _limits(passport)),
        ]
    )


def _signer(passport: Passport, unsigned: str) -> str:
    if unsigned:
        return f"no, {unsigned}"
    return (
        f"by the coordinator {passport.coordinator} at {passport.at}; python -m server verify RUN"
    )


def _training(passport: Passport) -> Iterable[str]:
    yield f"recipe `{passport.recipe_name}`, SHA-256 {passport.recipe_digest}"
    yield f"{passport.rounds} rounds, seed {passport.seed}, mode {passport.mode}"
    federation: dict[str, Any] = passport.recipe["federation"]
    rule = passport.own_rule or federation["aggregation"]
    yield f"aggregation {rule}, server optimiser {federation['server_optimizer']}"
    sums = "sums of owners alone" if passport.secure_sums else "each owner's trained model"
    yield f"the coordinator saw {sums}"
    yield f"run {passport.run}, by fedsms {passport.versions.get('fedsms', '?')}"
    yield f"model, SHA-256 of its numbers: {passport.model}"


def _owners(passport: Passport) -> Iterable[tuple[str, ...]]:
    yield ("owner", "rows", "rounds", "certificate", "countersigned")
    for node, part in sorted(passport.owners.items()):
        rows = f"{part.rows['train']:,}" if "train" in part.rows else "not told"
        proof = f"{part.certificate[:23]}..." if part.certificate else "none"
        yield (node, rows, str(len(part.rounds)), proof, _countersigned(part))


def _countersigned(part: OwnerPart) -> str:
    if part.countersigned is None:
        return f"no: {part.missing}" if part.missing else "no"
    says = part.countersigned.says
    log = f"audit log at line {says.audit.lines:,}" if says.audit is not None else "no audit log"
    model = "measured this model" if says.has_measured else "did not measure this model"
    return f"yes; {model}; {says.policy}; {log}"


def _measured(passport: Passport) -> Iterable[tuple[str, ...]]:
    yield ("owner", "rows", *(f"{name} in %" for name in _FIGURES.values()))
    found = {node: part.metrics for node, part in sorted(passport.owners.items())}
    for node, metrics in {**found, "all": passport.metrics}.items():
        if metrics is not None:
            figures = (_percent(metrics.get(name)) for name in _FIGURES)
            yield (node, f"{metrics.get('rows', 0):,}", *figures)


def _percent(value: float | None) -> str:
    return "not defined" if value is None else f"{100 * value:.2f}"


def _limits(passport: Passport) -> Iterable[str]:
    yield "rows and labels are the owners' word; nobody else has seen them"
    yield "a score is no certainty: what the model has not seen the like of, it may get wrong"
    yield _privacy(passport)


def _privacy(passport: Passport) -> str:
    privacy: dict[str, Any] = passport.recipe.get("privacy", {})
    if not privacy.get("epsilon"):
        return "trained without differential privacy, so that there is no epsilon: docs/privacy.md"
    unit = privacy.get("unit", "message")
    return (
        f"its training has epsilon {privacy['epsilon']:g} at delta {privacy['delta']:g} for each "
        f"{unit}, as the recipe says; what was spent in all is in each owner's own ledger: "
        "docs/privacy.md"
    )


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {_plain(line)}" for line in lines), ""]


def _table(title: str, rows: Iterable[tuple[str, ...]]) -> list[str]:
    head, *others = [tuple(_plain(cell).replace("|", "\\|") for cell in row) for row in rows]
    lines = [head, ("---",) * len(head), *others]
    return [f"## {title}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]


def _plain(text: str) -> str:
    """On one line, whatever a peer said."""
    return " ".join(text.split())
