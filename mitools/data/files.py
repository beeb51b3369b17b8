"""Bytes of data files: unpacked within bounds, and checked against published md5 sums."""

import hashlib
import zlib
from pathlib import Path

from mitools._validation import FileFormatError

LARGEST = 1 << 30
"""No file read here holds more bytes than this; a small archive must not unpack into a flood."""

_GZIP = b"\x1f\x8b"


def content_of(path: Path) -> bytes:
    """Return the contents of a file, unpacked where it is gzipped, whatever its name says.

    Raises
    ------
    FileFormatError
        If the archive is corrupt or cut short, or holds more than `LARGEST` bytes.
    """
    if path.stat().st_size > LARGEST:
        raise FileFormatError(_too_large(path))
    packed = path.read_bytes()
    if not packed.startswith(_GZIP):
        return packed
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(packed, LARGEST)
    except zlib.error as error:
        raise FileFormatError(
            f"{path} must be a whole gzip archive; unpacking it failed with: {error}. "
            "It is corrupt: get it again."
        ) from None
    if unpacker.unconsumed_tail:
        raise FileFormatError(_too_large(path))
    if not unpacker.eof:
        raise FileFormatError(
            f"{path} must be a whole gzip archive; it ends after {len(packed):,} bytes, before "
            "its checksum. It was cut short: get it again."
        )
    return content


def check_md5(content: bytes, expected: str, path: Path | str, known: dict[str, str]) -> None:
    """Raise FileFormatError unless contents have the published md5 sum.

    Parameters
    ----------
    content : bytes
        Uncompressed.
    expected : str
        The sum, hexadecimal.
    path : Path or str
        For the message.
    known : dict of str to str
        Other sums that might be met, and whose they are.
    """
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found == expected:
        return
    what = f", which is {known[found]}" if found in known else ""
    raise FileFormatError(
        f"{path} must hold the published file, with md5 {expected}; its contents have {found}"
        f"{what}. Get it again, or pass checksum=False if it is meant to differ."
    )


def _too_large(path: Path) -> str:
    return (
        f"{path} must unpack to at most {LARGEST:,} bytes; it holds more. "
        "It is not one of the files known here: get it again."
    )
