"""The report of a mask: counts, paths, and collapse called by its name."""

import numpy as np
import pandas as pd
import pytest
import torch
from example_nets import NETS, Residual, plain, samples
from torch import nn

from mitools import plotting
from mitools._validation import MaskError
from mitools.models import mlp, prunable, vgg, vit
from mitools.pruning import ERK, Mask, OneShot, Random, prune, report


def only(model, **changes):
    """The mask that keeps all but what is given: dots in names are written as __."""
    tensors = {n: torch.ones_like(p, dtype=torch.bool) for n, p in prunable(model).items()}
    for name, value in changes.items():
        tensors[name.replace("__", ".")] &= torch.as_tensor(value, dtype=torch.bool)
    return Mask(tensors)


IMAGE = torch.zeros(1, 1, 8, 8)


def test_counts_by_hand():
    # 2 - 2 - 1: the first hidden unit leads nowhere, the second reads one input.
    model = mlp((2, 2, 1))
    mask = Mask({"fc1.weight": [[1, 1], [0, 1]], "fc2.weight": [[0, 1]]})
    answer = report(model, mask, torch.zeros(1, 2))
    assert (answer.kept, answer.size, answer.on_path, answer.cut_at) == (4, 6, 2, None)
    assert answer.density == 4 / 6 and answer.density_on_path == 2 / 6
    first, last = answer.layers
    assert (first.kept, first.on_path, first.density, first.density_on_path) == (3, 1, 0.75, 0.25)
    assert (first.role, last.role, first.state) == ("layer", "classifier", "")
    assert [(u.name, u.size, u.reason) for u in answer.uncounted] == [
        ("fc1.bias", 2, "a bias"),
        ("fc2.bias", 1, "a bias"),
    ]


def test_an_empty_layer_of_a_chain_cuts_the_signal():
    model = plain((4, 5, 6, 3))
    answer = report(model, only(model, **{"3__weight": 0}), torch.zeros(1, 4))
    assert answer.cut_at == "3.weight" and answer.on_path == 0
    assert answer.named("empty") == ("3.weight",)
    assert answer.named("off every path") == ("1.weight", "5.weight")
    assert "cut: no path from input to output, none beyond 3.weight" in str(answer)


def test_a_signal_is_cut_without_an_empty_layer():
    model = mlp((2, 2, 2, 1))
    tensors = {"fc1.weight": [[1, 1], [0, 0]], "fc2.weight": [[0, 1], [0, 1]]}
    answer = report(model, Mask({**tensors, "fc3.weight": [[1, 1]]}), torch.zeros(1, 2))
    assert answer.cut_at == "fc2.weight"
    assert answer.named("empty") == answer.named("empty but bypassed") == ()


def test_empty_branches_and_shortcuts_are_bypassed():
    model = Residual()
    for name in ("block2.shortcut.weight", "block1.conv1.weight"):
        answer = report(model, only(model, **{name: 0}), IMAGE)
        assert answer.cut_at is None
        assert answer.named("empty but bypassed") == (name,)
        assert answer.named("empty") == ()
    roles = {layer.name: layer.role for layer in answer.layers}
    assert roles["block2.shortcut.weight"] == "shortcut" and roles["head.weight"] == "classifier"
    # conv2 behind an empty conv1 keeps weights that no path uses.
    assert answer.named("off every path") == ("block1.conv2.weight",)
    assert "off every path: block1.conv2.weight" in str(answer)


def test_branch_and_shortcut_both_empty_cut_together():
    model = Residual()
    mask = only(model, **{"block2.shortcut.weight": 0, "block2.conv2.weight": 0})
    answer = report(model, mask, IMAGE)
    assert answer.cut_at == "block2.shortcut.weight"  # the later of the two, as parameters go
    # Each alone would be bypassed, and that is what is said of a layer.
    assert answer.named("empty but bypassed") == ("block2.conv2.weight", "block2.shortcut.weight")


def test_queries_and_keys_may_be_empty_values_may_not_if_nothing_leads_round():
    model = vit(1, size=8, patch=4, width=4, heads=1, depth=1)
    empty = {f"block1.attention.{part}.weight": 0 for part in "qk"}
    answer = report(model, only(model, **empty), IMAGE)
    assert answer.named("empty but bypassed") == tuple(empty) and answer.cut_at is None
    answer = report(model, only(model, **{"patches.conv.weight": 0}), IMAGE)
    assert answer.named("empty") == ("patches.conv.weight",) == (answer.cut_at,)


