"""Bytes of unknown origin to text, and in which encoding they were.

A byte order mark decides; else what is valid UTF-8 is UTF-8; else zero bytes give UTF-16 away; else
charset-normalizer says which code page makes words of the bytes. Several code pages often read the
same bytes equally well, and then the Western one, which most files are in, is taken.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODE_PAGES = [
    *("cp1252", "iso8859_15", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp874", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
]
_WESTERN = "cp1252"
_SAMPLE_BYTES = 2**18
_WIDE_SAMPLE = 2**12
_CLOSE = 0.06
"""Differences of the detector's two figures, each from 0 to 1, that decide nothing."""


@dataclass(frozen=True)
class Decoded:
    """A text, and the encoding that its bytes were in.

    text: without a byte order mark; a byte that is none of the encoding is a lone surrogate.
    """

    text: str
    encoding: str


def decode(data: bytes, encoding: str | None = None) -> Decoded:
    """The text of a file.

    Args:
        encoding: what the owner says it is, any name that Python knows; None finds out.

    Raises:
        UsageError: there is no such encoding.
    """
    if encoding is not None:
        return _decoded(data, checked(encoding))
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _decoded(data, name)
    return _decoded(data, _found(data))


def lines_of(text: str) -> Iterator[str]:
    """Lines that end in LF, CRLF or, where no line does, in CR, one by one."""
    if "\n" not in text:
        yield from text.split("\r")
        return
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end].removesuffix("\r")
        start = end + 1
    yield text[start:].removesuffix("\r")


def checked(encoding: str) -> str:
    """Python's own name of an encoding of text; raises UsageError where it knows none."""
    try:
        "".encode(encoding)  # refuses what is no encoding of text, as base64 is
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f"there is no encoding {encoding!r}",
            next_step="Give one like utf-8, utf-16, cp1252, latin-1 or gb18030.",
        ) from error


def _decoded(data: bytes, encoding: str) -> Decoded:
    try:
        text = data.decode(encoding, errors="surrogateescape")
    except UnicodeError:  # the wide encodings have no single bytes to escape
        text = data.decode(encoding, errors="replace").replace("\ufffd", "\udcff")
    return Decoded(text.removeprefix("\ufeff"), encoding)


def _found(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return _wide(data) or "utf-8"
    return _wide(data) or ("utf-8" if _mostly_utf8(data) else _code_page(data))


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: nearly each second byte of its Latin letters is zero."""
    head = data[:_WIDE_SAMPLE]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) <= len(head) // 5:
        return None
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > 8 * others and len(data) % 2 == 0:
            return name
    return None


def _not_ascii(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if not line.isascii()]


def _mostly_utf8(data: bytes) -> bool:
    """Whether more lines speak for UTF-8 than against: some bad lines do not make a code page."""
    votes = 0
    for line in _not_ascii(data):
        try:
            line.decode("utf-8")
            votes += 1
        except UnicodeDecodeError:
            votes -= 1
    return votes > 0


def _code_page(data: bytes) -> str:
    from charset_normalizer import from_bytes  # 50 ms that most files do without

    sample = b"\n".join(_not_ascii(data))[:_SAMPLE_BYTES]
    found = {match.encoding: match for match in from_bytes(sample, cp_isolation=_CODE_PAGES)}
    best = next(iter(found.values()), None)
    western = found.get(_WESTERN)
    if best is None or _WESTERN in best.could_be_from_charset:
        return _western(data)
    if western is not None and (
        western.chaos <= best.chaos + _CLOSE and western.coherence >= best.coherence - _CLOSE
    ):
        return _western(data)
    if _same(sample, best.encoding):
        return _western(data)
    return str(best.encoding)


def _same(sample: bytes, encoding: str) -> bool:
    return sample.decode(encoding, "replace") == sample.decode(_WESTERN, "replace")


def _western(data: bytes) -> str:
    """cp1252, or Latin-1 where there are bytes that cp1252 has no characters for."""
    try:
        data.decode(_WESTERN)
    except UnicodeDecodeError:
        return "latin-1"
    return _WESTERN
