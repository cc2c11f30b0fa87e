"""Recipes: what is trained and how, as validated and frozen settings.

A recipe is a TOML file of the tables `[text]`, `[model]`, `[training]`, `[federation]` and, for a
private one, `[privacy]`. Those in `shared/model/recipes/` ship with fedsms; any other file of the
same shape works wherever a recipe is asked for. An unknown key is an error.
"""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from shared.errors import UsageError
from shared.files import read_toml

BUILT_IN = Path(__file__).parent / "recipes"

# 200 MB of float32 for the state, 1 GB for a batch
MAX_PARAMETERS = 16_000_000
MAX_NUMBERS_A_BATCH = 250_000_000

Unit = Literal["message", "owner"]
Aggregation = Literal["fedavg", "norm-clip", "norm-refuse", "trimmed-mean", "median"]
ServerOptimizerName = Literal["none", "fedavgm", "fedadam", "fedyogi"]
Cleaning = Literal["letters", "word-classes", "styled-words", "unicode-words", "unicode-blocks"]
BlockWeight = Annotated[float, Field(ge=0, le=100)]


BLOCKS = {"style": 3, "classes": 29, "words": 64, "pairs": 64}
"""Places that each block of features has in a row of "unicode-blocks"; runs of characters, the last
block, have all others."""
FEWEST_PLACES = sum(BLOCKS.values()) + 1


class _Table(BaseModel):
    """A table of a recipe: frozen, and with no key that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


class TextRecipe(_Table):
    """How a message becomes a row of ids; see shared/model/text.py.

    cleaning: "letters" keeps lower-case a-z words as the 2019 article did; "word-classes" also
        keeps what digits, money, links, phone numbers and shouting look like, as class tokens;
        "styled-words" puts the message's length, digits and capitals before them, and adds all
        these and pairs of words to the spelling features; "unicode-words" does the same in every
        language; "unicode-blocks" puts that one's features at fixed places by their kind, for the
        linear model (shared/model/blocks.py). A name's meaning never changes.
    tokens: words a row; longer messages are cut, shorter ones padded on the left with id 0.
    buckets: ids that words are hashed into, 1 to buckets - 1; id 0 is padding.
    ngrams: spelling features a row, for the model's wide part; 0 turns the wide part off.
    ngram_buckets: ids that spelling features are hashed into, likewise.
    """

    cleaning: Cleaning = "letters"
    tokens: int = Field(default=30, ge=1, le=1000)
    buckets: int = Field(default=8192, ge=2, le=2**22)
    ngrams: int = Field(default=0, ge=0, le=4096)
    ngram_buckets: int = Field(default=32768, ge=2, le=2**22)

    @property
    def width(self) -> int:
        """Ids a row: words, then spelling features."""
        return self.tokens + self.ngrams


class ModelRecipe(_Table):
    """Sizes and parts of the classifier; see shared/model/classifier.py.

    kind: "gru", or "linear": one weight for each spelling feature and nothing else, for private
        runs (shared/model/linear.py). All but the last two keys are the GRU's.
    directions: 1 reads the message from its start; 2 also from its end.
    pooling: what of the GRU's states is classified: the "last" one, or the "max-mean" over them.
    skip_padding: True reads the words alone; False reads the padding too, as the article did.
    dropout: share of what is classified that is dropped while training; 0 turns it off.
    embedding_dropout: the same for the embeddings; 0 turns it off.
    wide_scale: factor of the wide part's logit.
    block_weights: of the linear model, what a feature counts for by its block: style, classes,
        words, pairs of words, characters.
    bias: of the linear model: the logit of a message of which it knows nothing; not trained.
    """

    kind: Literal["gru", "linear"] = "gru"
    embedding: int = Field(default=50, ge=1, le=4096)
    hidden: int = Field(default=10, ge=1, le=1024)
    directions: Literal[1, 2] = 1
    pooling: Literal["last", "max-mean"] = "last"
    skip_padding: bool = False
    dropout: float = Field(default=0.2, ge=0, lt=1)
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    wide_scale: float = Field(default=3.0, gt=0, le=100)
    block_weights: tuple[BlockWeight, BlockWeight, BlockWeight, BlockWeight, BlockWeight] = (
        1.0,
    ) * 5
    bias: float = Field(default=-3.0, ge=-20, le=20)


class TrainingRecipe(_Table):
    """What an owner's node does with the model in one round.

    optimizer: "sgd", or "adam" whose tables of embeddings move in the rows of a batch alone.
    learning_rate: of the first round.
    schedule: "cosine" lets the learning rate fall to 0 over all rounds; "constant" does not.
    clip_norm: largest L2 norm of a gradient over all parameters; 0 turns clipping off.
    max_batches: steps after which a round's training ends, also amid an epoch; 0 sets no limit.
        Where that is half of a shard at most, the next round goes on with the rows that are left.
    proximal_mu: pull of FedProx towards the state that the round began with; 0 turns it off.
    """

    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0, le=1000)
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float = Field(default=5.0, ge=0, le=1e6)
    batch_size: int = Field(default=32, ge=1, le=4096)
    local_epochs: int = Field(default=1, ge=1, le=100)
    max_batches: int = Field(default=0, ge=0, le=10_000_000)
    proximal_mu: float = Field(default=0.0, ge=0, le=1000)

    def rate_at(self, progress: float) -> float:
        """The learning rate when `progress` (0 to 1) of all steps of all rounds are done."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    @property
    def most_steps_told(self) -> int:
        """How many of its last steps a round's result tells of, at most; 0 where of all.

        Each step's pull takes learning_rate * proximal_mu of what the steps before have done.
        """
        taken = self.learning_rate * self.proximal_mu
        bounds = [self.max_batches, max(1, int(1 / taken)) if taken else 0]
        return min((bound for bound in bounds if bound), default=0)