@pytest.mark.parametrize("net", ["plain", "residual", "attention"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_mask_and_with_a_search_one_by_one(net, seed):
    model, data = NETS[net]()
    density = {"plain": 0.15, "residual": 0.02, "attention": 0.03}[net]
    mask = prune(model, None, OneShot(Random(seed), ERK()), density=density)
    answer = report(model, mask, data.inputs[:1])
    wired = mask.on_path(model, data.inputs[:1])
    assert [e.on_path for e in answer.layers] == [layer.kept for layer in wired.layers()]
    assert [e.kept for e in answer.layers] == [layer.kept for layer in mask.layers()]
    first = None
    for count in range(1, len(mask) + 1):
        part = {name: mask[name] for name in list(mask)[:count]}
        full = Mask({**{n: torch.ones_like(t) for n, t in mask.items()}, **part})
        if first is None and not full.on_path(model, data.inputs[:1]).nonzeros:
            first = list(mask)[count - 1]
    assert answer.cut_at == first


def test_what_the_mask_leaves_out_counts_as_kept_and_is_told():
    model = plain((4, 5, 3))
    answer = report(model, {"1.weight": torch.zeros(5, 4)}, torch.zeros(1, 4))
    assert answer.cut_at == "1.weight" and answer.size == 20
    reasons = {u.name: u.reason for u in answer.uncounted}
    assert reasons["3.weight"] == "a weight that the mask leaves out"
    assert "3.weight of 15 numbers: a weight that the mask leaves out" in str(answer)
    # An empty branch alone in a mask: all of the signal goes round it.
    residual = Residual()
    branch = {"block1.conv1.weight": torch.zeros(4, 4, 3, 3)}
    answer = report(residual, branch, IMAGE)
    assert answer.cut_at is None and answer.named("empty but bypassed") == tuple(branch)


def test_a_classifier_left_out_leaves_no_other():
    model = mlp((4, 5, 6, 3))
    mask = prune(model, None, OneShot(Random()), density=0.5, exclude=["fc3"])
    assert {e.role for e in report(model, mask, torch.zeros(1, 4)).layers} == {"layer"}
    # Nor is a convolution one.
    model = vgg(11, 1, width=0.03)
    mask = prune(model, None, OneShot(Random()), density=0.5, exclude=["fc"])
    assert {e.role for e in report(model, mask, IMAGE).layers} == {"layer"}


def test_biases_in_a_mask_make_no_signal():
    model = plain((4, 5, 3))
    mask = Mask({**only(model, **{"3.weight": 0}), "3.bias": torch.ones(3, dtype=torch.bool)})
    answer = report(model, mask, torch.zeros(1, 4))
    assert answer.cut_at == "3.weight"
    assert answer.layers[-1].role == "bias or norm" and answer.layers[-1].on_path == 3


def test_frame_and_text():
    model = Residual()
    answer = report(model, only(model, **{"block1.conv1.weight": 0}), IMAGE)
    frame = answer.to_frame()
    assert frame["kept"].sum() == answer.kept and frame["on_path"].sum() == answer.on_path
    assert list(frame.columns) == [
        *("name", "role", "size", "kept", "on_path", "state", "density", "density_on_path")
    ]
    assert (frame["density"] == frame["kept"] / frame["size"]).all()
    assert len(pd.DataFrame(answer.uncounted)) == len(answer.uncounted) == 9
    text = str(answer)
    assert "not counted  8 tensors of 48 numbers: part of a normalisation" in text
    assert len(text.splitlines()) == 3 + 2 + 2 + 1 + 1 + len(answer.layers)
    assert max(map(len, text.splitlines())) <= 100


def test_bad_input():
    model = plain((4, 5, 3))
    with pytest.raises(MaskError, match="mask must fit the model"):
        report(model, {"1.weight": torch.zeros(5, 5)}, torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"example_input must be .* given shape \(1, 3\)"):
        report(model, only(model), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"given ndarray, ndarray it .* pass the inputs"):
        report(model, only(model), (np.zeros((1, 4)), np.zeros(1)))
    assert report(model, only(model), samples((4,))) == report(model, only(model), torch.ones(1, 4))
    untraced = nn.GRU(3, 2)
    with pytest.raises(ValueError, match="model must"):
        report(untraced, {"weight_hh_l0": torch.ones(6, 2)}, torch.zeros(1, 1, 3))


def test_the_model_is_not_touched():
    model, data = NETS["residual"]()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    report(model, only(model, **{"stem.weight": 0}), data.inputs)
    assert model.training and all(torch.equal(before[n], t) for n, t in model.state_dict().items())


class TestFigure:
    def test_bars_are_the_densities(self):
        model = Residual()
        frame = report(model, only(model, **{"block1.conv1.weight": 0}), IMAGE).to_frame()
        figure = plotting.densities(frame, title="a title")
        axes = figure.axes[0]
        nominal, wired = axes.containers
        assert [bar.get_width() for bar in nominal] == frame["density"].tolist()
        assert [bar.get_width() for bar in wired] == frame["density_on_path"].tolist()
        assert [label.get_text() for label in axes.get_yticklabels()] == frame["name"].tolist()
        assert "empty but bypassed" in [text.get_text().strip() for text in axes.texts]
        figure.savefig("/dev/null", format="png")

    def test_nothing_kept(self):
        model = plain()
        answer = report(model, Mask.zeros_like(model), samples((6,)).inputs[:1])
        assert answer.density == 0.0 and answer.cut_at == "1.weight"
        plotting.densities(answer.to_frame())

    @pytest.mark.parametrize("table", [pd.DataFrame(), pd.DataFrame({"name": ["a"]})])
    def test_bad_tables(self, table):
        with pytest.raises(ValueError, match="table must have rows with name, density"):
            plotting.densities(table)
