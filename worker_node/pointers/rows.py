"""The owner's rows as tensors that a pointer session can find by tag; they are never messages.

`#train` and `#test` each name two: `#inputs`, ids of words (rows, recipe's width) int64, and
`#labels` (rows,) float32 with 1 for spam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from shared.model.many_texts import encode_all
from shared.model.recipe import TextRecipe
from shared.model.vectors import plain_array
from shared.pointers.commands import INPUTS_TAG, LABELS_TAG, TEST_TAG, TRAIN_TAG
from worker_node.data.shard import Message, Shard


@dataclass(frozen=True)
class TaggedTensor:
    """A tensor of the owner's, and the tags that it is found by."""

    tensor: torch.Tensor
    tags: tuple[str, ...]


def tagged_tensors(shard: Shard, text: TextRecipe) -> list[TaggedTensor]:
    """New tensors of all rows: what one session does with them is nothing to another."""
    found = []
    for tag, messages in ((TRAIN_TAG, shard.train), (TEST_TAG, shard.scored)):
        inputs, labels = _tensors(messages, text)
        found.append(TaggedTensor(inputs, (tag, INPUTS_TAG)))
        found.append(TaggedTensor(labels, (tag, LABELS_TAG)))
    return found


def _tensors(messages: Sequence[Message], text: TextRecipe) -> tuple[torch.Tensor, torch.Tensor]:
    ids = encode_all([message.text for message in messages], text).astype(np.int64)
    labels = np.array([message.label for message in messages], dtype=np.float32)
    return torch.from_numpy(ids), torch.from_numpy(labels)


def places_for(tensors: Sequence[TaggedTensor]) -> list[TaggedTensor]:
    """The same tags, types and shapes, which every coordinator is told, and zeros."""
    return [TaggedTensor(torch.zeros_like(one.tensor), one.tags) for one in tensors]


def pack_rows(tensors: Sequence[TaggedTensor]) -> list[Any]:
    """As msgpack carries them to the process of a session."""
    packed = []
    for tagged in tensors:
        array: Any = plain_array(tagged.tensor)
        packed.append((tagged.tags, array.dtype.str, array.shape, array.tobytes()))
    return packed


def unpack_rows(packed: Sequence[Any]) -> list[TaggedTensor]:
    """In memory of their own."""
    found = []
    for tags, kind, shape, data in packed:
        array = np.frombuffer(bytearray(data), np.dtype(kind)).reshape(shape)
        found.append(TaggedTensor(torch.from_numpy(array), tuple(tags)))
    return found
