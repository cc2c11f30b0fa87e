"""The classifier: word embeddings, one GRU layer, and a linear layer whose sigmoid says "spam".

One set of weights, three ways through the recurrence, equal to rounding:
- `forward_cell`: a cell made of Linear layers, a step at a time, as the 2019 article built it.
- `forward`: torch's fused GRU, for whoever has the model and some text.
- `scanned`: the recurrence of shared/model/gru_scan.py, for training on a CPU.

Options that the tutorial recipe leaves off: a second direction, pooling over all states, skipping
the padding, and a wide part, which adds one weight for each spelling feature to the logit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.model.gru_scan import scan
from shared.model.linear import BlockLinear
from shared.model.recipe import Recipe

State = npt.NDArray[np.float32]
Recurrence = Callable[[Tensor, "GRUCell"], Tensor]


class GRUCell(nn.Module):
    """One step of a GRU out of two Linear layers, with the gates in the order of `nn.GRU`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input_gates = nn.Linear(inputs, 3 * hidden)
        self.hidden_gates = nn.Linear(hidden, 3 * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)

    def forward(self, projected: Tensor, state: Tensor) -> Tensor:
        """The next state (batch, hidden) from `input_gates(input)` (batch, 3 hidden)."""
        hidden = self.hidden
        recurrent = self.hidden_gates(state)
        both = projected[:, : 2 * hidden] + recurrent[:, : 2 * hidden]
        gates = both.sigmoid()
        reset, update = gates[:, :hidden], gates[:, hidden:]
        new = (projected[:, 2 * hidden :] + reset * recurrent[:, 2 * hidden :]).tanh()
        after: Tensor = new + update * (state - new)
        return after


