"""What a sum of owners' numbers says: a model and its loss, or how a model does.

Of a plain run the numbers are states and counts; of a private one they are gradients and counts
with noise, and the same whether the sum was secure or made here.
"""

from __future__ import annotations

from collections.abc import Callable

from server.aggregation.aggregators import Aggregate
from server.rounds.evaluation import Evaluation
from server.rounds.gathering import Trained
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from server.rounds.secure_sums import SumLost
from server.rounds.step import StepResult
from shared.model.metrics import merge, metrics_from
from shared.model.recipe import Recipe
from shared.privacy.noisy_counts import NoisyCounts
from shared.privacy.private_sum import PrivateSum
from shared.secure_aggregation.contents import TrainingSum, decode_evaluation
from shared.secure_aggregation.fixed_point import Ring

Notify = Callable[[str, str], object]

NOT_MEASURED = Evaluation(metrics_from(merge(())))


def measures(recipe: Recipe, plan: Plan, number: int) -> bool:
    """Whether a round's model is measured: that of the last always is."""
    if number == recipe.federation.rounds:
        return True
    if plan.evaluate_every is None:
        return not recipe.is_private  # where each measuring costs
    return number % plan.evaluate_every == 0


def trained_from(
    numbers: Ring, recipe: Recipe, number: int, base: OutgoingState, step: StepResult
) -> Trained:
    """What the sum of a round's trainings gave.

    Raises:
        SumLost: it is no model.
    """
    if recipe.is_private:
        noisy = PrivateSum.decode(numbers, recipe)
        state = noisy.step(base.state, recipe, number)
        return Trained(step, Aggregate(state), noisy.weight(recipe), noisy.loss(recipe))
    try:
        found = TrainingSum.decode(numbers)
        return Trained(step, Aggregate(found.state), found.rows, found.loss)
    except ValueError as error:
        raise SumLost(
            f"the secure sum of round {number} is no model",
            str(error),
            "Perhaps a training diverged, nobody learns whose; a smaller learning rate may help.",
        ) from error


def evaluation_from(numbers: Ring, recipe: Recipe, notify: Notify) -> Evaluation:
    """The figures in a sum of held-out counts.

    Args:
        notify: told of intervals, where the counts have noise.

    Raises:
        SumLost: the counts are impossible.
    """
    if recipe.is_private:
        noisy = NoisyCounts.decode(numbers, recipe.privacy.unit)
        notify("", noisy.in_words())
        return Evaluation(noisy.metrics)
    try:
        summary = decode_evaluation(numbers)
        return Evaluation(metrics_from(summary), scores=summary)
    except ValueError as error:
        raise SumLost("the secure sum of held-out counts is impossible", str(error)) from error
