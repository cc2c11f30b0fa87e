"""Name and shape of each tensor of a recipe's model, without torch."""

from __future__ import annotations

from shared.model.recipe import Recipe


def layout(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """In the order of the model's state: that of the model's `state_dict()`, as tests hold."""
    text, model = recipe.text, recipe.model
    if model.kind == "linear":
        return {"weights": (text.ngram_buckets,)}
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (text.buckets, model.embedding)}
    if text.ngrams:
        shapes["wide.weight"] = (text.ngram_buckets, 1)
    for cell in ("gru", "reverse_gru")[: model.directions]:
        for gates, inputs in (("input_gates", model.embedding), ("hidden_gates", model.hidden)):
            shapes[f"{cell}.{gates}.weight"] = (3 * model.hidden, inputs)
            shapes[f"{cell}.{gates}.bias"] = (3 * model.hidden,)
    pooled = model.hidden * model.directions * (2 if model.pooling == "max-mean" else 1)
    return {**shapes, "output.weight": (1, pooled), "output.bias": (1,)}
