"""MNIST, Fashion-MNIST and CIFAR-10 from where torchvision puts them."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mitools._validation import FileFormatError
from mitools.data.cifar import read_archive, read_batches, read_jpegs
from mitools.data.idx import read_idx
from mitools.data.samples import Samples

_FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# Of the uncompressed contents: images and labels, as torchvision's mirrors serve them.
_MNIST = {
    True: ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    False: ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}
_FASHION = {
    True: ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
    False: ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
}
_KNOWN = {
    md5: f"{name}'s {_FILES[train][i]}"
    for name, sums in (("MNIST", _MNIST), ("FashionMNIST", _FASHION))
    for train in (True, False)
    for i, md5 in enumerate(sums[train])
}
_CIFAR_FOLDER = "cifar-10-batches-py"
_CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
_CIFAR_JPEGS = "cifar10_jpeg_60k.npz"


def mnist(
    root: str | Path, train: bool = True, *, download: bool = False, checksum: bool = True
) -> Samples:
    """Return MNIST: 60,000 (test 10,000) handwritten digits, (n, 1, 28, 28) float32, 10 classes.

    Pixels are scaled to [0, 1] and standardised by mean 0.1307 and standard deviation 0.3081.

    Parameters
    ----------
    root : str or Path
        The IDX files, gzipped or not, are looked for in ``root/MNIST/raw`` (torchvision's place),
        ``root/raw`` and ``root``.
    train : bool
        The training set, or the test set.
    download : bool
        Get the files with torchvision (extra ``vision``) if they are not there.
    checksum : bool
        Whether contents must be the published ones; False reads any files of this format.

    Raises
    ------
    FileNotFoundError
        If the files are not there; the message says how to get them.
    ImportError
        If they must be downloaded and torchvision is missing.
    FileFormatError
        If a file is corrupt, cut short, of another kind, or not the published one.
    """
    sums = _MNIST[train] if checksum else None
    images, labels = _idx_pair(Path(root), "MNIST", train, download, sums)
    return _samples(images, labels, "mnist", train, (0.1307,), (0.3081,))


def fashion_mnist(
    root: str | Path, train: bool = True, *, download: bool = False, checksum: bool = True
) -> Samples:
    """Return Fashion-MNIST: 60,000 (test 10,000) pictures of clothes, (n, 1, 28, 28) float32.

    As `mnist`, in ``root/FashionMNIST/raw``; standardised by mean 0.2860 and standard deviation
    0.3530.
    """
    sums = _FASHION[train] if checksum else None
    images, labels = _idx_pair(Path(root), "FashionMNIST", train, download, sums)
    return _samples(images, labels, "fashion-mnist", train, (0.2860,), (0.3530,))


def cifar10(
    root: str | Path, train: bool = True, *, download: bool = False, checksum: bool = True
) -> Samples:
    """Return CIFAR-10: 50,000 (test 10,000) colour pictures, (n, 3, 32, 32) float32, 10 classes.

    Pixels are scaled to [0, 1] and each colour is standardised by mean (0.4914, 0.4822, 0.4465)
    and standard deviation (0.2470, 0.2435, 0.2616). Looked for, in this order: the folder
    ``root/cifar-10-batches-py``, the archive ``root/cifar-10-python.tar.gz``, and
    ``root/cifar10_jpeg_60k.npz``, a lossy copy, whose samples are named ``cifar10-jpeg``.

    The official files are pickles; they are read without running anything in them.

    Parameters and errors are those of `mnist`.
    """
    root = Path(root)
    readers = {
        _CIFAR_FOLDER: lambda path: read_batches(path, train, checksum),
        _CIFAR_ARCHIVE: lambda path: read_archive(path, train, checksum),
        _CIFAR_JPEGS: lambda path: read_jpegs(path, train),
    }
    if download and not any((root / name).exists() for name in (_CIFAR_FOLDER, _CIFAR_ARCHIVE)):
        _download("CIFAR10", root, train)
    found = next((name for name in readers if (root / name).exists()), None)
    if found is None:
        raise FileNotFoundError(_how_to_get("CIFAR-10", tuple(readers), (root,), "cifar10"))
    images, labels = readers[found](root / found)
    name = "cifar10-jpeg" if found == _CIFAR_JPEGS else "cifar10"
    means, stds = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return _samples(images, labels, name, train, means, stds)


def _idx_pair(
    root: Path, folder: str, train: bool, download: bool, sums: tuple[str, str] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    paths = _idx_paths(root, folder, train)
    if paths is None and download:
        _download(folder, root, train)
        paths = _idx_paths(root, folder, train)
    if paths is None:
        names = tuple(f"{name}[.gz]" for name in _FILES[train])
        function = "mnist" if folder == "MNIST" else "fashion_mnist"
        raise FileNotFoundError(_how_to_get(folder, names, _places(root, folder), function))
    image_sum, label_sum = sums or (None, None)
    labels = read_idx(paths[1], dimensions=1, md5=label_sum, known=_KNOWN)
    images = read_idx(paths[0], dimensions=3, md5=image_sum, known=_KNOWN)
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or len(labels) == 0:
        raise FileFormatError(
            f"{paths[0]} must hold one image of 28x28 for each label; it holds {images.shape}, "
            f"with {len(labels)} labels beside it. Do the two belong together?"
        )
    return images[:, None], labels


def _idx_paths(root: Path, folder: str, train: bool) -> tuple[Path, ...] | None:
    for place in _places(root, folder):
        found = [_plain_or_packed(place / name) for name in _FILES[train]]
        paths = tuple(path for path in found if path is not None)
        if len(paths) == len(found):
            return paths
    return None


def _places(root: Path, folder: str) -> tuple[Path, ...]:
    return root / folder / "raw", root / "raw", root


def _plain_or_packed(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def _samples(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    name: str,
    train: bool,
    means: Sequence[float],
    stds: Sequence[float],
) -> Samples:
    if labels.max() > 9:
        raise FileFormatError(
            f"labels of {name} must be classes 0 to 9; got {labels.max()}. "
            "The file is corrupt, or of another data set."
        )
    pixels = torch.from_numpy(images.astype(np.float32)).div_(255.0)
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (means, stds))
    return Samples(
        pixels.sub_(mean).div_(std),
        torch.from_numpy(labels.astype(np.int64)),
        name=f"{name}-{'train' if train else 'test'}",
        classes=10,
    )


def _download(dataset: str, root: Path, train: bool) -> None:
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise ImportError(
            f"download=True needs torchvision to get {dataset}; importing it failed with: "
            f"{error}. Run: pip install 'mitools[vision]'"
        ) from error
    getattr(datasets, dataset)(str(root), train=train, download=True)


def _how_to_get(dataset: str, names: Sequence[str], places: Sequence[Path], function: str) -> str:
    looked = ", ".join(str(place) for place in places)
    joined = " or ".join(names) if dataset == "CIFAR-10" else " and ".join(names)
    return (
        f"root must hold {dataset}, that is {joined}; not found in {looked}. Pass the folder that "
        f"torchvision downloads to, put the official files there, or call {function}(root, "
        "download=True), which needs: pip install 'mitools[vision]'"
    )
