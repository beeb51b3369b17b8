import itertools
from dataclasses import dataclass, field

import pytest
import torch
from conformance import STRUCTURED_CHECKS, check_nested, check_reads_no_data
from example_nets import CHANNEL_NETS, NETS, plain, samples

from mitools.models import mlp, prunable
from mitools.pruning import (
    LAMP,
    SNIP,
    ChannelGroup,
    GraSP,
    Magnitude,
    Part,
    ProsPr,
    Random,
    Structured,
    SynFlow,
    channel_groups,
    channel_mask,
    kept_channels,
    prune,
    shrink,
    top_channels,
)
from mitools.pruning.structured import aggregated

EVERY = [
    Structured(Random(seed=2), scope="layer"),
    Structured(Magnitude(), aggregate="norm"),
    Structured(LAMP(), aggregate="mean"),
    Structured(SNIP(), rounds=3),
    Structured(GraSP(batches=2)),
    Structured(ProsPr(steps=2), scope="layer"),
    Structured(SynFlow(), rounds=5),
]


@pytest.mark.parametrize("net", CHANNEL_NETS)
@pytest.mark.parametrize("check", STRUCTURED_CHECKS, ids=lambda check: check.__name__)
def test_every_network(check, net):
    check(Structured(SNIP()), CHANNEL_NETS[net])


@pytest.mark.parametrize("pruner", EVERY, ids=repr)
@pytest.mark.parametrize("check", STRUCTURED_CHECKS, ids=lambda check: check.__name__)
def test_every_score(check, pruner):
    check(pruner, CHANNEL_NETS["linear"])


@pytest.mark.parametrize("pruner", [p for p in EVERY if p.rounds == 1], ids=repr)
def test_one_ranking_is_nested(pruner):
    check_nested(pruner, CHANNEL_NETS["residual"], (0.8, 0.5, 0.3))


def test_the_fields_reach_the_mask():
    model, data = plain((6, 40, 20, 3)), samples((6,))
    with torch.no_grad():
        model[1].weight[:30] *= 1e-3  # of little worth anywhere
    groups, names = channel_groups(model, data.inputs[:1]), tuple(prunable(model))

    def widths(density=0.3, **fields):
        mask = prune(model, data, Structured(Magnitude(), **fields), density=density)
        return [int(alive.sum()) for alive in kept_channels(groups, mask).values()]

    one, two = widths(scope="layer")
    assert abs(one / 40 - two / 20) <= 1 / 20 and one > 15
    assert widths()[0] <= 10 and widths(least=14)[0] == 14
    # A floor above a group's size is its size: 25 · 6 + 25 · 20 + 20 · 3 of 1,100 weights.
    assert min(widths(0.65, least=25)) == 20
    with torch.no_grad():
        model[1].weight.mul_(3.0)  # rows of few but large weights
    parameters = dict(model.named_parameters())
    scores = Magnitude().scores(model, None, names)
    masks = {}
    for aggregate in ("sum", "mean", "norm"):
        best = aggregated(groups, scores, aggregate)
        weights = {name: parameters[name] for name in names}
        kept = top_channels(groups, best, weights, round(0.2 * 1100))
        masks[aggregate] = channel_mask(model, groups, kept, names)
        found = prune(model, data, Structured(Magnitude(), aggregate), density=0.2)
        assert found == masks[aggregate]
    assert masks["sum"] != masks["mean"]


@pytest.mark.parametrize("score", [Random(), Magnitude(), SynFlow(), LAMP()], ids=repr)
def test_data_free_scores_stay_data_free(score):
    check_reads_no_data(Structured(score, rounds=2), CHANNEL_NETS["convolutional"])


