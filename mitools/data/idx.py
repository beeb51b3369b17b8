"""The IDX format of MNIST and its kin: a short header, then unsigned bytes."""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mitools._validation import FileFormatError
from mitools.data.files import check_md5, content_of

_UNSIGNED_BYTE = 0x08


def read_idx(
    path: str | Path,
    *,
    dimensions: int | None = None,
    md5: str | None = None,
    known: dict[str, str] | None = None,
) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes, gzipped or not.

    The header is two zero bytes, the type of the elements, the number of dimensions, and each of
    them as a big-endian 32-bit integer.

    Parameters
    ----------
    path : str or Path
        The file.
    dimensions : int or None
        How many the array must have: 3 for images, 1 for labels.
    md5 : str or None
        Sum that the uncompressed contents must have; None: not compared.
    known : dict of str to str, or None
        Other sums and whose they are, to tell one data set from another in the message.

    Raises
    ------
    FileFormatError
        If the file is corrupt, cut short, too long, or of another kind.
    """
    path = Path(path)
    content = content_of(path)
    shape = _shape(content, dimensions, path)
    start = 4 + 4 * len(shape)
    expected, found = start + prod(shape), len(content)
    if found != expected:
        cut = "It was cut short" if found < expected else "Something was appended"
        raise FileFormatError(
            f"{path} must hold {expected:,} bytes, as its header says ({shape}); it holds "
            f"{found:,}. {cut}: get it again."
        )
    if md5 is not None:
        check_md5(content, md5, path, known or {})
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _shape(content: bytes, dimensions: int | None, path: Path) -> tuple[int, ...]:
    magic = content[:4]
    wanted = "of unsigned bytes" if dimensions is None else f"0000080{dimensions}"
    wrong = len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not magic[3]
    if wrong or (dimensions is not None and magic[3] != dimensions):
        raise FileFormatError(
            f"{path} must start with an IDX magic number {wanted}; got {magic.hex() or 'nothing'}. "
            "Is it another kind of file, or a web page saved in its place?"
        )
    if len(content) < 4 + 4 * magic[3]:
        raise FileFormatError(
            f"{path} must hold {magic[3]} dimensions in its header; it ends after "
            f"{len(content)} bytes. It was cut short: get it again."
        )
    return tuple(int(size) for size in np.frombuffer(content, ">u4", magic[3], offset=4))
