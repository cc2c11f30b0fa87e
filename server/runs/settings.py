"""The settings of a training run, each declared once; server/runs/setting.py says what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from server.nodes.addresses import NodeAddress
from server.rounds.cohort import HALF, MinNodes
from server.runs.setting import (
    ROUNDS_ONLY,
    Group,
    SecureWanted,
    Setting,
    Tracked,
    TrainingMode,
    of_dataclass,
    of_table,
    setting,
)
from shared.errors import UsageError
from shared.identity.folder import DEFAULT
from shared.model.recipe import FederationRecipe, Recipe
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run.

    nodes: whom it asks. recipe: what it trains, with the [federation] table as the flags have it.
    identity: the identity folder, for lines with TLS.
    authority: folder whose open invitations are taken while nodes dial in; None takes none.
    The others are settings, and say themselves what they mean.
    """

    nodes: tuple[NodeAddress, ...]
    recipe: Recipe
    recipe_name: str = setting(
        "default",
        Group.TRAINED,
        "What is trained, and how.",
        name="recipe",
        metavar="tutorial|default|FILE.toml",
        decides=True,
    )
    seed: int = setting(
        1,
        Group.TRAINED,
        "The same seed, nodes and rows give the same weights, bit for bit.",
        at_least=0,
        at_most=2**63 - 1,
        decides=True,
    )
    mode: TrainingMode = setting(
        "rounds",
        Group.TRAINED,
        "rounds: on all nodes at once, averaged. pointers: batch by batch, as in the 2019 "
        "article; an epoch counts as a round, and each owner must allow it.",
        decides=True,
    )
    replay: bool = setting(
        False,
        Group.TRAINED,
        "With --mode pointers: record the training step once and replay it, one message a batch; "
        "same numbers, faster.",
        decides=True,
        modes=("pointers",),
    )
    evaluate_every: int | None = setting(
        None,
        Group.TRAINED,
        "Rounds from one whose model is measured on held-out rows to the next; the last round's "
        "always is. A round without takes less time, and tells less of the rows.",
        otherwise="1; in a private run, where measuring costs, the last round alone",
        at_least=1,
        may_change=True,
        modes=ROUNDS_ONLY,
    )
    compare: bool = setting(
        False,
        Group.TRAINED,
        "After the last round each node also trains alone, as many rounds, and tells how that "
        "model does beside the federated one: was it worth joining?",
        may_change=True,
        modes=ROUNDS_ONLY,
    )
    hand_out: bool = setting(
        False,
        Group.TRAINED,
        "After the last round each owner whose policy takes it gets the model, for predictions of "
        "its own: python -m worker_node predict.",
        may_change=True,
        modes=ROUNDS_ONLY,
    )
    cohort: int = setting(
        0,
        Group.WHO,
        "Nodes drawn for each round, by the seed; 0 asks all.",
        at_least=0,
        decides=True,
        modes=ROUNDS_ONLY,
    )
    secure_aggregation: SecureWanted = setting(
        "auto",
        Group.WHO,
        "Whether the coordinator sees sums alone, and no owner's own numbers; the bare flag means "
        "on. auto: where all nodes offer it and there are three or more.",
        bare="on",
        decides=True,
        modes=ROUNDS_ONLY,
    )
    min_nodes: MinNodes | None = setting(
        None,
        Group.FAILS,
        "Nodes that a round needs, also the first: a count such as 3, or a share of those asked "
        "such as 0.8.",
        otherwise="all to begin with, then 0.5",
        metavar="COUNT|SHARE",
        may_change=True,
        modes=ROUNDS_ONLY,
    )
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    run_dir: Path = setting(Path("runs"), Group.WHERE, "Folder that holds the run folders.")
    name: str | None = setting(
        None,
        Group.WHERE,
        "Last part of the run folder's name.",
        otherwise="the recipe's name",
    )
    checkpoints: int = setting(
        3,
        Group.WHERE,
        "How many rounds' models are kept besides the newest.",
        at_least=0,
    )
    track: Tracked = setting(
        "off",
        Group.WHERE,
        "Where figures, settings and model go besides the run folder: tensorboard, into "
        "RUN/tensorboard; mlflow, to the server that MLFLOW_TRACKING_URI names; or both.",
        may_change=True,
    )
    identity: Path = DEFAULT
    authority: Path | None = None

    @property
    def asked(self) -> int:
        """How many nodes a round asks."""
        return min(self.cohort or len(self.nodes), len(self.nodes))

    @property
    def quorum(self) -> MinNodes:
        """What a round needs."""
        return self.min_nodes or HALF

    @property
    def folder_name(self) -> str:
        """Last part of the run folder's name."""
        return self.name or Path(self.recipe_name).stem


OWN = tuple(of_dataclass(RunSettings))
OVER_THE_RECIPE = tuple(
    of_table(
        FederationRecipe, "recipe.federation", group=Group.TRAINED, decides=True, modes=ROUNDS_ONLY
    )
)
TIMEOUTS = tuple(
    of_dataclass(
        Timeouts,
        "timeouts",
        group=Group.FAILS,
        metavar="SECONDS",
        at_least=0,
        at_most=1e9,
        may_change=True,
        modes=ROUNDS_ONLY,
    )
)
SETTINGS: tuple[Setting, ...] = (*OWN, *OVER_THE_RECIPE, *TIMEOUTS)
"""Every setting of a run, by where its value lives."""
BY_NAME = {one.name: one for one in SETTINGS}
NOT_KEPT = ("run_dir", "name")
"""Settings that the run folder's own place says; settings.json does without."""


