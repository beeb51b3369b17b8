"""Files of tensors: round trips, and every way in which a file can be wrong."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mitools._validation import FileFormatError
from mitools.models import load_tensors, save_tensors

TENSORS = {
    "a": torch.arange(6.0).view(2, 3).T,
    "b": torch.tensor(True),
    "c": torch.randn(4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16),
    "empty": torch.zeros(0, 3),
}


def saved(path, tensors=TENSORS):
    save_tensors(path, tensors, kind="mask", metadata={"note": "naïve", "n": [1, 0.1]})
    return path


def test_round_trip(tmp_path):
    tensors, metadata = load_tensors(saved(tmp_path / "m"), kind="mask")
    assert metadata == {"note": "naïve", "n": [1, 0.1]}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert os.listdir(tmp_path) == ["m"]


def test_tensors_that_share_memory(tmp_path):
    whole = torch.arange(6.0)
    tensors, _ = load_tensors(
        saved(tmp_path / "m", {"x": whole, "y": whole, "z": whole[2:]}), kind="mask"
    )
    assert torch.equal(tensors["y"], whole) and torch.equal(tensors["z"], whole[2:])


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = saved(tmp_path / "m")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_tensors(path, TENSORS, kind="mask", metadata={"bad": object()})
    bad = torch.zeros(2).to_sparse()
    with pytest.raises((RuntimeError, ValueError)):
        save_tensors(path, {"x": bad}, kind="mask", metadata={})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = saved(tmp_path / "m")
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("mitools.models.tensor_files.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        save_tensors(path, {"x": torch.ones(3)}, kind="mask", metadata={})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m"]


def test_every_truncation_is_refused(tmp_path):
    whole = saved(tmp_path / "m").read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "t").write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match="mask file"):
            load_tensors(tmp_path / "t", kind="mask")


def test_every_flipped_byte_is_refused(tmp_path):
    whole = saved(tmp_path / "m").read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    data = range(start, len(whole))
    header = range(8, start, 5)
    assert len(data) > 20
    for position in (*data, *header):
        broken = bytearray(whole)
        broken[position] ^= 1
        (tmp_path / "t").write_bytes(broken)
        with pytest.raises(FileFormatError, match="mask file"):
            load_tensors(tmp_path / "t", kind="mask")


@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_are_never_opened(tmp_path, protocol):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    (tmp_path / "p").write_bytes(pickle.dumps(Trap(), protocol=protocol))
    torch.save({"x": torch.zeros(1)}, tmp_path / "q")
    for name in ("p", "q"):
        with pytest.raises(FileFormatError, match=r"pickle.*never opened.*weights_only=True"):
            load_tensors(tmp_path / name, kind="mask")
    assert not (tmp_path / "trapped").exists()


def test_other_files(tmp_path):
    save_file({"fc.weight": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(
        FileFormatError, match=r"safetensors from elsewhere, with tensors fc\.weight"
    ):
        load_tensors(tmp_path / "plain", kind="mask")
    save_file({"x": torch.zeros(1)}, tmp_path / "odd", metadata={"mitools": "[1, 2]"})
    with pytest.raises(FileFormatError, match="from elsewhere"):
        load_tensors(tmp_path / "odd", kind="mask")
    with pytest.raises(FileFormatError, match="must be a checkpoint file; m is a mask file"):
        load_tensors(saved(tmp_path / "m"), kind="checkpoint")
    (tmp_path / "text").write_text("hello, this is no tensor file at all")
    with pytest.raises(FileFormatError):
        load_tensors(tmp_path / "text", kind="mask")
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "absent", kind="mask")
