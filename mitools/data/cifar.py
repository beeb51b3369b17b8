"""CIFAR-10's own pickles, its archive, and a lossy copy as JPEGs, as arrays of bytes."""

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mitools._validation import FileFormatError
from mitools.data.files import LARGEST, check_md5, content_of
from mitools.data.inert_pickle import read_pickle

Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images, shape (n, 3, 32, 32), and labels, shape (n,)."""

# md5 sums as torchvision publishes them.
_TRAIN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
_TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
_KNOWN = {md5: f"CIFAR-10's {name}" for name, md5 in (_TRAIN | _TEST).items()}
_SIDE = 32
_JPEG_TRAIN = 50_000


def read_batches(folder: Path, train: bool, checksum: bool) -> Pictures:
    """Return the pictures in the folder ``cifar-10-batches-py``."""
    contents = {}
    for name in _TRAIN if train else _TEST:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} must hold {', '.join(_TRAIN if train else _TEST)}; {name} is missing. "
                "Unpack the archive again."
            )
        contents[name] = content_of(folder / name)
    return _joined(contents, folder, train, checksum)


def read_archive(path: Path, train: bool, checksum: bool) -> Pictures:
    """Return the pictures in ``cifar-10-python.tar.gz``, which is not unpacked on disk."""
    wanted = {f"cifar-10-batches-py/{name}": name for name in (_TRAIN if train else _TEST)}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name in wanted and member.isfile() and member.size < LARGEST:
                    file = archive.extractfile(member)
                    contents[wanted[member.name]] = b"" if file is None else file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise FileFormatError(
            f"{path} must be a whole tar.gz archive; reading it failed with "
            f"{type(error).__name__}: {error}. It is corrupt or cut short: get it again."
        ) from None
    missing = sorted(set(wanted.values()) - set(contents))
    if missing:
        raise FileFormatError(
            f"{path} must hold {', '.join(wanted)}; {', '.join(missing)} is missing. "
            "It is another archive: get CIFAR-10 for Python."
        )
    # In the order of their numbers, whatever order they were packed in.
    return _joined({name: contents[name] for name in wanted.values()}, path, train, checksum)


def read_jpegs(path: Path, train: bool) -> Pictures:
    """Return the pictures in an npz of JPEGs end to end, with where each begins, and labels."""
    from PIL import Image  # only here: nobody else needs to load it

    jpegs, offsets, labels = _jpeg_arrays(path, train)
    ends = offsets[: _JPEG_TRAIN + 1] if train else offsets[_JPEG_TRAIN:]
    if len(labels) != len(ends) - 1 or (np.diff(ends) < 1).any() or ends[-1] > len(jpegs):
        raise FileFormatError(
            f"{path} must hold one JPEG for each label; it has {len(labels)} labels, "
            f"{len(ends) - 1} offsets and {len(jpegs):,} bytes. It is corrupt: get it again."
        )
    images = np.empty((len(labels), _SIDE, _SIDE, 3), np.uint8)
    content = jpegs.data
    for i in range(len(labels)):
        try:
            with Image.open(io.BytesIO(content[ends[i] : ends[i + 1]]), formats=("JPEG",)) as jpeg:
                if (jpeg.size, jpeg.mode) != ((_SIDE, _SIDE), "RGB"):
                    raise ValueError(f"{jpeg.mode} of size {jpeg.size}")
                images[i] = np.asarray(jpeg)
        except (OSError, ValueError, SyntaxError) as error:
            raise FileFormatError(
                f"{path} must hold JPEGs of 32x32 in colour; number {i} is not one ({error}). "
                "It is corrupt: get it again."
            ) from None
    return images.transpose(0, 3, 1, 2), labels


def _joined(contents: dict[str, bytes], place: Path, train: bool, checksum: bool) -> Pictures:
    sums = _TRAIN if train else _TEST
    parts = []
    for name, content in contents.items():
        if checksum:
            check_md5(content, sums[name], place / name, _KNOWN)
        parts.append(_batch(content, str(place / name)))
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels


def _batch(content: bytes, name: str) -> Pictures:
    batch = read_pickle(content, name)
    images = batch.get("data") if isinstance(batch, dict) else None
    labels = batch.get("labels") if isinstance(batch, dict) else None
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != 3 * _SIDE**2:
        raise FileFormatError(
            f"{name} must hold 'data', rows of 3,072 bytes; got "
            f"{images.shape if isinstance(images, np.ndarray) else type(images).__name__}. "
            "Is it a batch of CIFAR-10 for Python?"
        )
    if (
        not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(label) is int and 0 <= label <= 9 for label in labels)
    ):
        raise FileFormatError(
            f"{name} must hold 'labels', one of 0 to 9 for each of {len(images)} images; got "
            "something else. Is it a batch of CIFAR-10 (not CIFAR-100) for Python?"
        )
    return images.reshape(-1, 3, _SIDE, _SIDE), np.array(labels, np.uint8)


def _jpeg_arrays(
    path: Path, train: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    label_key = "y_train" if train else "y_test"
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST:
                raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            jpegs, offsets, labels = arrays["jpeg"], arrays["offset"], arrays[label_key]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(
            f"{path} must be an npz with jpeg, offset and {label_key}; reading it failed with "
            f"{type(error).__name__}: {error}. It is corrupt or another file: get it again."
        ) from None
    for name, array, kind in (
        ("jpeg", jpegs, "u"),
        ("offset", offsets, "iu"),
        (label_key, labels, "u"),
    ):
        if array.ndim != 1 or array.dtype.kind not in kind or len(array) == 0:
            raise FileFormatError(
                f"{path} must hold {name} as integers in one dimension; got {array.dtype} of shape "
                f"{array.shape}. It is another kind of file."
            )
    if jpegs.dtype != np.uint8 or labels.dtype != np.uint8 or offsets.min() < 0:
        raise FileFormatError(
            f"{path} must hold unsigned bytes and offsets from 0; got {jpegs.dtype} and offsets "
            f"from {offsets.min()}. It is corrupt: get it again."
        )
    return jpegs, offsets.astype(np.int64), labels
