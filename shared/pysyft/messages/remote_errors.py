"""The errors that a peer sends: which one it was, and the ids that come with it. No tracebacks.

PySyft sends the text of the traceback (paths of the sender's machine) and makes a traceback object
of what it receives; it takes any name in `syft.exceptions` for the class, and sets any attribute.
"""

from __future__ import annotations

from typing import Any

from shared.pysyft.loading.load import sy
from shared.pysyft.messages.errors import MalformedMessage

_ERRORS = (sy.exceptions.GetNotPermittedError, sy.exceptions.ResponseSignatureError)


def _simplify(worker: Any, error: Exception) -> tuple[Any, ...]:
    simplify = sy.serde.msgpack.serde._simplify
    ids = getattr(error, "ids_generated", None)
    attributes = {} if ids is None else {"ids_generated": ids}
    return tuple(simplify(worker, part) for part in (type(error).__name__, "", attributes))


def _detail(worker: Any, content: tuple[Any, ...]) -> Any:
    """Raises the error that `content` names."""
    detail = sy.serde.msgpack.serde._detail
    name, _, attributes = (detail(worker, part) for part in content)
    for kind in _ERRORS:
        if kind.__name__ == name:
            break
    else:
        raise MalformedMessage(f"a message holds the unknown error {name!r:.60}")
    error = kind()
    ids = attributes.get("ids_generated")
    if ids is not None:
        if not isinstance(ids, (list, tuple)) or not all(type(item) in (int, str) for item in ids):
            raise MalformedMessage("a message holds an error with ids that are none")
        error.ids_generated = ids
    raise error


def apply() -> None:
    """Replaces both directions, in the classes and in the tables that hold them already."""
    serde = sy.serde.msgpack.serde
    for kind in _ERRORS:
        kind.simplify = staticmethod(_simplify)
        kind.detail = staticmethod(_detail)
        code = serde.simplifiers[kind][0]
        serde.simplifiers[kind] = (code, _simplify)
        serde.detailers[code] = _detail
