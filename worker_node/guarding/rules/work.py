"""How much is done: the largest recipes, the work of a day, and models that are kept."""

from __future__ import annotations

from pydantic import Field

from shared.model.recipe import MAX_PARAMETERS
from worker_node.guarding.rules.table import Table


class RecipeBounds(Table):
    """The largest recipes that are trained and evaluated here, and the smallest trainings."""

    parameters: int = Field(
        4_000_000,
        ge=1,
        le=MAX_PARAMETERS,
        description="Numbers in the model; the built-in recipes have under half a million.\n"
        "It also bounds what a coordinator may send in one piece: 4 bytes a number, and a little.",
    )
    tokens: int = Field(1000, ge=1, le=1000, description="Words read of a message.")
    local_epochs: int = Field(100, ge=1, le=100, description="Passes over the rows in a round.")
    batch_size: int = Field(4096, ge=1, le=4096, description="Rows a step.")
    rounds: int = Field(1000, ge=1, le=100_000, description="Rounds in a run.")
    fewest_rows_a_step: int = Field(
        8,
        ge=1,
        le=2048,
        description="Rows that each step of a training has at least, or all if there are fewer.\n"
        "What a single row did to a model lies open in it. A batch_size of b has steps of\n"
        "b / 2 rows or more.",
    )
    fewest_rows_mixed: int = Field(
        128,
        ge=1,
        description="Rows that a training goes over at least, where max_batches ends it early: as\n"
        "many steps of batch_size / 2 rows.",
    )
    fewest_steps: int = Field(
        1,
        ge=1,
        description="Steps that max_batches must leave a training. The result of one step alone\n"
        "is the sum of what each of its rows did.",
    )
    proximal_mu: float = Field(
        1.0,
        ge=0,
        description="Pull of FedProx towards the state that was sent. A strong one undoes what a\n"
        "training's first steps did, so the steps that are left count in the three rules above.",
    )


class DailyBounds(Table):
    """How much is done in a day, for all coordinators together, whatever they call themselves."""

    rounds: int = Field(
        5000,
        ge=0,
        description="Trainings a day, of which each tells the coordinator about the rows anew. A\n"
        "session of pointer operations counts as one.",
    )
    evaluations: int = Field(5000, ge=0, description="Evaluations a day.")
    comparisons: int = Field(
        100,
        ge=0,
        description="Comparisons a day, each of which trains as long as a whole run does.",
    )
    models: int = Field(
        100, ge=0, description="Models that are kept a day, each of which is written to the disk."
    )


class HandedOutModels(Table):
    """Models that coordinators hand out after a run, kept here for your own predictions."""

    kept: int = Field(
        3,
        ge=0,
        le=100,
        description="How many are kept, of all coordinators together, one of each run; a newer\n"
        "one takes the place of the oldest. 0 takes none. It is the model that every node of the\n"
        "run gets each round anyway; kept, it can be read by whoever reads this disk.",
    )
    megabytes: int = Field(
        16,
        ge=1,
        le=1024,
        description="Size of the largest that is kept, in units of a million bytes.",
    )
    of_own_runs: bool = Field(
        True,
        description="Keep a model only of a run, and a recipe, that this node trained in.",
    )