GROUPS = (
    ChannelGroup(
        "a",
        2,
        (
            Part("a.weight", 0, ((0,), (1,)), "produces"),
            Part("b.weight", 0, ((0,), (1,)), "produces"),
            Part("c.weight", 1, ((0, 1), (2, 3)), "consumes"),
        ),
    ),
)


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("sum", [2.0, 4.0]), ("mean", [0.5, 1.0]), ("norm", [6.0, 20**0.5])]
)
def test_a_channel_scores_what_its_producers_do(aggregate, expected):
    scores = {
        "a.weight": torch.tensor([[1.0, 3.0], [3.0, 3.0]]),
        "b.weight": torch.tensor([[1.0, -3.0], [-1.0, -1.0]]),
        "c.weight": torch.full((1, 4), 1e6),
    }
    if aggregate == "norm":
        scores["a.weight"][0] = torch.tensor([5.0, 1.0])
    found = aggregated(GROUPS, scores, aggregate)["a"]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_heads_score_the_rows_of_queries_keys_and_values():
    model, data = CHANNEL_NETS["transformer"]()
    group = channel_groups(model, data.inputs[:1])[0]
    weights = {name: p.detach().abs().double() for name, p in model.named_parameters()}
    attention = "block1.attention"
    rows = sum(weights[f"{attention}.{layer}.weight"] for layer in "qkv")
    expected = rows.view(4, 4, 16).sum((1, 2))
    torch.testing.assert_close(aggregated([group], weights)[attention], expected)


def test_grasps_sign_is_kept_and_can_be_dropped():
    model, data = CHANNEL_NETS["linear"]()
    groups, names = channel_groups(model, data.inputs[:1]), tuple(prunable(model))
    signed = GraSP().scores(model, data, names)
    assert aggregated(groups, signed)["1"][0] == pytest.approx(float(signed["1.weight"][0].sum()))
    plain = aggregated(groups, GraSP(signed=False).scores(model, data, names))["1"][0]
    assert plain == pytest.approx(float(signed["1.weight"][0].abs().sum()))


def _scores(groups, seed, levels=50):
    rng = torch.Generator().manual_seed(seed)
    return {g.name: torch.randint(levels, (g.size,), generator=rng).double() for g in groups}


@pytest.mark.parametrize("net", CHANNEL_NETS)
def test_the_longest_beginning_that_fits(net):
    """Against every beginning of the order, counted by masks."""
    model, data = CHANNEL_NETS[net]()
    names = tuple(prunable(model))
    parameters = dict(prunable(model))
    groups = channel_groups(model, data.inputs[:1], names)
    scores = _scores(groups, seed=3, levels=5)  # many ties
    channels = [(g.name, c) for g in groups for c in range(g.size)]
    best = {g.name: int(scores[g.name].argmax()) for g in groups}
    order = sorted(
        channels, key=lambda at: (best[at[0]] != at[1], -float(scores[at[0]][at[1]]))
    )  # stable: of equals the first
    fitting = {}
    for count in range(len(groups), len(order) + 1):
        kept = {g.name: torch.zeros(g.size, dtype=torch.bool) for g in groups}
        for name, channel in order[:count]:
            kept[name][channel] = True
        fitting[count] = channel_mask(model, groups, kept, names).nonzeros, kept
    assert len({nonzeros for nonzeros, _ in fitting.values()}) == len(fitting)
    for budget in range(min(n for n, _ in fitting.values()), prunable(model).size + 1, 7):
        longest = max(c for c, (nonzeros, _) in fitting.items() if nonzeros <= budget)
        got = top_channels(groups, scores, parameters, budget)
        assert all(torch.equal(got[name], fitting[longest][1][name]) for name in got)


def test_layer_scope_gives_every_group_the_same_share():
    model = mlp((10, 40, 20, 30, 3))
    groups = channel_groups(model, torch.ones(1, 10))
    parameters = dict(prunable(model))
    for keep in (300, 700, 1200):
        kept = top_channels(groups, _scores(groups, 1), parameters, keep, scope="layer")
        shares = [float(alive.float().mean()) for alive in kept.values()]
        assert max(shares) - min(shares) <= 1 / 20


def test_biases_and_norms_are_counted_if_asked_for():
    model, data = CHANNEL_NETS["convolutional"]()
    mask = prune(model, data, Structured(Magnitude()), density=0.4, biases=True, norms=True)
    assert mask.size == sum(p.numel() for p in model.parameters())
    small = shrink(model, mask, data.inputs[:1])
    assert sum(p.numel() for p in small.parameters()) == mask.nonzeros <= round(0.4 * mask.size)


