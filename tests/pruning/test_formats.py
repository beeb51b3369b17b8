import copy
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from mitools._validation import FileFormatError, MaskError
from mitools.pruning.mask import Mask


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def mask_of_network(seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (4, 3), "2.weight": (2, 4)}
    return Mask({n: torch.rand(s, generator=rng) < 0.5 for n, s in shapes.items()})


def test_a_mask_is_itself():
    mask = mask_of_network()
    assert Mask.of(mask) is mask
    assert Mask.of(mask, network()) is mask
    renamed = Mask(
        {"module.2": mask["2.weight"], "0": mask["0.weight"]},
        pruner="P",
        density=0.5,
        fingerprint="f",
    )
    found = Mask.of(renamed, network())
    assert found == mask
    assert list(found) == ["0.weight", "2.weight"]  # the model's order
    assert (found.pruner, found.requested_density, found.fingerprint) == ("P", 0.5, "f")


@pytest.mark.parametrize("model", [None, network()])
@pytest.mark.parametrize(
    "convert",
    [
        lambda t: t,
        lambda t: t.float(),
        lambda t: t.to(torch.uint8),
        lambda t: t.numpy(),
        lambda t: t.tolist(),
        lambda t: t.float().to_sparse(),
    ],
)
def test_mappings_of_names(convert, model):
    mask = mask_of_network()
    assert Mask.of({name: convert(tensor) for name, tensor in mask.items()}, model) == mask


@pytest.mark.parametrize("pattern", ["{}", "{}.weight", "module.{}.weight", "_orig_mod.module.{}"])
def test_names_are_those_of_the_model(pattern):
    mask, model = mask_of_network(), network()
    given = {pattern.format(name[0]): tensor for name, tensor in mask.items()}
    assert Mask.of(given, model) == mask


def test_mappings_of_modules_lists_and_single_tensors():
    mask, model = mask_of_network(), network()
    first, second = mask.values()
    assert Mask.of({model[0]: first, model[2]: second.numpy()}, model) == mask
    assert (
        Mask.of({model[2]: {"weight": second.numpy()}, model[0]: {"weight": first}}, model) == mask
    )
    assert Mask.of([first, second.float()], model) == mask
    assert Mask.of((first.tolist(), second.numpy()), model).source == "a list in module order"
    everything = Mask.of([first, torch.ones(4), second, torch.ones(2)], model)
    assert list(everything) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert Mask.of(first, model[0])["weight"].equal(first)
    assert Mask.of(first.numpy(), model[0])["weight"].equal(first)


def test_lists_that_do_not_fit_say_where():
    mask, model = mask_of_network(), network()
    first, second = mask.values()
    with pytest.raises(MaskError, match=r"number 0 \(2, 4\) stands where '0\.weight' \(4, 3\)"):
        Mask.of([second, first], model)
    with pytest.raises(MaskError, match="1 masks for 2 prunable tensors"):
        Mask.of([first], model)
    for nameless in ([first, second], first, {model[0]: first}):
        with pytest.raises(MaskError, match=r"Pass model="):
            Mask.of(nameless)
    with pytest.raises(MaskError, match="must belong to the model"):
        Mask.of({nn.Linear(3, 4): first}, model)


@pytest.mark.parametrize("odd", [3, object(), {}, {1: [1]}, iter([])])
def test_unknown_formats_name_the_known_ones(odd):
    with pytest.raises(MaskError, match=r"Accepted formats: name -> 0/1 tensor"):
        Mask.of(odd, network())


def test_nothing_at_all():
    with pytest.raises(MaskError, match="got neither"):
        Mask.of()


def test_tied_names_that_agree_count_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    eye = torch.eye(2)
    found = Mask.of({"0.weight": eye, "1.weight": eye}, model)
    assert (list(found), found.size) == (["0.weight"], 4)
    with pytest.raises(MaskError, match="their masks differ"):
        Mask.of({"0.weight": eye, "1.weight": 1 - eye}, model)


def test_nni():
    mask = mask_of_network()
    nested = mask.to_nni()
    assert nested["0"]["weight"].dtype == torch.float32
    assert Mask.of(nested) == mask
    nested["0"] |= {"_input_0": torch.ones(1, 3), "bias": None}
    assert Mask.of(nested, network()) == mask
    assert Mask.of({f"module.{k}": v for k, v in nested.items()}, network()) == mask
    root = Mask({"weight": [1, 0]})
    assert Mask.of(root.to_nni()) == root
    assert Mask({"0": [1, 0]}).to_nni()["0"]["weight"].tolist() == [1, 0]


class OpenLTH(nn.Module):
    """Registers masks as open_lth's PrunedModel does."""

    def __init__(self, model, mask):
        super().__init__()
        self.model = model
        for name, tensor in mask.items():
            self.register_buffer("mask_" + name.replace(".", "___"), tensor.float())


