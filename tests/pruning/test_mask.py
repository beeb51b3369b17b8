import copy
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from mitools._validation import FileFormatError, MaskError
from mitools.pruning import binary
from mitools.pruning.mask import Mask
from mitools.results import LayerCount


def example():
    return Mask(
        {"b.weight": [[1, 0, 1], [0, 0, 0]], "a.weight": torch.tensor([True, False])},
        pruner=("SNIP", 3),
        density=0.4,
        fingerprint="ab12",
        source="given",
    )


def test_counts_layers_and_row():
    mask = example()
    assert (mask.nonzeros, mask.size, mask.density) == (3, 8, 3 / 8)
    assert mask.layers() == (LayerCount("b.weight", 6, 2), LayerCount("a.weight", 2, 1))
    row = mask.flat()
    assert row.dtype == np.bool_
    assert row.tolist() == [True, False, True, False, False, False, True, False]
    row[:] = False
    assert mask.nonzeros == mask.flat().sum() == 3


def test_rows_of_strided_tensors_are_in_c_order():
    mask = Mask({"w": torch.tensor([[1, 0], [1, 0], [0, 1]]).T})
    assert mask.flat().tolist() == [True, True, False, False, False, True]
    assert mask["w"].is_contiguous()


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([1.0, 0.0]),
        torch.tensor([1.0, 0.0], dtype=torch.bfloat16),
        torch.tensor([1, 0], dtype=torch.uint8),
        torch.tensor([1.0, 0.0]).to_sparse(),
        torch.tensor([1.0, 0.0], requires_grad=True),
        np.array([1, 0], dtype=">i4"),
        np.array([True, False]),
        np.frombuffer(b"\x01\x00", dtype=np.uint8),
        np.array([0.0, 1.0])[::-1],
        [True, False],
        (1, 0),
    ],
)
def test_any_zeros_and_ones_are_read(value):
    mask = Mask({"w": value})
    assert mask["w"].dtype == torch.bool
    assert mask["w"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.tensor([1.0, 0.5]), "0.5"),
        (torch.tensor([1, -1]), "-1"),
        (np.array([np.nan, 1]), "nan"),
        (torch.tensor([float("inf")]), "inf"),
        (torch.tensor([2], dtype=torch.uint8), "2"),
        (np.array([object()]), "object"),
        (["yes"], "<U3"),
        ([[1, 0], [1]], "different lengths|object"),
        (None, "NoneType"),
        (torch.empty(2, device="meta"), "meta"),
    ],
)
def test_all_else_is_refused(value, found):
    with pytest.raises(MaskError, match=rf"'layer'.*({found})"):
        Mask({"layer": value})


def test_a_bad_value_beyond_the_first_block_is_found(monkeypatch):
    monkeypatch.setattr(binary, "BLOCK", 4)
    value = torch.zeros(5, 3)
    value[4, 2] = 0.25
    with pytest.raises(MaskError, match=r"0\.25"):
        Mask({"w": value})
    value[4, 2] = 1
    assert Mask({"w": value}).flat().nonzero()[0].tolist() == [14]


def test_empty_full_and_missing():
    empty, full = Mask({"w": torch.zeros(3)}), Mask({"w": torch.ones(3)})
    assert (empty.nonzeros, empty.density, full.density) == (0, 0.0, 1.0)
    assert empty.overlap(empty) == 1.0
    assert empty.overlap(full) == 0.0
    assert Mask({"w": torch.zeros(0, 3)}).density == 0.0
    with pytest.raises(MaskError, match="at least one tensor"):
        Mask({})
    with pytest.raises(MaskError, match="must map"):
        Mask([torch.ones(2)])
    with pytest.raises(MaskError, match="strings"):
        Mask({3: torch.ones(2)})
    with pytest.raises(ValueError, match="density"):
        Mask({"w": torch.ones(2)}, density=1.5)


def test_immutable_and_apart_from_what_it_was_made_of():
    given_tensor = torch.tensor([True, False])
    names = {"w": given_tensor}
    mask = Mask(names)
    given_tensor[1] = True
    names["v"] = given_tensor
    assert mask["w"].tolist() == [True, False]
    assert list(mask) == ["w"]
    with pytest.raises(AttributeError, match="immutable"):
        mask.pruner = "other"
    with pytest.raises(AttributeError, match="immutable"):
        del mask.source
    with pytest.raises(TypeError):
        mask["w"] = given_tensor


