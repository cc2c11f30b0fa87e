"""Sharing what is at a node: `x.send(bob).share(bob, anne)`; and PySyft's shares of zero."""

from __future__ import annotations

from typing import Any

import torch

from shared.errors import UsageError
from shared.pysyft.loading.load import sy
from shared.pysyft.sharing.holders import Shares, fetch_all, send, shared_of, split, split_at

_Pointer: Any = sy.PointerTensor


class RelayedShares(_Pointer):  # type: ignore[misc]
    """What PySyft has as a pointer to shares: `get` gives the shared tensor, and opens nothing."""

    shared: Any

    def get(self, *_: Any, **__: Any) -> Any:
        return self.shared.wrap()


def _share(original: Any) -> Any:
    def share(self: Any, *owners: Any, **options: Any) -> Any:
        if not getattr(self.location, "takes_commands", False):
            return original(self, *owners, **options)
        if options.get("dtype") not in (None, "long"):
            raise UsageError("nodes share int64 numbers, of dtype 'long'")
        tensor = self.wrap(register=False)
        values = fetch_all(split_at(tensor, self.shape, len(owners)))
        shares = [send(*both) for both in zip(values, owners, strict=True)]
        like = Shares(
            owner=self.owner,
            dtype="long",
            protocol=options.get("protocol") or "snn",
            crypto_provider=options.get("crypto_provider"),
        )
        found = RelayedShares(
            location=self.location,
            id_at_location=self.id_at_location,
            owner=self.owner,
            garbage_collect_data=False,
            shape=self.shape,
        )
        found.shared = shared_of(shares, like)
        return found

    return share


def _shares_of_zero(original: Any) -> Any:
    def shares_of_zero(size: Any, field: int, dtype: str, provider: Any, *workers: Any) -> Any:
        if not all(getattr(one, "takes_commands", False) for one in workers):
            return original(size, field, dtype, provider, *workers)
        zero = torch.zeros(size, dtype=torch.int64)
        shares = [send(*both) for both in zip(split(zero, len(workers)), workers, strict=True)]
        like = Shares(owner=sy.local_worker, dtype="long", crypto_provider=provider)
        return shared_of(shares, like)

    return shares_of_zero


def apply() -> None:
    """Where the tensor, or the shares, are at nodes."""
    _Pointer.share = _share(_Pointer.share)
    securenn = sy.frameworks.torch.mpc.securenn
    securenn._shares_of_zero = _shares_of_zero(securenn._shares_of_zero)
