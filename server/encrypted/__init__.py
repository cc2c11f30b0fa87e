"""Prediction on shares: nodes compute the scores of a model and of messages that they never see.

`EncryptedScorer` and `Parties` are all that a script needs whose model and messages are its own;
`SealedScorer` and `sealed_session` where the messages are somebody else's. See docs/encrypted.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.starting import load_by_name

if TYPE_CHECKING:
    from server.encrypted.scorer import EncryptedScorer
    from server.encrypted.sealed import sealed_session
    from server.encrypted.sealed_scorer import SealedScorer
    from server.encrypted.secret import Parties

__all__ = ["EncryptedScorer", "Parties", "SealedScorer", "sealed_session"]
_WHERE = {
    "EncryptedScorer": "server.encrypted.scorer",
    "Parties": "server.encrypted.secret",
    "SealedScorer": "server.encrypted.sealed_scorer",
    "sealed_session": "server.encrypted.sealed",
}


def __getattr__(name: str) -> Any:
    return load_by_name(__name__, _WHERE, name)