class PrivacyRecipe(_Table):
    """What a private run may tell of a message or an owner, and how it is bounded: docs/privacy.md.

    unit: for what epsilon counts: one "message" that is there or not, or one "owner" with all
        messages or with none. The second bounds what is told of each message as well.
    epsilon: of the whole run's training, at `delta`, for adding or removing one unit; 0 makes
        the run a plain one. held_out_epsilon: the same of each evaluation, for held-out messages.
    clip: largest L2 norm of what one message adds to a round's sum of gradients.
    owner_clip: with unit "owner", largest L2 norm of what one owner adds to it.
    least_rows: with unit "message", what the noisy number of rows counts as at least, where a sum
        is divided by it. With unit "owner" it is divided by the number of owners.
    """

    unit: Unit = "message"
    epsilon: float = Field(default=0.0, ge=0, le=64)
    delta: float = Field(default=1e-5, ge=1e-12, le=1e-2)
    held_out_epsilon: float = Field(default=2.0, gt=0, le=64)
    clip: float = Field(default=0.2, ge=1e-3, le=1)
    owner_clip: float = Field(default=1.0, ge=1e-3, le=100)
    least_rows: int = Field(default=100, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _has_one_unit(self) -> PrivacyRecipe:
        if self.unit == "message" and "owner_clip" in self.model_fields_set:
            raise ValueError('owner_clip is of unit "owner", and the unit is "message"')
        if self.unit == "owner" and self.owner_clip < self.clip:
            raise ValueError("owner_clip is at least clip: an owner has a message or more")
        return self

    @model_serializer(mode="wrap")
    def _told(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys of owners where they say nothing: a recipe keeps its digest."""
        told: dict[str, Any] = handler(self)
        if self.unit == "message":
            del told["unit"], told["owner_clip"]
        return told


def _none_or_one(bound: float) -> float:
    if 0 < bound < 1:
        raise ValueError("a bound is 1 or more, and 0 sets none")
    return bound


class FederationRecipe(_Table):
    """What the coordinator does with the nodes' results (server/aggregation/robust.py).

    Each key is a flag of `train` as well, whose `--help` shows its description.
    """

    rounds: int = Field(
        default=15,
        ge=1,
        le=100_000,
        description="Rounds to train.",
        json_schema_extra={"modes": ["rounds", "pointers"]},
    )
    aggregation: Aggregation = Field(
        default="fedavg",
        description="How results become a model; all but fedavg bound what a few bad nodes can do.",
    )
    norm_bound: float = Field(
        default=2.0,
        ge=1,
        le=1e6,
        description="For the norm rules: times the cohort's median that an update's norm may be.",
    )
    trim: float = Field(
        default=0.2,
        ge=0,
        lt=0.5,
        description="For the trimmed mean: share of the nodes cut at each end of each coordinate; "
        "0 cuts none.",
    )
    rows_bound: Annotated[float, AfterValidator(_none_or_one)] = Field(
        default=10.0,
        ge=0,
        le=1e6,
        description="Times the median of the other nodes' rows that a node may count for, where "
        "rows weigh; 1 or more, 0 sets no bound.",
    )
    server_optimizer: ServerOptimizerName = Field(
        default="none",
        description="What is done with the mean of the results: none makes it the model, as FedAvg "
        "does; the others take a step towards it, with a memory of the rounds before.",
    )
    server_learning_rate: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Of the server optimiser; 0 takes its usual one: 1 for fedavgm, 0.1 for "
        "fedadam, 0.03 for fedyogi.",
    )
    server_momentum: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Of the server optimiser, the beta 1 of fedadam and fedyogi; 0 turns it off. "
        "Without it the usual one counts: 0.6 for fedavgm, 0.9 for the others.",
    )
    server_beta2: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="For fedadam and fedyogi: how much of the second moments stays each round.",
    )
    server_tau: float = Field(
        default=1e-3,
        gt=0,
        le=1e3,
        description="For fedadam and fedyogi: added to the root of the second moments; steps that "
        "are much smaller are taken as they are.",
    )


class Recipe(_Table):
    """One whole recipe. Frozen; `to_json` and `from_json` carry it over the wire."""

    text: TextRecipe = TextRecipe()
    model: ModelRecipe = ModelRecipe()
    training: TrainingRecipe = TrainingRecipe()
    federation: FederationRecipe = FederationRecipe()
    privacy: PrivacyRecipe = PrivacyRecipe()

    @property
    def is_private(self) -> bool:
        """Whether nodes add noise to all that they tell of their rows."""
        return self.privacy.epsilon > 0

    @property
    def parameters(self) -> int:
        """Numbers in the model's state."""
        model = self.model
        if model.kind == "linear":
            return self.text.ngram_buckets
        gates = 3 * model.hidden * model.directions
        states = model.hidden * model.directions * (2 if model.pooling == "max-mean" else 1)
        tables = self.text.buckets * model.embedding
        tables += self.text.ngram_buckets if self.text.ngrams else 0
        return tables + gates * (model.embedding + model.hidden + 2) + states + 1

    @property
    def numbers_a_row(self) -> int:
        """Numbers that a row takes, at most, while it goes through the model and back."""
        model = self.model
        states = self.text.tokens * (2 * model.embedding + 16 * model.hidden * model.directions)
        return states + 2 * self.text.ngrams

    @model_validator(mode="after")
    def _is_private_or_not(self) -> Recipe:
        """A private run is made for one kind of model, and for one way to add results up."""
        linear = self.model.kind == "linear"
        if self.is_private != linear or linear != (self.text.cleaning == "unicode-blocks"):
            raise ValueError(
                'privacy.epsilon above 0, model.kind "linear" and text.cleaning "unicode-blocks" '
                "go together, and without each other they cannot be"
            )
        if linear and self.text.ngrams < FEWEST_PLACES:
            raise ValueError(f"text.ngrams is at least {FEWEST_PLACES} with its blocks")
        if linear and self.federation.aggregation != "fedavg":
            raise ValueError('a private run adds up sums: federation.aggregation is "fedavg"')
        return self

    @model_validator(mode="after")
    def _fits_a_node(self) -> Recipe:
        """A node takes recipes from a coordinator: each number may be fair and the whole not."""
        if self.parameters > MAX_PARAMETERS:
            raise ValueError(
                f"the model has {self.parameters:,} parameters; at most {MAX_PARAMETERS:,} may be"
            )
        numbers = self.training.batch_size * self.numbers_a_row
        if numbers > MAX_NUMBERS_A_BATCH:
            raise ValueError(
                f"a batch needs {numbers:,} numbers in memory; at most {MAX_NUMBERS_A_BATCH:,} "
                "may be: use a smaller batch_size, tokens, embedding or hidden"
            )
        return self

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises UsageError where the text is no valid recipe."""
        try:
            return cls.parse(json.loads(text), source="the recipe received")
        except (ValueError, RecursionError) as error:
            raise UsageError("the recipe received is not JSON", str(error)) from error

    @classmethod
    def parse(cls, tables: Any, source: str) -> Recipe:
        """Checks tables read from `source`; raises UsageError that names every wrong key."""
        try:
            return cls.model_validate(tables)
        except ValidationError as error:
            problems = "; ".join(explain(cls, item) for item in error.errors())
            raise UsageError(f"{source} is not a valid recipe", problems) from error


def explain(root: type[BaseModel], item: Any) -> str:
    """One of pydantic's error items in a user's words; an unknown key names the nearest known one.

    Args:
        root: the model that was validated.
        item: an entry of `ValidationError.errors()`.
    """
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] != "extra_forbidden":
        problem = item["msg"].removeprefix("Value error, ")
        return f"{key}: {problem} (found {item['input']!r})"
    table: Any = root
    for part in path[:-1]:
        field = getattr(table, "model_fields", {}).get(part)
        table = field.annotation if field is not None else table
    known = list(getattr(table, "model_fields", {}))
    near = difflib.get_close_matches(path[-1], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"


def load_recipe(name: str) -> Recipe:
    """The recipe of that name, or in that TOML file.

    Args:
        name: one of those in shared/model/recipes/, or the path of a file that ends in .toml.

    Raises:
        UsageError: no such recipe or file, not TOML, an unknown key, or a value out of bounds.
    """
    built_in = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
    path = BUILT_IN / f"{name}.toml" if name in built_in else Path(name)
    if name not in built_in and path.suffix != ".toml":
        raise UsageError(
            f"there is no recipe {name!r}",
            next_step=f"Use one of {', '.join(built_in)}, or the path of a .toml file.",
        )
    hint = f"Use one of {', '.join(built_in)}, or a file such as shared/model/recipes/default.toml."
    return Recipe.parse(read_toml(path, "the recipe", hint), source=str(path))