def test_copies_compare_and_hash_by_content():
    mask = example()
    for twin in (copy.deepcopy(mask), copy.copy(mask), pickle.loads(pickle.dumps(mask))):
        assert twin == mask
        assert hash(twin) == hash(mask)
        assert twin.pruner == mask.pruner
        assert twin.layers() == mask.layers()
    reordered = Mask({name: mask[name] for name in sorted(mask)})
    assert reordered == mask
    assert hash(reordered) == hash(mask)
    other = mask ^ Mask({"b.weight": torch.zeros(2, 3), "a.weight": [0, 1]})
    assert other != mask
    assert hash(other) != hash(mask)
    assert mask != {"b.weight": mask["b.weight"]}
    assert Mask({"w": torch.ones(2, 3)}) != Mask({"w": torch.ones(3, 2)})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_algebra_is_that_of_sets(pairs):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    first, second = Mask({"w": a}), Mask({"module.w": b})
    sets = [{i for i, kept in enumerate(x) if kept} for x in (a, b)]
    for mask, expected in (
        (first & second, sets[0] & sets[1]),
        (first | second, sets[0] | sets[1]),
        (first ^ second, sets[0] ^ sets[1]),
        (~first, set(range(len(a))) - sets[0]),
    ):
        assert set(mask.flat().nonzero()[0].tolist()) == expected
        assert mask.nonzeros == len(expected)
    either = sets[0] | sets[1]
    assert first.overlap(second) == (len(sets[0] & sets[1]) / len(either) if either else 1.0)


def test_masks_that_do_not_pair_are_refused():
    first = Mask({"a": torch.ones(2), "b": torch.ones(3)})
    with pytest.raises(MaskError, match=r"'b' \(3,\) and \(4,\)") as caught:
        first & Mask({"a": torch.ones(2), "b": torch.ones(4)})
    assert "'a'" not in str(caught.value)
    with pytest.raises(MaskError, match="'b' only in the first; 'c' only in the second"):
        first.overlap(Mask({"a": torch.ones(2), "c": torch.ones(3)}))
    with pytest.raises(TypeError):
        first & 3


def test_provenance_is_filled_in_and_does_not_outlive_an_operation():
    mask = example().with_provenance(pruner="IMP()")
    assert (mask.pruner, mask.requested_density, mask.fingerprint) == ("IMP()", 0.4, "ab12")
    assert "IMP()" in repr(mask)
    for result in (mask & mask, ~mask):
        assert (result.pruner, result.requested_density) == (None, None)
        assert result.fingerprint == "ab12"  # still a mask of the same weights
    assert (mask & Mask(mask)).fingerprint is None


def test_ones_and_zeros_like():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert Mask.ones_like(model) == Mask({"0.weight": torch.ones(2, 3)})
    assert Mask.zeros_like(model) == ~Mask.ones_like(model)
    assert Mask.ones_like(model, ["1.weight"]) == Mask({"1.weight": [1, 1]})
    assert Mask.zeros_like(example()) == example() ^ example()


class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


def test_apply_zeroes_exactly_what_is_pruned(monkeypatch):
    monkeypatch.setattr(binary, "BLOCK", 4)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
        model[0].weight[3, 2] = -1.0
    old = model[0].weight.detach().clone()
    kept = torch.rand(4, 3) < 0.5
    kept[0, 0] = kept[3, 2] = False
    assert Mask({"0": kept}).apply_(model) is model
    weight = model[0].weight.detach()
    assert torch.equal(weight[kept], old[kept])
    assert not weight[~kept].any()
    assert not torch.signbit(weight[~kept]).any()
    assert model[0].weight.requires_grad
    assert model[0].weight.grad_fn is None
    assert (model[1].weight != 0).all()


@pytest.mark.parametrize(
    "name", ["1.weight", "1", "module.1.weight", "model.1", "_orig_mod.1.weight"]
)
@pytest.mark.parametrize(
    "wrap", [lambda m: m, Wrapped, lambda m: torch.compile(m, backend="eager")]
)
def test_names_find_their_way_through_wrappers(name, wrap):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    Mask({name: torch.zeros(3, 3)}).apply_(wrap(model))
    assert not model[1].weight.any()
    assert model[0].weight.all()


def test_an_exact_name_wins_over_a_similar_one_and_doubt_is_refused():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.model = nn.Linear(2, 2), nn.ModuleDict({"fc": nn.Linear(2, 2)})

    net = Both()
    Mask({"fc.weight": torch.zeros(2, 2)}).apply_(net)
    assert not net.fc.weight.any()
    assert net.model["fc"].weight.all()
    with pytest.raises(MaskError, match=r"'module\.fc'"):
        Mask({"module.fc": torch.zeros(2, 2)}).check_fits(net)
    Mask({"model.fc.weight": torch.ones(2, 2), "module.fc": torch.zeros(2, 2)}).check_fits(net)


