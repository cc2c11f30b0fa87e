"""Objects to bytes and back, with PySyft's type codes; one exception for every bad message."""

from __future__ import annotations

from typing import Any

import torch

from shared.pysyft.loading.load import sy
from shared.pysyft.messages.errors import MalformedMessage
from shared.pysyft.messages.tensor_format import decode_tensor, encode_tensor

# what the peer has to say, rather than something wrong with how it said it
_ANSWERS = (
    sy.exceptions.GetNotPermittedError,
    sy.exceptions.ResponseSignatureError,
    sy.exceptions.ObjectNotFoundError,
)


def serialize(message: object, worker: Any) -> bytes:
    """The bytes of a message, or of any other object that PySyft has a type code for.

    Args:
        message: tensors in it are read, never changed; a contiguous one is copied once.
        worker: the worker that sends it.

    Raises:
        TypeError: it holds an object or a tensor that cannot be sent.
    """
    data: bytes = sy.serde.serialize(message, worker=worker)
    return data


def deserialize(data: bytes, worker: Any) -> Any:
    """The object that `serialize` made the bytes from.

    Args:
        data: from a peer; need not be well-formed.
        worker: the worker that received it; becomes the owner of tensors in it. What it accepts is
            bounded by `restrict_decoder`.

    Raises:
        MalformedMessage: the bytes are no message, or one that `worker` does not accept.
        GetNotPermittedError, ResponseSignatureError, ObjectNotFoundError (PySyft's): the message is
            that error, sent by the peer, or points to an object that is not there.
    """
    try:
        return sy.serde.deserialize(data, worker=worker)
    except (MalformedMessage, *_ANSWERS):
        raise
    except Exception as error:
        # PySyft trusts the form of what it builds from, so a bad one can raise nearly anything
        raise MalformedMessage(f"a message cannot be read: {error!r:.200}") from error


def _encode(worker: Any, tensor: torch.Tensor) -> object:
    return encode_tensor(tensor)


def _decode(worker: Any, encoded: object) -> torch.Tensor:
    return decode_tensor(encoded)


def apply() -> None:
    """Puts the tensor format in, everywhere that PySyft bound its own."""
    for module in (sy.serde.torch.serde, sy.serde.msgpack.torch_serde):
        module.torch_tensor_serializer = _encode
        module.torch_tensor_deserializer = _decode
