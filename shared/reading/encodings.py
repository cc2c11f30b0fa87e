"""Bytes of unknown origin to text, and in which encoding they were.

A byte order mark decides; else what is valid UTF-8 is UTF-8; else zero bytes give UTF-16 away; else
charset-normalizer says which code page makes words of the bytes. Several code pages often read the
same bytes equally well, and then the Western one, which most files are in, is taken.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from shared.errors import UsageError
from shared.reading.long_text import LongText, is_decodable
from shared.reading.memory_file import MemoryFile

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


def decode(data: bytes | MemoryFile, encoding: str | None = None) -> LongText:
    """The text of a file.

    Args:
        encoding: what the owner says it is, any name that Python knows; None finds out.

    Raises:
        UsageError: there is no such encoding.
    """
    file = data if isinstance(data, MemoryFile) else MemoryFile(data)
    if encoding is not None:
        return LongText(file, checked(encoding))
    head = file.read(0, _WIDE_SAMPLE)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return LongText(file, name)
    return LongText(file, _found(file))


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


def _found(file: MemoryFile) -> str:
    wide = _wide(file)
    if wide or is_decodable(file, "utf-8"):
        return wide or "utf-8"
    return "utf-8" if _mostly_utf8(file) else _code_page(file)


def _wide(file: MemoryFile) -> str | None:
    """UTF-16 without a mark: nearly each second byte of its Latin letters is zero."""
    head = file.read(0, _WIDE_SAMPLE)
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) <= len(head) // 5:
        return None
    for name, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > 8 * others and len(file) % 2 == 0:
            return name
    return None


def _not_ascii(file: MemoryFile) -> Iterator[bytes]:
    """Lines that are not, without their ends."""
    return (line.removesuffix(b"\n") for line in file.opened() if not line.isascii())


def _mostly_utf8(file: MemoryFile) -> bool:
    """Whether more lines speak for UTF-8 than against: some bad lines do not make a code page."""
    votes = 0
    for line in _not_ascii(file):
        try:
            line.decode("utf-8")
            votes += 1
        except UnicodeDecodeError:
            votes -= 1
    return votes > 0


def _code_page(file: MemoryFile) -> str:
    from charset_normalizer import from_bytes  # 50 ms that most files do without

    sample = _sample(file)
    found = {match.encoding: match for match in from_bytes(sample, cp_isolation=_CODE_PAGES)}
    best = next(iter(found.values()), None)
    western = found.get(_WESTERN)
    if best is None or _WESTERN in best.could_be_from_charset:
        return _western(file)
    if western is not None and (
        western.chaos <= best.chaos + _CLOSE and western.coherence >= best.coherence - _CLOSE
    ):
        return _western(file)
    if _same(sample, best.encoding):
        return _western(file)
    return str(best.encoding)


def _sample(file: MemoryFile) -> bytes:
    found: list[bytes] = []
    left = _SAMPLE_BYTES
    for line in _not_ascii(file):
        found.append(line)
        left -= len(line) + 1
        if left < 0:
            break
    return b"\n".join(found)[:_SAMPLE_BYTES]


def _same(sample: bytes, encoding: str) -> bool:
    return sample.decode(encoding, "replace") == sample.decode(_WESTERN, "replace")


def _western(file: MemoryFile) -> str:
    """cp1252, or Latin-1 where there are bytes that cp1252 has no characters for."""
    return _WESTERN if is_decodable(file, _WESTERN) else "latin-1"
