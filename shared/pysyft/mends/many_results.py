"""Remote operations with three results or more, `chunk(3)` say, give that many pointers.

PySyft takes a tensor out of the registry before it registers it, and asks for its id to do so; that
makes an id where there was none, which then counts as one more result: n results came as 2n - 2.
"""

from __future__ import annotations

from typing import Any

from shared.pysyft.loading.load import sy


def _register(tensor: Any, owner: Any, response_ids: Any = ()) -> Any:
    if getattr(tensor, "is_wrapper", False) or {"id", "_id"} & vars(tensor).keys():
        owner.de_register_obj(tensor)
    tensor.owner = owner
    try:
        tensor.id = response_ids.pop(-1)
    except IndexError:
        raise sy.exceptions.ResponseSignatureError from None
    owner.register_obj(tensor)
    return tensor


def apply() -> None:
    """Replaces the function in the module that looks it up for each result."""
    sy.generic.frameworks.hook.hook_args.register_tensor = _register
