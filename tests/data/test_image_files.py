"""Readers on files written here, in every layout, whole and broken; and on the real ones."""

import gzip
import hashlib
import io
import os
import pickle
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mitools._validation import FileFormatError
from mitools.data import cifar as cifar_module
from mitools.data import cifar10, fashion_mnist, mnist
from mitools.data.files import content_of
from mitools.data.idx import read_idx

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (20, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 20, np.uint8)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def write_mnist(folder: Path, packed: bool = False, images=DIGITS, labels=LABELS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            if packed:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
            else:
                (folder / f"{part}-{name}-ubyte").write_bytes(content)


# IDX


@pytest.mark.parametrize("shape", [(5,), (5, 3), (2, 3, 4), (1, 2, 3, 4), (0, 28, 28)])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(shape, packed, tmp_path):
    array = RNG.integers(0, 256, shape, np.uint8)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)
    np.testing.assert_array_equal(read_idx(str(path), dimensions=len(shape)), array)


WHOLE = idx(DIGITS)
BROKEN_IDX = {
    "empty": (b"", "magic number 00000803; got nothing"),
    "short magic": (b"\0\0\x08", "magic number"),
    "labels for images": (idx(LABELS), "magic number 00000803; got 00000801"),
    "floats": (b"\0\0\x0d\x03" + WHOLE[4:], "got 00000d03"),
    "little-endian": (b"\x03\x08\0\0" + WHOLE[4:], "got 03080000"),
    "web page": (b"<html>404</html>", "a web page saved in its place"),
    "cut header": (WHOLE[:10], "3 dimensions in its header; it ends after 10 bytes"),
    "cut pixels": (WHOLE[:-1], "it holds 15,695. It was cut short"),
    "appended": (WHOLE + b"x", "Something was appended"),
    "absurd size": (WHOLE[:4] + b"\xff" * 12, "It was cut short"),
    "cut gzip": (gzip.compress(WHOLE)[:-20], "gzip"),
    "gzip without its end": (gzip.compress(WHOLE)[:-8], "before its checksum"),
    "corrupt gzip": (gzip.compress(WHOLE)[:60] + b"\0" * 40, "gzip"),
    "gzip with a wrong checksum": (gzip.compress(WHOLE)[:-8] + b"\1" * 8, "gzip"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN_IDX.values(), ids=BROKEN_IDX)
def test_broken_idx(content, words, tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=words) as caught:
        read_idx(path, dimensions=3)
    assert str(path) in str(caught.value)


def test_a_small_archive_does_not_unpack_into_a_flood(tmp_path, monkeypatch):
    monkeypatch.setattr("mitools.data.files.LARGEST", 1_000_000)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(FileFormatError, match="at most 1,000,000 bytes"):
        content_of(path)
    path.write_bytes(bytes(1_000_001))
    with pytest.raises(FileFormatError, match="at most 1,000,000 bytes"):
        content_of(path)


def test_sums_are_of_the_contents_and_mismatches_say_whose_file_it_is(tmp_path):
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(WHOLE))
    md5 = hashlib.md5(WHOLE).hexdigest()
    np.testing.assert_array_equal(read_idx(path, md5=md5), DIGITS)
    with pytest.raises(FileFormatError, match=f"have {md5}, which is somebody's. Get it again"):
        read_idx(path, md5="0" * 32, known={md5: "somebody's"})


# MNIST and Fashion-MNIST

READERS = {
    "MNIST": (mnist, 0.1307, 0.3081, "mnist"),
    "FashionMNIST": (fashion_mnist, 0.2860, 0.3530, "fashion-mnist"),
}


