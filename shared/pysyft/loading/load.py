"""Imports `syft` 0.2.5, behind the stand-ins it needs. Everything else imports `sy` from here."""

from __future__ import annotations

import warnings
from typing import Any

import torch  # noqa: F401  # before syft, so that a broken torch is reported as what it is

from shared.pysyft.loading import stand_ins


def _load() -> Any:
    with stand_ins.installed(), warnings.catch_warnings():
        # syft compares strings with `is` and leaves escapes in docstrings: said once, when compiled
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        import syft  # type: ignore[import-not-found, unused-ignore]
        import syft.frameworks.torch.mpc.fss

        return syft


sy: Any = _load()
