"""Datasets on workers that take commands: batches by one index, and an end for what was sent.

PySyft asks for each row of a batch by itself and stacks the answers: 64 operations and deletes for
a batch of 32. One index with the batch's list of row numbers gives the same tensors. And a pointer
to a dataset does not delete it when it dies, as a pointer to a tensor does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from shared.pysyft.loading.load import sy

_loading = sy.frameworks.torch.fl.dataloader


class _WholeBatches:
    """The batches of a sampler, each as one item: the list of its row numbers."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[list[list[int]]]:
        for rows in self._sampler:
            yield [list(rows)]

    def __len__(self) -> int:
        return len(self._sampler)


def _the_only(batch: list[Any]) -> Any:
    return batch[0]


def _takes_lists(dataset: Any) -> bool:
    location = dataset.location
    untransformed = getattr(dataset, "transform_", None) is None
    return untransformed and bool(getattr(location, "takes_commands", False))


def _with_whole_batches(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, federated_dataset: Any, *args: Any, **kwargs: Any) -> None:
        original(self, federated_dataset, *args, **kwargs)
        datasets = [federated_dataset[worker] for worker in self.workers]
        if self.collate_fn is _loading.default_collate and all(map(_takes_lists, datasets)):
            samplers = self.batch_samplers.items()
            self.batch_samplers = {worker: _WholeBatches(each) for worker, each in samplers}
            self.collate_fn = _the_only

    return init


def _with_an_end(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_pointer(
        self: Any, owner: Any, garbage_collect_data: Any, location: Any = None, **kwargs: Any
    ) -> Any:
        if garbage_collect_data is None and getattr(location, "takes_commands", False):
            garbage_collect_data = True
        return original(self, owner, garbage_collect_data, location, **kwargs)

    return create_pointer


def apply() -> None:
    """Wraps the loader's constructor, and how a dataset makes its pointer."""
    sy.BaseDataset.create_pointer = _with_an_end(sy.BaseDataset.create_pointer)
    loader = _loading.FederatedDataLoader
    loader.__init__ = _with_whole_batches(loader.__init__)
