"""Prediction on shares: nodes compute the scores of a model and of messages that they never see.

`EncryptedScorer` and `Parties` are all that a script needs; see docs/encrypted.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.starting import load_by_name

if TYPE_CHECKING:
    from server.encrypted.scorer import EncryptedScorer
    from server.encrypted.secret import Parties

__all__ = ["EncryptedScorer", "Parties"]
_WHERE = {
    "EncryptedScorer": "server.encrypted.scorer",
    "Parties": "server.encrypted.secret",
}


def __getattr__(name: str) -> Any:
    return load_by_name(__name__, _WHERE, name)