@pytest.mark.parametrize("folder", READERS)
@pytest.mark.parametrize("place", ["{}/raw", "raw", "."])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_layouts(folder, place, packed, train, tmp_path):
    read, mean, std, name = READERS[folder]
    write_mnist(tmp_path / place.format(folder), packed)
    samples = read(tmp_path, train, checksum=False)
    assert samples.inputs.shape == (20, 1, 28, 28) and samples.inputs.dtype == torch.float32
    assert samples.targets.tolist() == LABELS.tolist() and samples.classes == 10
    expected = (DIGITS[:, None] / 255.0 - mean) / std
    np.testing.assert_allclose(samples.inputs.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert samples.name == f"{name}-{'train' if train else 'test'}"
    assert torch.equal(read(str(tmp_path), train, checksum=False).inputs, samples.inputs)


def test_contents_must_be_the_published_ones(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(FileFormatError, match=r"published file, with md5 .*checksum=False"):
        mnist(tmp_path)


def test_images_and_labels_must_belong_together(tmp_path):
    write_mnist(tmp_path, labels=LABELS[:-1])
    with pytest.raises(FileFormatError, match="with 19 labels beside it"):
        mnist(tmp_path, checksum=False)
    write_mnist(tmp_path, images=DIGITS[:, :14])
    with pytest.raises(FileFormatError, match="one image of 28x28"):
        mnist(tmp_path, checksum=False)
    write_mnist(tmp_path, labels=LABELS + 10)
    with pytest.raises(FileFormatError, match="classes 0 to 9"):
        mnist(tmp_path, checksum=False)
    write_mnist(tmp_path, images=DIGITS[:0], labels=LABELS[:0])
    with pytest.raises(FileFormatError, match="one image of 28x28 for each label"):
        mnist(tmp_path, checksum=False)


@pytest.mark.parametrize("read", [mnist, fashion_mnist, cifar10])
def test_absence_says_how_to_get_the_files(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"download=True.*pip install 'mitools\[vision\]'"):
        read(tmp_path / "nowhere")


def test_half_a_pair_is_absent(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte"):
        mnist(tmp_path)


# Downloading, without a network


@pytest.mark.parametrize("read", [mnist, fashion_mnist, cifar10])
def test_download_without_torchvision(read, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'mitools\[vision\]'"):
        read(tmp_path, download=True)


def test_download_calls_torchvision_only_when_needed(tmp_path, monkeypatch):
    calls = []

    def fetch(root, *, train, download):
        calls.append((root, train, download))
        write_mnist(Path(root) / "MNIST" / "raw")

    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    fake = types.SimpleNamespace(MNIST=fetch)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", fake)
    for _ in range(2):
        assert len(mnist(tmp_path, False, download=True, checksum=False)) == 20
    assert calls == [(str(tmp_path), False, True)]


# CIFAR-10

PICTURES = RNG.integers(0, 256, (12, 3, 32, 32), np.uint8)
CLASSES = [int(c) for c in RNG.integers(0, 10, 12)]
NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def batch(i: int, **changes) -> bytes:
    """Batch i holds two pictures, the last one (the test set) as well."""
    part = slice(2 * i, 2 * i + 2)
    content = {"data": PICTURES[part].reshape(2, -1), "labels": CLASSES[part], "batch_label": "b"}
    return pickle.dumps(content | changes, 2)


def write_folder(root: Path, **changes) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(NAMES):
        (folder / name).write_bytes(batch(i, **changes))
    return folder


def write_archive(root: Path, names=NAMES) -> Path:
    path = root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in reversed(names):  # like the official one, in no order
            content = batch(NAMES.index(name))
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_cifar_folder_and_archive(write, tmp_path):
    write(tmp_path)
    mean = np.array([0.4914, 0.4822, 0.4465]).reshape(3, 1, 1)
    std = np.array([0.2470, 0.2435, 0.2616]).reshape(3, 1, 1)
    for train, part in ((True, slice(10)), (False, slice(10, 12))):
        samples = cifar10(tmp_path, train, checksum=False)
        assert samples.targets.tolist() == CLASSES[part] and samples.classes == 10
        expected = (PICTURES[part] / 255.0 - mean) / std
        np.testing.assert_allclose(samples.inputs.numpy(), expected, rtol=1e-5, atol=1e-6)
        assert samples.name == f"cifar10-{'train' if train else 'test'}"
    assert [p.name for p in tmp_path.iterdir()] == [write(tmp_path).name]  # nothing unpacked


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_cifar_sums_are_compared_before_anything_is_read(write, tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(cifar_module, "read_pickle", lambda *_: pytest.fail("was read"))
    with pytest.raises(FileFormatError, match="data_batch_1 must hold the published file"):
        cifar10(tmp_path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": [1]}, "'labels', one of 0 to 9 for each of 2 images"),
        ({"labels": [1, 10]}, "'labels'"),
        ({"labels": [1, -1]}, "'labels'"),
        ({"labels": [1, "cat"]}, "'labels'"),
        ({"labels": None}, "not CIFAR-100"),
        ({"data": np.zeros((2, 12), np.uint8)}, r"rows of 3,072 bytes; got \(2, 12\)"),
        ({"data": np.zeros((2, 3072))}, "plain values and byte arrays"),
        ({"data": [1, 2]}, "got list"),
        ({"data": Evil()}, "names posix.mkdir"),
        ({"extra": Evil()}, "Nothing in it was run"),
    ],
)
def test_cifar_batches_of_another_kind(changes, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path, **changes)
    with pytest.raises(FileFormatError, match=words):
        cifar10(tmp_path, checksum=False)
    assert not (tmp_path / "pwned").exists()


def test_cifar_parts_missing_or_cut(tmp_path):
    folder = write_folder(tmp_path / "a")
    (folder / "data_batch_3").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3 is missing"):
        cifar10(tmp_path / "a")
    (folder / "data_batch_3").write_bytes(batch(2)[:1000])
    with pytest.raises(FileFormatError, match="data_batch_3 must be a whole pickle"):
        cifar10(tmp_path / "a", checksum=False)
    (tmp_path / "b").mkdir()
    path = write_archive(tmp_path / "b", NAMES[1:])
    with pytest.raises(FileFormatError, match="data_batch_1 is missing"):
        cifar10(tmp_path / "b", checksum=False)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FileFormatError, match=r"whole tar\.gz archive"):
        cifar10(tmp_path / "b", checksum=False)
    path.write_bytes(b"<html>")
    with pytest.raises(FileFormatError, match=r"whole tar\.gz archive"):
        cifar10(tmp_path / "b", checksum=False)


def test_archive_members_that_are_links_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(batch(5))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    with pytest.raises(FileFormatError, match="test_batch is missing"):
        cifar10(tmp_path, train=False, checksum=False)


# The lossy copy


def write_jpegs(root: Path, size=(32, 32), **changes) -> None:
    root.mkdir(exist_ok=True)
    packed = []
    for i in range(5):
        buffer = io.BytesIO()
        picture = Image.new("RGB", size, (50 * i, 100, 200))
        picture.paste((0, 0, 0), (0, 0, size[0], size[1] // 2))  # the upper half is black
        picture.save(buffer, "JPEG", quality=95)
        packed.append(buffer.getvalue())
    arrays = {
        "jpeg": np.frombuffer(b"".join(packed), np.uint8),
        "offset": np.cumsum([0, *map(len, packed)]),
        "y_train": np.array([1, 2, 3], np.uint8),
        "y_test": np.array([4, 5], np.uint8),
    }
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    np.savez(root / "cifar10_jpeg_60k.npz", **arrays)


@pytest.fixture
def three_to_train(monkeypatch):
    monkeypatch.setattr(cifar_module, "_JPEG_TRAIN", 3)


@pytest.mark.usefixtures("three_to_train")
def test_jpegs(tmp_path):
    write_jpegs(tmp_path)
    train, test = cifar10(tmp_path), cifar10(tmp_path, train=False)
    assert train.targets.tolist() == [1, 2, 3] and test.targets.tolist() == [4, 5]
    assert (train.name, test.name) == ("cifar10-jpeg-train", "cifar10-jpeg-test")
    upper = test.inputs[:, :, :16].mean((2, 3)) * torch.tensor([0.2470, 0.2435, 0.2616])
    np.testing.assert_allclose(
        255 * (upper + torch.tensor([0.4914, 0.4822, 0.4465])), np.zeros((2, 3)), atol=2.5
    )
    colours = test.inputs[:, :, 16:].mean((2, 3)) * torch.tensor([0.2470, 0.2435, 0.2616])
    colours = 255 * (colours + torch.tensor([0.4914, 0.4822, 0.4465]))
    np.testing.assert_allclose(colours, [[150, 100, 200], [200, 100, 200]], atol=2.5)


@pytest.mark.usefixtures("three_to_train")
def test_official_files_come_before_the_lossy_copy(tmp_path):
    write_jpegs(tmp_path)
    write_archive(tmp_path)
    assert cifar10(tmp_path, checksum=False).name == "cifar10-train"


@pytest.mark.usefixtures("three_to_train")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"offset": None}, "npz with jpeg, offset and y_train"),
        ({"jpeg": np.array([Evil()], dtype=object)}, "allow_pickle=False"),
        ({"jpeg": np.zeros((2, 2), np.uint8)}, "integers in one dimension"),
        ({"jpeg": np.zeros(9, np.int64)}, "integers in one dimension"),
        ({"jpeg": np.zeros(9000, np.uint8)}, "number 0 is not one"),
        ({"y_train": np.array([1, 2], np.uint8)}, "one JPEG for each label; it has 2 labels"),
        ({"y_train": np.array([1, 2, 11], np.uint8)}, "classes 0 to 9"),
        ({"offset": np.array([0, 5, 3, 9])}, "one JPEG for each label"),
        ({"offset": np.array([0, 5, 6, 10**9])}, "one JPEG for each label"),
        ({"offset": np.array([-9, 5, 6, 700])}, "offsets from -9"),
        ({"size": (16, 16)}, r"RGB of size \(16, 16\)"),
    ],
)
def test_broken_jpegs(changes, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jpegs(tmp_path / "root", **changes)
    with pytest.raises(FileFormatError, match=words):
        cifar10(tmp_path / "root")
    assert not (tmp_path / "pwned").exists()


def test_npz_cut_short(tmp_path):
    write_jpegs(tmp_path)
    path = tmp_path / "cifar10_jpeg_60k.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FileFormatError, match="must be an npz"):
        cifar10(tmp_path)


# The real files, where they are


def real(*parts: str) -> Path:
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    root = Path(os.environ.get("MITOOLS_DATA", beside))
    if not any((root / part).exists() for part in parts):
        pytest.skip(f"{' or '.join(parts)} not found; name their folder in MITOOLS_DATA")
    return root


@pytest.mark.parametrize(
    ("folder", "first", "mean"),
    [
        ("MNIST", [7, 2, 1, 0, 4, 1, 4, 9], 0.0059),
        ("FashionMNIST", [9, 2, 1, 1, 6, 1, 4, 6], 0.0024),
    ],
)
def test_real_test_sets(folder, first, mean):
    samples = READERS[folder][0](real(f"{folder}/raw"), train=False)
    assert samples.inputs.shape == (10_000, 1, 28, 28)
    assert samples.targets[:8].tolist() == first
    assert float(samples.inputs.mean()) == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("folder", ["MNIST", "FashionMNIST"])
def test_real_training_sets_are_standardised_by_their_own_moments(folder):
    samples = READERS[folder][0](real(f"{folder}/raw"))
    assert len(samples) == 60_000 and samples.targets.bincount().min() > 5_400
    assert float(samples.inputs.mean()) == pytest.approx(0, abs=2e-4)
    assert float(samples.inputs.std()) == pytest.approx(1, abs=2e-4)


def test_one_real_set_is_not_taken_for_the_other(tmp_path):
    (tmp_path / "raw").symlink_to(real("FashionMNIST/raw") / "FashionMNIST" / "raw")
    with pytest.raises(FileFormatError, match="which is FashionMNIST's t10k-labels"):
        mnist(tmp_path, train=False)


def test_real_pictures():
    root = real("cifar10_jpeg_60k.npz", "cifar-10-batches-py", "cifar-10-python.tar.gz")
    samples = cifar10(root, train=False)
    assert samples.inputs.shape == (10_000, 3, 32, 32)
    assert samples.targets.bincount().tolist() == [1_000] * 10
    assert float(samples.inputs.mean()) == pytest.approx(0.012, abs=0.01)