def test_explicit_widths():
    model = mlp((10, 4, 5, 3))
    groups = channel_groups(model, torch.ones(1, 10))
    scores = {"fc1": torch.tensor([1.0, 3.0, 3.0, 2.0]), "fc2": torch.arange(5.0)}
    kept = top_channels(groups, scores, dict(prunable(model)), {"fc1": 2})
    assert kept["fc1"].tolist() == [False, True, True, False] and kept["fc2"].all()
    assert top_channels(groups, scores, {}, {"fc1": 1})["fc1"].tolist() == [0, 1, 0, 0]


def test_synflow_collapses_in_one_round_and_not_in_a_hundred():
    model = mlp((64, 200, 100, 50, 10))
    groups = channel_groups(model, torch.ones(1, 64))
    widths = {}
    for rounds in (1, 100):
        mask = prune(model, None, Structured(SynFlow(), rounds=rounds), density=0.1)
        kept = kept_channels(groups, mask)
        widths[rounds] = [int(alive.sum()) for alive in kept.values()]
    assert widths[1][0] == 1
    assert min(widths[100]) >= 20


@dataclass(frozen=True)
class Resurrecting:
    """Likes zeros, and remembers which rows it was shown as zeros."""

    seen: list = field(default_factory=list)

    def scores(self, model, loader, names):
        weights = {name: model.get_parameter(name).detach() for name in names}
        self.seen.append({name: (w == 0).flatten(1).all(1) for name, w in weights.items()})
        return {name: -w.abs() for name, w in weights.items()}


def test_rounds_resurrect_nothing():
    model = mlp((10, 30, 30, 3))
    score = Resurrecting()
    mask = prune(model, samples((10,)), Structured(score, rounds=4), density=0.2)
    assert len(score.seen) == 4
    out = [*score.seen, {name: ~tensor.any(1) for name, tensor in mask.items()}]
    for before, after in itertools.pairwise(out):
        assert all((after[name] | ~before[name]).all() for name in before)
    assert [int(o["fc1.weight"].sum()) for o in out] == sorted(
        int(o["fc1.weight"].sum()) for o in out
    )
    assert 0.15 < mask.density <= 0.2


def test_bad_input():
    model, data = CHANNEL_NETS["linear"]()
    groups, parameters = channel_groups(model, data.inputs[:1]), dict(prunable(model))
    scores = _scores(groups, 0)
    with pytest.raises(ValueError, match="'sum', 'mean', 'norm'; got 'max'"):
        Structured(SNIP(), aggregate="max")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="'global', 'layer'; got 'filter'"):
        Structured(SNIP(), scope="filter")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="least must be at least 1"):
        Structured(SNIP(), least=0)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        Structured(SNIP(), rounds=0)
    with pytest.raises(TypeError, match="score must be a value"):
        Structured(SNIP)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="3 channels in every group"):
        prune(model, data, Structured(SNIP(), least=3), density=0.1)
    with pytest.raises(ValueError, match="one number for each of the 12 channels of '3'; got none"):
        top_channels(groups, {"1": scores["1"]}, parameters, 100)
    with pytest.raises(ValueError, match="finite; '1'"):
        top_channels(groups, {**scores, "1": scores["1"] / 0}, parameters, 100)
    with pytest.raises(ValueError, match=r"fc9 is none\. There are: 1, 3"):
        top_channels(groups, scores, parameters, {"fc9": 2})
    with pytest.raises(ValueError, match="between 1 and the 16 channels of '1'; got 17"):
        top_channels(groups, scores, parameters, {"1": 17})


def test_networks_without_channels_are_refused_with_reasons():
    tied, data = NETS["tied"]()
    with pytest.raises(ValueError, match="found none: first: first is used more than once"):
        prune(tied, data, Structured(Magnitude()), density=0.5)
    with pytest.raises(ValueError, match=r"3.weight must stay whole: not among the names"):
        model = plain((6, 8, 3))
        prune(model, samples((6,)), Structured(Magnitude()), density=0.5, exclude=("3",))
