"""Bytes on the wire: one byte that names the compression, then msgpack.

Compression is always "none". PySyft lets the sender choose, and a 379 kB zlib message unpacks to
943 MB; weights do not compress, and every other message is small.
"""

from __future__ import annotations

from typing import Any

import msgpack

from shared.pysyft.loading.load import sy
from shared.pysyft.messages import content_rules, item_count
from shared.pysyft.messages.errors import MalformedMessage

_NO_COMPRESSION: int = sy.serde.compression.NO_COMPRESSION
# msgpack takes memory for as many items as a header announces, in up to 511 nested headers: this
# many items a header are 64 MiB at worst
MAX_ITEMS = 2**14


def pack(simple: object, *_: object, **__: object) -> bytes:
    """The bytes of an object of plain values (PySyft calls it "simplified")."""
    packer = msgpack.Packer(autoreset=False)
    # a small number is a single byte of its own value: the compression byte without another copy
    packer.pack(_NO_COMPRESSION)
    packer.pack(simple)
    packed: bytes = packer.bytes()
    return packed


def unpack(data: bytes, worker: Any = None) -> object:
    """The plain values in `data`, checked against the list of `worker` where it has one.

    Raises MalformedMessage where they are not msgpack, or compressed; ForbiddenContent where
    they hold a type that `worker` does not accept.
    """
    view = memoryview(data)
    if len(view) < 2 or view[0] != _NO_COMPRESSION:
        raise MalformedMessage("a message is empty, compressed, or none of PySyft's")
    if content_rules.is_restricted(worker):
        item_count.check(view[1:])
    try:
        simple = msgpack.unpackb(
            view[1:],
            use_list=False,
            raw=False,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            strict_map_key=False,  # the shares of a tensor are keyed by worker, perhaps a number
            ext_hook=_refuse_extension,
        )
    except (ValueError, TypeError) as error:
        # msgpack's own errors are ValueErrors, and so is UnicodeDecodeError
        raise MalformedMessage(f"a message is not msgpack: {str(error)[:200]}") from error
    content_rules.check_for(worker, simple)
    return simple


def _refuse_extension(code: int, data: bytes) -> object:
    raise MalformedMessage(f"a message holds the msgpack extension {code}")


def apply() -> None:
    """Makes these two the ones that PySyft packs and unpacks with."""
    serde = sy.serde.msgpack.serde
    serde._serialize_msgpack_binary = pack
    serde._deserialize_msgpack_binary = unpack
    # for whoever calls PySyft's compression itself, as its own tests do
    sy.serde.compression._apply_compress_scheme = sy.serde.compression.apply_no_compression
