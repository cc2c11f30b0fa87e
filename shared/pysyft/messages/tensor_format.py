"""The tensor format: dtype, requires_grad, shape and the raw little-endian bytes. No pickle.

PySyft's own format is `torch.save` and `torch.load`: loading runs whatever code the sender put in.
Ours is the plain tuple `(dtype name, requires_grad, shape, raw bytes)`, which msgpack carries.

TorchHook replaces attributes of `torch.Tensor`, which answer for pointers and need an owner; those
of its base `TensorBase` it leaves alone, so only they are used here.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch._C import TensorBase

from shared.pysyft.messages.errors import MalformedMessage

DTYPES: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MAY_REQUIRE_GRAD = {name for name, dtype in DTYPES.items() if dtype.is_floating_point}
_MAX_DIMENSIONS = 16

EncodedTensor = tuple[str, bool, tuple[int, ...], Any]

# taken before any hook is made; afterwards torch.frombuffer would look for pointers first
_frombuffer = torch.frombuffer
_empty = torch.empty
_base: Any = TensorBase
_dtype_of = _base.dtype.__get__
_layout_of = _base.layout.__get__
_shape_of = _base.shape.__get__
_requires_grad_of = _base.requires_grad.__get__

if sys.byteorder != "little":
    raise ImportError("fedsms sends tensors as little-endian bytes and reads them as they are")


def encode_tensor(tensor: torch.Tensor) -> EncodedTensor:
    """The tensor as plain values; its bytes are a view, not a copy, of contiguous CPU memory.

    Raises TypeError for a dtype outside DTYPES, and for sparse and quantised tensors.
    """
    dtype = _dtype_of(tensor)
    if dtype not in _NAMES or _layout_of(tensor) is not torch.strided:
        raise TypeError(f"cannot send a {dtype} tensor, only dense ones of {', '.join(DTYPES)}")
    flat = TensorBase.reshape(TensorBase.cpu(TensorBase.detach(tensor)), -1)
    octets = TensorBase.view(TensorBase.contiguous(flat), torch.uint8)  # (elements * item size,)
    return (
        _NAMES[dtype],
        _requires_grad_of(tensor),
        tuple(_shape_of(tensor)),
        TensorBase.numpy(octets).data,
    )


def decode_tensor(encoded: object) -> torch.Tensor:
    """The tensor that `encode_tensor` encoded, in memory of its own.

    Raises MalformedMessage where it is anything else: types, dtype, shape and the number of bytes
    are checked before memory is taken.
    """
    name, requires_grad, shape, raw = _checked(encoded)
    dtype = DTYPES[name]
    # a copy, because torch tensors can be written and bytes cannot
    flat = _frombuffer(bytearray(raw), dtype=dtype) if raw else _empty(0, dtype=dtype)
    tensor = TensorBase.reshape(flat, shape)
    if requires_grad:
        TensorBase.requires_grad_(tensor)
    return tensor


def _checked(encoded: object) -> tuple[str, bool, tuple[int, ...], bytes]:
    if not isinstance(encoded, tuple) or len(encoded) != 4:
        raise MalformedMessage("a tensor is not (dtype, requires_grad, shape, bytes)")
    name, requires_grad, shape, raw = encoded
    if not isinstance(name, str) or name not in DTYPES:
        raise MalformedMessage(f"a tensor has the unknown dtype {str(name)[:40]!r}")
    if not isinstance(requires_grad, bool) or (requires_grad and name not in _MAY_REQUIRE_GRAD):
        raise MalformedMessage(f"a tensor of {name} has requires_grad {str(requires_grad)[:40]}")
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise MalformedMessage("the shape of a tensor is not a short list of sizes")
    if not isinstance(raw, bytes):
        raise MalformedMessage("the content of a tensor is not bytes")
    count = 1
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**31:
            raise MalformedMessage(f"a tensor has the size {str(size)[:40]} in its shape")
        count *= size
    if count * DTYPES[name].itemsize != len(raw):
        raise MalformedMessage(f"a {name} tensor of {shape} comes with {len(raw)} bytes")
    if name == "bool" and raw.translate(None, b"\x00\x01"):
        raise MalformedMessage("a bool tensor holds bytes that are neither 0 nor 1")
    return name, requires_grad, shape, raw
