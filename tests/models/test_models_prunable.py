"""What counts as a prunable weight, in models that this project never saw."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from mitools.models import mlp, prunable


class Foreign(nn.Module):
    """Tied weights, norms, attention, a subclass, a frozen layer, a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.up = nn.ConvTranspose2d(2, 3, 2)
        self.attention = nn.MultiheadAttention(4, 2, kdim=3)
        self.norm = nn.LayerNorm(4)
        self.batch = nn.BatchNorm1d(4)
        self.sub = type("MyLinear", (nn.Linear,), {})(4, 4)
        self.rnn = nn.GRU(4, 2)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.ones(4))
        self.sub.weight.requires_grad_(False)


WEIGHTS = [
    "embed.weight",
    "conv.weight",
    "up.weight",
    "attention.q_proj_weight",
    "attention.k_proj_weight",
    "attention.v_proj_weight",
    "attention.out_proj.weight",
    "sub.weight",
]


def test_weights_of_a_foreign_model_in_order():
    model = Foreign()
    found = prunable(model)
    parameters = dict(model.named_parameters())
    assert [n for n in parameters if n in WEIGHTS] == list(found)
    assert sorted(found) == sorted(WEIGHTS)
    assert all(found[name] is parameters[name] for name in found)
    assert found.size == sum(parameters[name].numel() for name in WEIGHTS)


def test_every_other_parameter_has_a_reason():
    model = Foreign()
    found = prunable(model)
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert set(found) | set(found.excluded) == every
    assert not set(found) & set(found.excluded)
    assert found.excluded["head.weight"] == "the same tensor as embed.weight"
    assert (
        found.excluded["norm.weight"] == found.excluded["batch.bias"] == "part of a normalisation"
    )
    assert found.excluded["conv.bias"] == found.excluded["attention.in_proj_bias"] == "a bias"
    assert "GRU" in found.excluded["rnn.weight_ih_l0"]
    assert "Foreign" in found.excluded["scale"]
    assert "head.weight, the same tensor as embed.weight" in str(found)


def test_selections():
    model = mlp((4, 3, 2), batch_norm=True)
    assert list(prunable(model, biases=True)) == [
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ]
    assert list(prunable(model, norms=True)) == [
        "fc1.weight",
        "norm1.weight",
        "norm1.bias",
        "fc2.weight",
    ]
    assert list(prunable(model, exclude=["fc2"])) == ["fc1.weight"]
    assert list(prunable(model, exclude=["*2.weight"])) == ["fc1.weight"]
    assert list(prunable(model, include=["norm1.weight"], exclude=["fc1.weight"])) == [
        "norm1.weight",
        "fc2.weight",
    ]


def test_a_name_does_not_match_a_longer_one():
    model = nn.ModuleDict({"fc1": nn.Linear(2, 2), "fc10": nn.Linear(2, 2)})
    assert list(prunable(model, exclude=["fc1"])) == ["fc10.weight"]


def test_misspelt_names_are_no_silent_no_op():
    with pytest.raises(ValueError, match=r"exclude must name .*'fc9' matches none.*fc1\.weight"):
        prunable(mlp((3, 2)), exclude=["fc9"])
    with pytest.raises(ValueError, match=r"include must name"):
        prunable(mlp((3, 2)), include=["fc9"])
    with pytest.raises(TypeError, match=r"exclude must be a sequence.*\['fc1'\]"):
        prunable(mlp((3, 2)), exclude="fc1")


def test_reparametrised_layers():
    model = mlp((4, 3, 2))
    prune.random_unstructured(model.fc1, "weight", 0.5)
    nn.utils.parametrizations.orthogonal(model.fc2)
    assert list(prunable(model)) == ["fc1.weight_orig", "fc2.parametrizations.weight.original"]


def test_nothing_prunable():
    with pytest.raises(
        ValueError, match=r"something to prune; the LayerNorm has weight: part of a"
    ):
        prunable(nn.LayerNorm(3))
    with pytest.raises(ValueError, match=r"the ReLU has no parameters.*include="):
        prunable(nn.ReLU())


def test_bad_weights_only_where_asked():
    model = mlp((3, 4, 2))
    with torch.no_grad():
        model.fc2.weight[0, :2] = torch.tensor([torch.nan, torch.inf])
    assert prunable(model).size == 20
    with pytest.raises(ValueError, match=r"'fc2\.weight' holds 2 NaN or infinite values of 8"):
        prunable(model, check_finite=True)