def test_a_misfit_lists_everything_and_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = copy.deepcopy(model.state_dict())
    mask = Mask(
        {"0.weight": torch.zeros(4, 3), "1.weight": torch.zeros(4, 2), "9.weight": torch.zeros(1)}
    )
    with pytest.raises(MaskError) as caught:
        mask.apply_(model)
    text = str(caught.value)
    for part in (
        "2 places",
        "mask (4, 2), model (2, 4)",
        "'9.weight' (1,)",
        "'0.bias' (4,)",
        ".npz",
    ):
        assert part in text
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_lazy_and_tied_parameters():
    with pytest.raises(MaskError, match="not initialised"):
        Mask({"weight": torch.ones(2, 2)}).check_fits(nn.LazyLinear(2))
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    Mask({"1.weight": torch.zeros(2, 2)}).apply_(model)
    assert not model[0].weight.any()
    with pytest.raises(MaskError, match="one tied tensor"):
        Mask({"0": torch.ones(2, 2), "1": torch.ones(2, 2)}).check_fits(model)


def test_weights_stored_elsewhere():
    pruned = prune.identity(nn.Linear(3, 2), "weight")
    for name in ("weight", "weight_orig", "module.weight_orig"):
        model = copy.deepcopy(nn.Sequential(nn.Linear(3, 2)))[0]
        pruned = prune.identity(model, "weight")
        Mask({name: torch.zeros(2, 3)}).apply_(pruned)
        assert not pruned.weight_orig.any()
        assert not pruned.weight.any()  # also before the next forward pass
    normed = parametrizations.weight_norm(nn.Linear(3, 2))
    kept = torch.tensor([[1, 0, 1], [0, 1, 1]], dtype=torch.bool)
    for name in ("weight", "parametrizations.weight.original1"):
        Mask({name: kept}).apply_(normed)
        assert torch.equal(normed.weight != 0, kept)


def test_saved_and_loaded(tmp_path):
    path, mask = tmp_path / "mask.safetensors", example()
    mask.save(path)
    found = Mask.load(path)
    assert found == mask
    assert list(found) == ["b.weight", "a.weight"]
    assert found.pruner == "('SNIP', 3)"
    assert (found.requested_density, found.fingerprint, found.source) == (0.4, "ab12", "given")
    (found & mask).save(str(path))  # overwrites
    assert Mask.load(str(path)).pruner is None
    assert [p.name for p in tmp_path.iterdir()] == ["mask.safetensors"]
    with pytest.raises(FileNotFoundError):
        Mask.load(tmp_path / "absent")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    class Unprintable:
        def __repr__(self):
            raise RuntimeError("no")

    path = tmp_path / "mask.safetensors"
    example().save(path)
    content = path.read_bytes()
    with pytest.raises(RuntimeError, match="no"):
        example().with_provenance(pruner=Unprintable()).save(path)
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[:4],
        lambda b: b[:-1],
        lambda b: b[: len(b) // 2],
        lambda b: b + b"x",
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        lambda b: b"\xff" * len(b),
        lambda b: struct.pack("<Q", 2**60) + b[8:],
        lambda b: b[:8] + b"[" + b[9:],
        lambda b: pickle.dumps({"w": [1]}),
        lambda b: b"PK\x03\x04" + b,
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "mask.safetensors"
    example().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileFormatError, match=r"mask\.safetensors"):
        Mask.load(path)
    with pytest.raises(FileFormatError, match=r"mask\.safetensors"):
        Mask.of(path)


def test_a_foreign_file_is_read_by_of_alone(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.tensor([1, 0], dtype=torch.uint8)}, path)
    with pytest.raises(FileFormatError, match="from elsewhere"):
        Mask.load(path)
    assert Mask.of(path) == Mask({"w": [1, 0]})


def test_a_million_weights_in_blocks_equal_one_piece(monkeypatch):
    torch.manual_seed(0)
    values = (torch.rand(1000, 37) < 0.3).float()
    whole = Mask({"weight": values})
    monkeypatch.setattr(binary, "BLOCK", 100)
    pieces = Mask({"weight": values})
    assert pieces == whole
    assert hash(pieces) == hash(whole)
    model = nn.Linear(37, 1000)
    assert torch.equal(pieces.apply_(model).weight != 0, whole["weight"])
