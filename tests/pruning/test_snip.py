import pytest
import torch
import torch.nn.functional as F
from example_nets import Tied, convolutional, plain, samples
from torch import nn
from torch.func import functional_call
from torch.utils.data import DataLoader, Dataset

from mitools.models import prunable
from mitools.pruning import SNIP, Iterative, OneShot, SynFlow, prune


def loss_at(model, name, index, value, inputs, targets):
    """The loss over all points with one weight set to a value."""
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    weights[name].view(-1)[index] = value
    outputs = functional_call(model, weights, (inputs,))
    loss = F.mse_loss if targets.is_floating_point() else F.cross_entropy
    return float(loss(outputs, targets))


@pytest.mark.parametrize("task", ["classes", "regression"])
def test_scores_are_the_derivative_of_the_loss_by_the_mask(task):
    model = plain(dtype=torch.float64)
    data = samples((6,), n=23)
    inputs, targets = data.inputs.double(), data.targets
    if task == "regression":
        targets = torch.randn(23, 3, generator=torch.Generator().manual_seed(1)).double()
    names = tuple(prunable(model))
    # Batches of unequal sizes: 10, 10 and 3.
    batches = list(zip(inputs.split(10), targets.split(10), strict=True))
    scores = SNIP().scores(model, batches, names)
    assert list(scores) == list(names)
    for name in names:
        weight = dict(model.named_parameters())[name].detach().view(-1)
        for index in range(0, weight.numel(), 7):
            w, step = float(weight[index]), 1e-4
            # Central difference in the mask's entry m at 1, of fourth order.
            at = [loss_at(model, name, index, w * m, inputs, targets)
                  for m in (1 - 2 * step, 1 - step, 1 + step, 1 + 2 * step)]  # fmt: skip
            slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
            assert abs(abs(slope) - float(scores[name].view(-1)[index])) < 1e-8


def test_a_linear_softmax_by_hand():
    model = nn.Linear(2, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
    x, y = torch.tensor([[0.3, -0.7], [1.0, 2.0]]).double(), torch.tensor([0, 1])
    p = torch.softmax(x @ model.weight.T, 1)
    by_hand = ((p - torch.eye(2)[y]).T @ x / 2 * model.weight).abs()
    scores = SNIP().scores(model, (x, y), ("weight",))
    torch.testing.assert_close(scores["weight"], by_hand.detach(), rtol=0, atol=1e-12)


def test_signed_layer_sums_agree_without_biases():
    model, data = plain(bias=False, dtype=torch.float64), samples((6,))
    pair = (data.inputs.double(), data.targets)
    signed = SNIP().signed(model, pair, tuple(prunable(model)))
    sums = torch.stack([s.sum() for s in signed.values()])
    assert sums[0].abs() > 1e-3
    torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=0, atol=1e-12)


def test_the_absolute_value_comes_after_the_mean():
    model, data = plain(), samples((6,))
    names = tuple(prunable(model))
    together = SNIP().scores(model, data, names)
    apart = [SNIP().scores(model, data.take([i]), names) for i in range(len(data))]
    smaller = torch.stack([s["1.weight"] for s in apart]).mean(0)
    assert (together["1.weight"] <= smaller + 1e-7).all()
    assert together["1.weight"].sum() < 0.9 * smaller.sum()


def test_the_split_into_batches_does_not_matter():
    model, data = plain(dtype=torch.float64), samples((6,))
    names = tuple(prunable(model))
    pair = (data.inputs.double(), data.targets)
    whole = SNIP().scores(model, pair, names)
    batches = [
        (data.inputs[a:b].double(), data.targets[a:b]) for a, b in ((0, 1), (1, 20), (20, 24))
    ]
    for name, score in SNIP().scores(model, batches, names).items():
        torch.testing.assert_close(score, whole[name], rtol=1e-12, atol=1e-15)


class Counted(Dataset):
    def __init__(self, data):
        self.data, self.reads = data, []

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        self.reads.append(i)
        return self.data[i]


@pytest.mark.parametrize(("batches", "read"), [(None, 24), (1, 5), (2, 10), (9, 24)])
def test_each_batch_is_read_once_and_no_more_than_asked(batches, read):
    model, data = plain(), Counted(samples((6,)))
    SNIP(batches).scores(model, DataLoader(data, batch_size=5), tuple(prunable(model)))
    assert data.reads == list(range(read))


def test_real_weights_are_scored_not_a_fresh_copy():
    model, data = plain(), samples((6,))
    before = SNIP().scores(model, data, ("1.weight",))["1.weight"]
    with torch.no_grad():
        model[1].weight[0] = 0.0
    after = SNIP().scores(model, data, ("1.weight",))["1.weight"]
    assert before[0].any() and not after[0].any() and after[1:].any()


