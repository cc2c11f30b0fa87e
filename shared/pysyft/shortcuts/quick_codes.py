"""The two functions that every value of a message passes, with their tables looked up once.

PySyft finds the code of `str` by class name in the protocol table for every value that it reads,
and asks of every value that it writes whether it is too large an int.
"""

from __future__ import annotations

from typing import Any

from shared.pysyft.loading.load import sy


def _quick_simplify() -> Any:
    serde = sy.serde.msgpack.serde
    simplifiers = serde.simplifiers
    inherited = serde.inherited_simplifiers_found
    plain = serde.no_simplifiers_found
    original = serde._simplify

    def simplify(worker: Any, obj: Any, **kwargs: Any) -> Any:
        kind = type(obj)
        rule = simplifiers.get(kind) or inherited.get(kind)
        if rule is not None:
            return rule[0], rule[1](worker, obj, **kwargs)
        if kind in plain and kind is not int:
            return obj
        # ints, which may not fit, and kinds not met before
        return original(worker, obj, **kwargs)

    return simplify


def _quick_detail() -> Any:
    serde = sy.serde.msgpack.serde
    detailers = serde.detailers
    code_of_str: int = sy.serde.msgpack.proto_type_info(str).code
    too_large: str = serde.strField

    def detail(worker: Any, obj: Any, **kwargs: Any) -> Any:
        if type(obj) not in (list, tuple):
            return obj
        code = obj[0]
        value = detailers[code](worker, obj[1], **kwargs)
        # 2**64 does not fit into msgpack, so PySyft sends it as a string
        return int(value) if code == code_of_str and value == too_large else value

    return detail


def apply() -> None:
    """Replaces both; everything in PySyft looks them up in their module."""
    serde = sy.serde.msgpack.serde
    serde._simplify = _quick_simplify()
    serde._detail = _quick_detail()