class SpamGRU(nn.Module):
    """A recipe's model. `state_dict` order: embedding, wide, gru, reverse_gru, output."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        text, model = recipe.text, recipe.model
        self.recipe = model
        self.tokens = text.tokens
        self.embedding = nn.Embedding(text.buckets, model.embedding)
        self.wide = nn.Embedding(text.ngram_buckets, 1) if text.ngrams else None
        self.gru = GRUCell(model.embedding, model.hidden)
        two = model.directions == 2
        self.reverse_gru = GRUCell(model.embedding, model.hidden) if two else None
        pooled = model.hidden * model.directions * (2 if model.pooling == "max-mean" else 1)
        self.output = nn.Linear(pooled, 1)
        self.dropout = nn.Dropout(model.dropout)
        self.embedding_dropout = nn.Dropout(model.embedding_dropout)
        if self.wide is not None:
            nn.init.zeros_(self.wide.weight)

    @property
    def cells(self) -> list[GRUCell]:
        return [self.gru] if self.reverse_gru is None else [self.gru, self.reverse_gru]

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch,) of rows of ids (batch, width) int64; P(spam) is their sigmoid."""
        return self._through(ids, fused)

    def forward_cell(self, ids: Tensor) -> Tensor:
        """The same through the cell of Linear layers."""
        return self._through(ids, stepwise)

    def _through(self, ids: Tensor, recurrence: Recurrence) -> Tensor:
        words, lengths = self.arrange(ids[:, : self.tokens])
        states = [
            recurrence(self.embedding_dropout(self.embedding(sequence)), cell)
            for sequence, cell in zip(words, self.cells, strict=True)
        ]
        logits = self.classify(torch.stack(states), lengths)
        if self.wide is None:
            return logits
        features = ids[:, self.tokens :]
        return logits + self.wide_logits(self.wide(features).squeeze(2), features)

    def arrange(self, words: Tensor) -> tuple[Tensor, Tensor | None]:
        """Words in the order in which each direction reads them.

        Args:
            words: ids (batch, tokens), padded on the left.

        Returns:
            The ids (directions, batch, time), and the rows' lengths (batch,), at least 1, where
            padding is skipped; what stands behind a row's length is for nobody to read. Where
            padding is read, time is tokens, and None.
        """
        directions = len(self.cells)
        if not self.recipe.skip_padding:
            return torch.stack([words, words.flip(1)][:directions]), None
        tokens = words.shape[1]
        lengths = (words != 0).sum(dim=1).clamp(min=1)
        steps = torch.arange(int(lengths.max()))
        onward = words.gather(1, (steps + (tokens - lengths)[:, None]) % tokens)
        # padding on the left comes last when the row is read from its end
        back = words.flip(1)[:, : len(steps)]
        return torch.stack([onward, back][:directions]), lengths

    def classify(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """Logits (batch,), without the wide part, of states (directions, batch, time, hidden)."""
        pooled = _last(states, lengths) if self.recipe.pooling == "last" else _pool(states, lengths)
        logits: Tensor = self.output(self.dropout(pooled)).squeeze(1)
        return logits

    def wide_logits(self, weights: Tensor, features: Tensor) -> Tensor:
        """The wide part's logits (batch,): the mean weight, times the root of their number.

        Args:
            weights: of the features, (batch, ngrams).
            features: their ids (batch, ngrams), 0 for none.
        """
        real = features != 0
        number = real.sum(dim=1).clamp(min=1)
        return self.recipe.wide_scale * (weights * real).sum(dim=1) / number.sqrt()


def fused(sequence: Tensor, cell: GRUCell) -> Tensor:
    """States (batch, time, hidden) of (batch, time, n) by the function beneath `nn.GRU`."""
    start = sequence.new_zeros(1, sequence.shape[0], cell.hidden)
    a, b = cell.input_gates, cell.hidden_gates
    weights = [a.weight, b.weight, a.bias, b.bias]
    return torch.gru(sequence, start, weights, True, 1, 0.0, False, False, True)[0]


def stepwise(sequence: Tensor, cell: GRUCell) -> Tensor:
    """States (batch, time, hidden) of (batch, time, n) by calling the cell once a step."""
    projected = cell.input_gates(sequence)  # (batch, time, 3 hidden)
    state = sequence.new_zeros(sequence.shape[0], cell.hidden)
    states = []
    for step in range(sequence.shape[1]):
        state = cell(projected[:, step], state)
        states.append(state)
    return torch.stack(states, dim=1)


def scanned(words: Tensor, rows: Tensor, cells: list[GRUCell]) -> Tensor:
    """States (directions, batch, time, hidden) by shared/model/gru_scan.py.

    A word's projection is computed once, however often it stands in the batch.

    Args:
        words: which row each word is, (directions, batch, time).
        rows: embeddings (distinct words, embedding).
        cells: one a direction.
    """
    projected = [
        functional.embedding(sequence.t(), cell.input_gates(rows))  # (time, batch, 3 hidden)
        for sequence, cell in zip(words, cells, strict=True)
    ]
    weight = torch.stack([cell.hidden_gates.weight for cell in cells])
    bias = torch.stack([cell.hidden_gates.bias for cell in cells])
    return scan(torch.stack(projected, dim=1), weight, bias).permute(1, 2, 0, 3)


def _last(states: Tensor, lengths: Tensor | None) -> Tensor:
    """The state after each row's last word, directions side by side (batch, directions hidden)."""
    if lengths is None:
        last = states[:, :, -1]
    else:
        last = states[:, torch.arange(states.shape[1]), lengths - 1]
    return last.transpose(0, 1).flatten(1)


def _pool(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Maximum and mean over each row's words, (batch, 2 directions hidden)."""
    if lengths is None:
        pooled = torch.cat((states.amax(dim=2), states.mean(dim=2)))
    else:
        real = torch.arange(states.shape[2]) < lengths[:, None]  # (batch, time)
        highest = states.masked_fill(~real[None, :, :, None], -torch.inf).amax(dim=2)
        mean = (states * real[None, :, :, None]).sum(dim=2) / lengths[:, None]
        pooled = torch.cat((highest, mean))
    return pooled.transpose(0, 1).flatten(1)


def build_model(recipe: Recipe) -> SpamGRU:
    """The recipe's GRU, with weights drawn from torch's global generator.

    Raises:
        ValueError: its model is another kind.
    """
    if recipe.model.kind != "gru":
        raise ValueError("the recipe's model is no GRU")
    return SpamGRU(recipe)


def build_any_model(recipe: Recipe) -> SpamGRU | BlockLinear:
    """The recipe's model, of whichever kind."""
    return BlockLinear(recipe) if recipe.model.kind == "linear" else build_model(recipe)


def initial_state(recipe: Recipe, seed: int) -> State:
    """The state (P,) that a run with this seed starts from; torch's generator stays untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return state_to_vector(build_any_model(recipe))


def state_to_vector(model: nn.Module) -> State:
    """All parameters and buffers as one new vector (P,), in the order of `state_dict()`."""
    parts = [tensor.detach().numpy().ravel() for tensor in model.state_dict().values()]
    return np.concatenate(parts).astype(np.float32)


def vector_to_state(model: nn.Module, vector: npt.NDArray[np.floating]) -> None:
    """Copies a vector (P,) into the model.

    Raises:
        ValueError: the vector is not of the model's length.
    """
    tensors = list(model.state_dict().values())
    wanted = sum(tensor.numel() for tensor in tensors)
    if vector.shape != (wanted,):
        raise ValueError(f"the state has shape {vector.shape}, the model needs ({wanted},)")
    source = torch.from_numpy(np.array(vector, dtype=np.float32))
    start = 0
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(source[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()