def test_iterating_revives_nothing():
    model, data = plain((6, 20, 20, 3)), samples((6,))
    names = tuple(prunable(model))
    masks = [Iterative(SNIP(), rounds=5).mask(model, data, d, names) for d in (0.5, 0.1)]
    # The first rounds of a run to density 0.1 are those of a run to 0.1^(t/5) in t rounds.
    for t in range(1, 5):
        earlier = Iterative(SNIP(), rounds=t).mask(model, data, 0.1 ** (t / 5), names)
        assert (masks[1] & earlier) == masks[1]
    assert masks[0].nonzeros == round(0.5 * masks[0].size)


def test_logits_take_cross_entropy_not_nll():
    # Adding a constant to all logits changes nll_loss, and must not change a score.
    model, data = plain((6, 3)), samples((6,))
    shifted = plain((6, 3))
    with torch.no_grad():
        shifted[1].bias += 5.0
    a, b = (SNIP().scores(m, data, ("1.weight",))["1.weight"] for m in (model, shifted))
    torch.testing.assert_close(a, b)


def test_a_tied_weight_is_scored_once_with_both_its_uses():
    with torch.random.fork_rng([]):
        model = Tied().double()
    data = samples((6,))
    pair = (data.inputs.double(), data.targets)
    names = tuple(prunable(model))
    assert names == ("first.weight", "head.weight")
    scores = SNIP().scores(model, pair, names)
    weight = model.first.weight
    loss = F.cross_entropy(model(pair[0]), pair[1])
    (slope,) = torch.autograd.grad(loss, [weight])
    torch.testing.assert_close(scores["first.weight"], (weight * slope).abs().detach())
    other = SNIP().scores(model, pair, ("second.weight",))
    assert torch.equal(other["second.weight"], scores["first.weight"])


def test_a_weight_that_the_output_never_uses_scores_zero():
    model = plain()
    model.add_module("unused", nn.Linear(2, 2))
    model.forward = lambda x: nn.Sequential(*list(model)[:-1])(x)
    scores = SNIP().scores(model, samples((6,)), ("1.weight", "unused.weight"))
    assert not scores["unused.weight"].any() and scores["1.weight"].any()


def test_nan_scores_name_the_layer():
    model = plain()
    with torch.no_grad():
        model[1].weight.mul_(1e30)
        model[3].weight.mul_(1e30)
    with pytest.raises(ValueError, match=r"scores of '\d.weight'"):
        OneShot(SNIP()).mask(model, samples((6,)), 0.5, tuple(prunable(model)))


def test_works_inside_no_grad_and_inference_mode():
    model, data = plain(), samples((6,))
    expected = prune(model, data, OneShot(SNIP()), density=0.5)
    with torch.no_grad():
        assert prune(model, data, OneShot(SNIP()), density=0.5) == expected
    with torch.inference_mode():
        assert prune(model, data, OneShot(SNIP()), density=0.5) == expected


@pytest.mark.parametrize("bad", [0, -1])
def test_batches_must_be_positive(bad):
    with pytest.raises(ValueError, match="batches must be at least 1"):
        SNIP(batches=bad)


def test_scoring_is_in_evaluation_mode():
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        model, data = convolutional(), samples((1, 8, 8))
    model[1].running_mean += 1.0
    model.train()
    found = SNIP().scores(model, data, ("6.weight",))["6.weight"]
    model.eval()
    weight = model[6].weight
    loss = F.cross_entropy(model(data.inputs), data.targets)
    (slope,) = torch.autograd.grad(loss, [weight])
    torch.testing.assert_close(found, (weight * slope).abs().detach().double())


class Restless(nn.Module):
    """Writes to a buffer and draws at random, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1.0
        return self.inner(x) + torch.randn(3)


def test_a_restless_model_is_scored_alike_and_left_alone():
    with torch.random.fork_rng([]):
        model, data = Restless(), samples((6,))
    first = SNIP().scores(model, data, ("inner.weight",))["inner.weight"]
    state = torch.get_rng_state()
    second = SNIP().scores(model, data, ("inner.weight",))["inner.weight"]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, second)
    assert model.calls == 0


@pytest.mark.parametrize("score", [SNIP(), SynFlow()], ids=repr)
def test_scores_do_not_depend_on_the_number_of_threads(score):
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        # Sums over a batch, as in a convolution's gradient, are shared among threads.
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 3),
        )  # fmt: skip
    data, names = samples((1, 16, 16), n=64), tuple(prunable(model))
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(score.scores(model, data, names))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][name], found[1][name]) for name in names)