def test_open_lth(tmp_path):
    mask = mask_of_network()
    written = mask.to_open_lth()
    assert {n: t.dtype for n, t in written.items()} == dict.fromkeys(mask, torch.int32)
    torch.save(written, tmp_path / "mask.pth")
    found = Mask.of(tmp_path / "mask.pth", network())
    assert found == mask
    assert found.source == "torch file mask.pth"
    pruned = OpenLTH(network(), written)
    found = Mask.of(None, pruned)
    assert list(found) == ["model.0.weight", "model.2.weight"]
    assert found.source == "open_lth buffers"
    assert found & mask == found
    assert Mask.of(pruned.state_dict(), pruned) == found


class SynLinear(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("weight_mask", torch.ones(outputs, inputs))
        self.register_buffer("bias_mask", torch.ones(outputs))

    def forward(self, x):
        return F.linear(x, self.weight_mask * self.weight, self.bias_mask * self.bias)


class SynNorm(nn.BatchNorm1d):
    def __init__(self, width):
        super().__init__(width)
        self.register_buffer("weight_mask", torch.ones(width))


def test_synaptic_flow():
    mask = mask_of_network()
    model = nn.Sequential(SynLinear(3, 4), SynNorm(4), SynLinear(4, 2))
    buffers = mask.to_synflow()
    assert model.load_state_dict(buffers, strict=False).unexpected_keys == []
    found = Mask.of(None, model)
    assert found == mask
    assert found.source == "Synaptic-Flow buffers"
    assert Mask.of(model.state_dict()) == mask
    model[0].bias_mask[1] = 0  # pruned with --prune-bias
    assert Mask.of(model)["0.bias"].tolist() == [True, False, True, True]


def test_prospr():
    mask, model = mask_of_network(), network()
    for name, tensor in mask.items():
        model[int(name[0])].register_buffer("keep_mask", tensor)
    found = Mask.of(None, model)
    assert found == mask
    assert found.source == "keep_mask buffers"


def test_torch_prune_there_and_back():
    mask, model = mask_of_network(), network()
    before = copy.deepcopy(model.state_dict())
    pruned = mask.to_torch_prune(model)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert prune.is_pruned(pruned)
    assert not prune.is_pruned(model)
    found = Mask.of(None, pruned)
    assert found == mask
    assert found.source == "torch.nn.utils.prune buffers"
    assert Mask.of(pruned.state_dict()) == mask
    assert torch.equal(pruned[0].weight, model[0].weight * mask["0.weight"])
    # A model that is pruned already, whose forward pass has run, gets exactly the new mask.
    pruned(torch.ones(1, 3)).sum().backward()
    other = mask_of_network(seed=1)
    again = other.to_torch_prune(pruned)
    assert Mask.of(again) == other
    assert Mask.of(pruned) == mask
    x = torch.randn(5, 3)
    torch.testing.assert_close(again(x), other.apply_(network())(x))
    assert Mask.of(other.to_torch_prune(again)) == other


def test_torch_prune_twice_in_layers_and_with_biases():
    model = network()
    prune.random_unstructured(model[0], "weight", 0.5)
    prune.random_unstructured(model[0], "weight", 0.5)
    prune.random_unstructured(model[2], "bias", 1)
    found = Mask.of(None, model)
    assert found.layers()[0].kept == 3
    assert {n: tuple(t.shape) for n, t in found.items()} == {"0.weight": (4, 3), "2.bias": (2,)}
    found.apply_(model)
    assert torch.equal(model[0].weight_orig != 0, found["0.weight"])


def test_torch_prune_of_tied_and_parametrised_weights():
    tied = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    tied[1].weight = tied[0].weight
    pruned = Mask({"1.weight": [[1, 0], [0, 0]]}).to_torch_prune(tied)
    assert pruned[0].weight_orig is pruned[1].weight_orig
    assert torch.equal(pruned[0].weight, pruned[1].weight)
    assert Mask.of(pruned).nonzeros == 1
    with pytest.raises(ValueError, match="parametrised"):
        Mask({"weight": torch.ones(2, 2)}).to_torch_prune(
            parametrizations.weight_norm(nn.Linear(2, 2))
        )


def test_parametrizations():
    class FakeSparsity(nn.Module):
        def __init__(self, mask, as_buffer=True):
            super().__init__()
            if as_buffer:
                self.register_buffer("mask", mask)
            else:
                self.mask = mask

        def forward(self, w):
            return self.mask * w

    for as_buffer in (True, False):
        mask, model = mask_of_network(), network()
        for name, tensor in mask.items():
            parametrize.register_parametrization(
                model[int(name[0])], "weight", FakeSparsity(tensor, as_buffer)
            )
        found = Mask.of(None, model)
        assert found == mask
        assert found.source == "the masks of parametrizations"
    both = nn.Linear(2, 1)
    for tensor in (torch.tensor([[1, 0]]), torch.tensor([[1, 1]])):
        parametrize.register_parametrization(both, "weight", FakeSparsity(tensor))
    assert Mask.of(None, both)["weight"].tolist() == [[True, False]]


def test_exact_zeros():
    mask, model = mask_of_network(), network()
    found = Mask.of(None, model)
    assert found.density == 1.0
    assert "no exact zeros" in found.source
    mask.apply_(model)
    found = Mask.of(model)
    assert found == mask
    assert found.source == "exact zeros in the model's weights"
    baked = mask.to_torch_prune(network())
    prune.remove(baked[0], "weight")
    prune.remove(baked[2], "weight")
    assert Mask.of(baked) == mask
    with pytest.raises(ValueError, match="something to prune"):
        Mask.of(None, nn.ReLU())


def test_numpy_arrays_are_copies(tmp_path):
    mask = mask_of_network()
    arrays = mask.to_numpy()
    assert {n: a.dtype for n, a in arrays.items()} == dict.fromkeys(mask, np.dtype(bool))
    assert Mask.of(arrays) == mask
    np.savez(tmp_path / "m.npz", **arrays)
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    for array in arrays.values():
        array[:] = True
    for file in ("m.npz", "c.npz"):
        assert Mask.of(tmp_path / file) == mask
        assert Mask.of(str(tmp_path / file), network()).source == f"NumPy file {file}"


def test_files_of_every_kind(tmp_path):
    mask, model = mask_of_network(), network()
    mask.with_provenance(pruner="P").save(tmp_path / "own.safetensors")
    assert Mask.of(tmp_path / "own.safetensors", model).pruner == "P"
    save_file({n: t.float() for n, t in mask.items()}, tmp_path / "foreign")
    torch.save(mask.to_nni(), tmp_path / "nni.pth")
    torch.save(list(mask.values()), tmp_path / "list.pth")
    torch.save({"state_dict": mask.to_torch_prune(model).state_dict(), "epoch": 3}, tmp_path / "c")
    torch.save(mask.to_open_lth(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "one.npy", mask["0.weight"].numpy())
    for file in ("foreign", "nni.pth", "list.pth", "c", "old.pth"):
        assert Mask.of(tmp_path / file, model) == mask, file
    assert Mask.of(tmp_path / "one.npy", model[0])["weight"].equal(mask["0.weight"])
    with pytest.raises(FileNotFoundError):
        Mask.of(tmp_path / "absent")


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def hostile_files(target):
    bomb = Bomb(target)
    stream = io.BytesIO()
    torch.save({"0.weight": bomb}, stream)
    yield "zip.pth", stream.getvalue()
    stream = io.BytesIO()
    torch.save({"0.weight": bomb}, stream, _use_new_zipfile_serialization=False)
    yield "legacy.pth", stream.getvalue()
    yield "plain.pkl", pickle.dumps({"0.weight": bomb})
    yield "disguised.safetensors", pickle.dumps(bomb)
    stream = io.BytesIO()
    np.savez(stream, w=np.array([bomb], dtype=object))
    yield "object.npz", stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, np.array([bomb], dtype=object), allow_pickle=True)
    yield "object.npy", stream.getvalue()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("w.npy", pickle.dumps(bomb))
    yield "inside.npz", stream.getvalue()


def test_hostile_files_run_nothing(tmp_path):
    target = tmp_path / "executed"
    for name, content in hostile_files(target):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=name):
            Mask.of(path)
        assert not target.exists(), name
    pickle.loads(pickle.dumps(Bomb(target)))
    assert target.exists()  # the bomb does work


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["pth", "npz", "npy"])
def test_cut_files(tmp_path, kind, cut):
    mask, stream = mask_of_network(), io.BytesIO()
    if kind == "pth":
        torch.save(mask.to_open_lth(), stream)
    elif kind == "npz":
        np.savez(stream, **mask.to_numpy())
    else:
        np.save(stream, mask["0.weight"].numpy())
    content = stream.getvalue()
    path = tmp_path / f"mask.{kind}"
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(FileFormatError, match=rf"mask\.{kind}"):
        Mask.of(path)


def test_safetensors_of_every_header_length(tmp_path):
    """A length may begin with the byte that begins a pickle."""
    for width in range(64):
        mask = Mask({"w" * (4 * width + 1): [1, 0]})
        path = tmp_path / "mask"
        save_file({name: tensor.clone() for name, tensor in mask.items()}, path)
        assert Mask.of(path) == mask
        mask.save(path)
        assert Mask.load(path) == mask


def test_weights_are_not_a_mask(tmp_path):
    save_file(network().state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(MaskError, match="weights or scores"):
        Mask.of(tmp_path / "weights.safetensors")
