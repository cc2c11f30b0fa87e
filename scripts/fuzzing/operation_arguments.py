"""Arguments for the tensor operations that pointers may ask for, drawn by what torch calls them."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable, Container
from functools import cache
from typing import Any, NamedTuple

import torch

from shared.errors import NodeFailed
from shared.pointers.tensor_operations import OPERATIONS, UNIFORM, Gives
from worker_node.pointers.operations import compile_template

_RENAMED = {"copy": "clone", "concat": "cat"}
_LEFT_OUT = {"out", "generator", "layout", "device", "pin_memory", "memory_format", "names"}
_TENSORS_NAMED = re.compile(
    r"^(other|tensor\d?|mat\d?|vec\d?|batch\d|source|src|values?|end|target|weight|bias|bins?|"
    r"boundaries|sorted_sequence|x\d?|y|exponent|input\d?|anchor|positive|negative|min|max|q|"
    r"test_elements|elements|sections|repeats|running_mean|log_probs|var|index|indices)$"
)


class Tensor(NamedTuple):
    """A place for a tensor. `attribute`: 0 itself, 1 its data, 2 its gradient."""

    kind: str = "any"
    attribute: int = 0


@cache
def parameters(name: str) -> tuple[str, ...]:
    """Names of an operation's parameters after the first, as far as torch tells them."""
    module, _, attribute = name.rpartition(".")
    attribute = _RENAMED.get(attribute, attribute)
    owners: dict[str, Any] = {"": torch.Tensor, "torch": torch}
    found: Any = getattr(owners.get(module, torch.nn.functional), attribute, None)
    found = found if found is not None else getattr(torch, attribute, None)
    try:
        names = list(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        first = (found.__doc__ or "").strip().partition("\n")[0] if found is not None else ""
        inside = re.match(r"[\w.]+\((.*?)\)", first)
        words = inside.group(1).split(",") if inside else []
        names = [re.split(r"[=:]", word)[0].strip().lstrip("*") for word in words]
    names = [one for one in names if one.isidentifier() and one not in _LEFT_OUT]
    if names and (module or names[0] in ("self", "input")):
        names = names[1:]
    if attribute.startswith("__") or not names:
        return ("other", "dim")
    return tuple(names)


def first_parameter(name: str) -> str:
    """What a function's first argument is called by keyword; "" where it has to come first."""
    return "input" if name.startswith("torch.") else ""


def _number(rng: random.Random) -> Any:
    return rng.choice((0, 1, 2, -1, 3, 0.5, -0.5, 1.0, 2.0))


def _size(rng: random.Random) -> Any:
    one = rng.choice((1, 2, 3, 4, -1, 12, 48, Tensor("whole number")))
    return (
        one if rng.random() < 0.3 else [rng.choice((1, 2, 3, 4, -1, 12)), one][: rng.randint(1, 2)]
    )


def _words(text: str) -> list[str]:
    return text.split()


_TRUTHS = _words("""
keepdim inplace training descending unbiased largest sorted stable reverse right
return_inverse return_counts log_target full requires_grad ceil_mode as_tuple""")
_COUNTS = _words("""
length k chunks split_size split_size_or_sections num_groups groups n step stride steps
indices_or_sections diagonal offset shifts decimals num_classes count bins""")
_DIMENSIONS = _words("dim dim0 dim1 axis axis0 axis1 start_dim end_dim source destination")
_SIZES = _words("size sizes shape repeats kernel_size output_size normalized_shape pad reps")
Drawn = Callable[[random.Random], Any]
_BY_NAME: dict[str, Drawn] = {
    **dict.fromkeys(_TRUTHS, lambda rng: rng.random() < 0.5),
    **dict.fromkeys(_COUNTS, lambda rng: rng.choice((1, 2, 3, -1, 0, Tensor("whole number")))),
    **dict.fromkeys(_DIMENSIONS, lambda rng: rng.choice((0, 1, -1))),
    **dict.fromkeys(_SIZES, _size),
    **dict.fromkeys(("dims", "axes"), lambda rng: rng.choice(([0], [0, 1], [1, 0], 1))),
    **dict.fromkeys(("index", "indices"), lambda rng: Tensor("index")),
    **dict.fromkeys(("mask", "condition"), lambda rng: Tensor("mask")),
    **dict.fromkeys(("ord", "norm_type", "p"), lambda rng: rng.choice((1, 2, 0.5))),
    **dict.fromkeys(
        ("weight", "bias", "pos_weight"),
        lambda rng: rng.choice((None, Tensor("real"), Tensor("real"))),
    ),
    "dtype": lambda rng: torch.dtype,
    "tensors": lambda rng: [Tensor()] * rng.randint(1, 3),
    "equation": lambda rng: rng.choice(("ij->ji", "ij->ij", "i->", "ij->i")),
    "reduction": lambda rng: rng.choice(("mean", "sum", "none")),
    "rounding_mode": lambda rng: rng.choice((None, "floor", "trunc")),
}


def draw(rng: random.Random, parameter: str) -> Any:
    """A value that an argument of that name might take; places for tensors as Tensor."""
    if rng.random() < 0.08:
        return rng.choice((_number(rng), Tensor(), None, True, [Tensor()], ...))
    if _TENSORS_NAMED.match(parameter) and rng.random() < 0.6:
        return Tensor("index" if parameter in ("index", "indices") else "any")
    if parameter in _BY_NAME:
        return _BY_NAME[parameter](rng)
    return Tensor("single") if rng.random() < 0.15 else _number(rng)


def drawn_call(rng: random.Random, name: str) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of an operation, by position and by keyword, places for tensors left open."""
    if name.endswith("__getitem__"):
        return [_first(rng, name), _place(rng)], {}
    names = parameters(name)
    count = min(len(names), rng.choice((0, 1, 1, 2, 2, 3)))
    values = [draw(rng, one) for one in names[:count]]
    by_position = rng.randint(0, count)
    given = [_first(rng, name), *values[:by_position]]
    named = dict(zip(names[by_position:count], values[by_position:], strict=True))
    if first_parameter(name) and not by_position and rng.random() < 0.3:
        named = {**named, first_parameter(name): given.pop()}
    return given, named


def _first(rng: random.Random, name: str) -> Any:
    module, _, function = name.rpartition(".")
    if module == "dataset":
        return Tensor("dataset")
    if function in ("stack", "cat", "concat", "hstack", "vstack", "dstack"):
        return [Tensor()] * rng.randint(1, 3)
    if function in (
        "zeros",
        "ones",
        "full",
        "rand",
        "randn",
        "randint",
        "randperm",
        "eye",
        "arange",
    ):
        return _size(rng) if rng.random() < 0.8 else Tensor("whole number")
    if function in ("einsum",):
        return rng.choice(("ij->ji", "ij->ij", "i->"))
    if function == "backward":
        return Tensor("graph")
    kinds = ("any", "any", "real", "real", "index", "mask", "single")
    return Tensor(rng.choice(kinds), rng.choice((0,) * 8 + (1, 2)))


def _place(rng: random.Random) -> Any:
    whole = Tensor("whole number")
    parts = (slice(0, 2), slice(None, None, 2), (0, 0), (slice(None), 1), ..., (..., 0))
    return rng.choice((0, -1, *parts, Tensor("index"), Tensor("mask"), whole, (0, whole)))


@cache
def known_operations() -> tuple[str, ...]:
    """Those on the list that this torch has, but for the one whose numbers no seed leads to."""
    found = []
    for name in OPERATIONS:
        if name == UNIFORM:
            continue
        try:
            compile_template((name, (), ()))
        except NodeFailed:
            continue
        found.append(name)
    return tuple(found)


def some_operation(rng: random.Random, reached: Container[str]) -> str:
    """One of the operations; those not reached yet, and those in place, more often."""
    chance, names = rng.random(), list[str]()
    if chance < 0.3:
        names = [one for one in known_operations() if one not in reached]
    elif chance < 0.5:
        names = [one for one in known_operations() if OPERATIONS[one] is Gives.ITSELF]
    return rng.choice(names or known_operations())