def over_recipe(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe, with other values of its [federation] table where they are not None.

    Raises:
        UsageError: a value that a recipe may not have.
    """
    given = {one.name: values.get(one.name) for one in OVER_THE_RECIPE}
    tables = recipe.model_dump()
    tables["federation"] |= {key: value for key, value in given.items() if value is not None}
    return Recipe.parse(tables, source="the recipe with these flags")


def from_values(values: Mapping[str, Any], recipe: Recipe, **others: Any) -> RunSettings:
    """The settings of a run that begins.

    Args:
        values: by setting's name, as a flag gives them; one that is missing has its default.
        recipe: the recipe that is named, as its file has it.
        others: the fields of RunSettings that are no settings.

    Raises:
        UsageError: a value out of bounds.
    """
    own = {one.path: values[one.name] for one in OWN if one.name in values}
    if own.get("min_nodes"):
        own["min_nodes"] = MinNodes.parse(str(own["min_nodes"]))
    timeouts = Timeouts(**{one.name: values[one.name] for one in TIMEOUTS if one.name in values})
    return RunSettings(recipe=over_recipe(recipe, values), timeouts=timeouts, **own, **others)


def changed(settings: RunSettings, values: Mapping[str, Any]) -> RunSettings:
    """A stopped run's settings with those of the values that a resumed run may change.

    Args:
        values: by setting's name, as a flag gives them.

    Raises:
        UsageError: a value out of bounds.
    """
    timeouts = {one.name: values[one.name] for one in TIMEOUTS if one.name in values}
    own = {one.path: values[one.name] for one in OWN if one.may_change and one.name in values}
    if own.get("min_nodes"):
        own["min_nodes"] = MinNodes.parse(str(own["min_nodes"]))
    return replace(settings, timeouts=replace(settings.timeouts, **timeouts), **own)


def to_json(settings: RunSettings) -> dict[str, Any]:
    """The settings as settings.json holds them, besides recipe and nodes."""
    own = {one.path: one.of(settings) for one in OWN if one.name not in NOT_KEPT}
    if own["min_nodes"] is not None:
        own["min_nodes"] = str(own["min_nodes"])
    return {**own, "timeouts": asdict(settings.timeouts)}


def from_json(values: Mapping[str, Any], **others: Any) -> RunSettings:
    """The settings of a settings.json; one that an older version did not have has its default.

    Args:
        others: the fields that are not kept there, or are no settings.

    Raises:
        TypeError, ValueError, AttributeError: what is there is no such setting's.
        UsageError: a value out of bounds.
    """
    kept = [one for one in OWN if one.name not in NOT_KEPT and one.path in values]
    own = {one.path: _checked(one, values[one.path]) for one in kept}
    if own.get("min_nodes"):
        own["min_nodes"] = MinNodes.parse(own["min_nodes"])
    timeouts = Timeouts(**dict(values.get("timeouts", {})))
    return RunSettings(timeouts=timeouts, **own, **others)


def _checked(one: Setting, value: Any) -> Any:
    """A value as the declaration has it. Raises TypeError, ValueError."""
    if value is None and one.default is None:
        return None
    if type(value) is not one.type:
        raise TypeError(f"{one.path} is no {one.type.__name__}")
    if one.choices and value not in one.choices:
        raise ValueError(f"{one.path} is none of {', '.join(one.choices)}")
    low = -math.inf if one.at_least is None else one.at_least
    high = math.inf if one.at_most is None else one.at_most
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise ValueError(f"{one.path} is out of bounds")
    return value


def check_mode(mode: str, given: Mapping[str, Any]) -> None:
    """Raises UsageError for a setting that the mode does not have.

    Args:
        given: the settings that somebody gave, wherever, by name.
    """
    for one in (one for one in SETTINGS if one.name in given and mode not in one.modes):
        if mode == "pointers":
            raise UsageError(
                f"{one.flag} does not go with --mode pointers",
                "a batch is on one node at a time: nothing is averaged, and a lost node ends the "
                "run",
                f"Leave {one.flag} away, or train in rounds.",
            )
        if given[one.name]:
            raise UsageError(
                f"{one.flag} is for --mode pointers",
                next_step="Leave it out, or add --mode pointers.",
            )


def check_resumed(settings: RunSettings, given: Mapping[str, Any]) -> None:
    """Raises UsageError for a value that says something else than the run that is resumed.

    Args:
        settings: the run's own. given: what somebody gave for the resume, by setting's name.
    """
    for one in (one for one in SETTINGS if one.name in given and not one.may_change):
        is_kept = one.name not in NOT_KEPT
        if not is_kept or given[one.name] != one.of(settings):
            raise UsageError(
                f"{one.flag} {given[one.name]} does not go with --resume",
                f"the run has {one.of(settings)}" if is_kept else "the run folder is there",
                f"Leave {one.flag} away: a run goes on with what it began with.",
            )
