import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import mitools.mipp
from mitools.data import digits
from mitools.mipp import MIPP, Gaussian, mipp, moments
from mitools.models import lenet5, lenet_300_100, mlp, resnet
from mitools.pruning import prune
from mitools.pruning.channels import channel_mask
from mitools.pruning.shrink import shrink


@pytest.fixture(scope="module")
def net():
    return mlp((64, 30, 20, 10), seed=1)


@pytest.fixture(scope="module")
def known(net):
    return moments(net, digits())


def test_layers_tell_of_what_stayed_of_the_next(net, known):
    answer = mipp(net, known, Gaussian(noise=3.0))
    first, second = answer.layers
    assert (first.layer, second.layer) == ("fc1", "fc2")
    assert 1 < second.kept < 20 and 1 < first.kept < 30
    kept = answer.kept["fc2"]
    # The same question asked by hand, of a network without those channels.
    mask = channel_mask(net, known.groups, {"fc2": kept}, known.names)
    small = shrink(net, mask, digits().inputs[:1])
    alone = mipp(small, digits(), Gaussian(noise=3.0))
    assert alone.layers[0].before == pytest.approx(first.before, rel=1e-6)
    assert alone.kept["fc1"].equal(answer.kept["fc1"])


def test_what_is_told_is_accounted_for_step_by_step(net, known):
    answer = mipp(net, known, Gaussian(noise=1.0))
    for layer in answer.layers:
        gone = sum(step.phi for step in layer.steps if not step.kept)
        assert layer.before - layer.after == pytest.approx(gone, abs=1e-8)
        assert [step.left for step in layer.steps if not step.kept] == list(
            range(layer.channels - 1, layer.kept - 1, -1)
        )
    path = answer.path
    assert list(path.columns) == ["layer", "order", "channel", "phi", "kept", "left", "p_value"]
    assert path.groupby("layer", sort=False)["kept"].sum().to_dict() == {
        name: int(stay.sum()) for name, stay in answer.kept.items()
    }
    for name, stay in answer.kept.items():
        rows = path[(path.layer == name) & path.kept]
        assert sorted(rows.channel) == stay.nonzero().flatten().tolist()


def test_report(net, known):
    answer = mipp(net, known, Gaussian(noise=1.0))
    frame = answer.to_frame()
    assert isinstance(frame, pd.DataFrame) and list(frame.layer) == ["fc1", "fc2"]
    assert (frame.noise == 1.0).all() and (frame.confidence == 0.95).all()
    assert (frame.after <= frame.before).all() and (frame.share <= 1).all()
    text = str(answer)
    kept = int(answer.kept["fc1"].sum())
    assert f"fc1  {kept} of 30 channels tell" in text and "about the next layer" in text
    assert text.startswith(f"MIPP: {answer.mask.nonzeros:,} of 2,720 weights kept")


@pytest.mark.parametrize("order", ["backward", "terc"])
@pytest.mark.parametrize("density", [0.7, 0.3, 0.1, 0.04])
def test_densities_are_met_and_no_signal_is_cut(net, known, order, density):
    answer = mipp(net, known, Gaussian(order=order), density=density)
    keep = round(density * 2_720)
    widths = [int(stay.sum()) for stay in answer.kept.values()]
    assert min(widths) >= 1 and answer.mask.nonzeros <= keep
    one, two = widths  # neither layer has room for one more
    assert two == 20 or one * 64 + one * (two + 1) + (two + 1) * 10 > keep
    assert one == 30 or (one + 1) * 64 + (one + 1) * two + two * 10 > keep
    assert answer.mask.nonzeros == one * 64 + one * two + two * 10
    out = answer.mask.apply_(mlp((64, 30, 20, 10), seed=1))(digits().inputs)
    assert out.std(0).min() > 0


@pytest.mark.parametrize("density", [0.7, 0.3, 0.1, 0.03])
def test_every_group_keeps_the_same_share(net, known, density):
    answer = mipp(net, known, Gaussian(noise=0.5), density=density, scope="layer")
    one, two = answer.kept["fc1"].sum().item(), answer.kept["fc2"].sum().item()
    keep = round(density * 2_720)
    assert answer.mask.nonzeros == one * 64 + one * two + two * 10 <= keep
    # Shares differ by no more than the next channel, for which there is no room.
    assert abs((one - 0.5) / 30 - (two - 0.5) / 20) <= 1 / 20
    shares = {"fc1": (one + 0.5) / 30, "fc2": (two + 0.5) / 20}
    more = min(shares, key=shares.get)
    one, two = (one + 1, two) if more == "fc1" else (one, two + 1)
    assert one * 64 + one * two + two * 10 > keep
    widths = {layer.layer: layer.kept for layer in answer.layers}
    assert answer.mask == mipp(net, known, Gaussian(noise=0.5), widths=widths).mask
    assert answer.engine == Gaussian(noise=0.5) and answer.notes == ()
    out = answer.mask.apply_(mlp((64, 30, 20, 10), seed=1))(digits().inputs)
    assert out.std(0).min() > 0


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("build", [lenet_300_100, lenet5])
def test_no_signal_is_cut_with_one_weight_in_a_hundred(build, scope):
    net, x = build(seed=0), torch.rand(150, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    answer = mipp(net, x, density=0.01, scope=scope, places=4)
    assert answer.mask.nonzeros <= round(0.01 * answer.mask.size)
    assert answer.mask.on_path(net, x[:1]).nonzeros == answer.mask.nonzeros
    assert bool((answer.reconstructed(net)(x).std(0) > 0).all())


@dataclasses.dataclass(frozen=True)
class Starving:
    """An engine that sees nothing in fc2, at whatever knob."""

    strength: float = 0.0
    reads = "moments"

    def eliminate(self, layer, *, least=1, width=None, progress=False):
        few = least if layer.name == "fc2" else round((1 - self.strength) * layer.size)
        kept = torch.arange(layer.size) < (few if width is None else width)
        return mitools.mipp.Elimination(kept, (), 1.0, 1.0)

    def at(self, strength):
        return Starving(strength)


@pytest.mark.parametrize(("density", "least"), [(0.8, 1), (0.5, 1), (0.1, 1), (0.2, 3)])
def test_one_knob_starves_no_group(net, known, density, least):
    even = mipp(net, known, density=density, least=least, scope="layer").layers[1].kept
    answer = mipp(net, known, Starving(), density=density, least=least)
    one, two = answer.layers
    assert two.kept == max(even // 2, least) and even < 20
    assert answer.mask.nonzeros <= round(density * 2_720) and one.kept > 1


def test_a_noise_that_the_density_moves_is_told(net, known):
    answer = mipp(net, known, Gaussian(noise=0.5), density=0.3)
    assert answer.engine.noise != 0.5
    note = f"noise of 0.5 was not used: the density asks for {answer.engine.noise:.3g}"
    assert any(each.startswith(note) for each in answer.notes)
    assert not any("was not used" in each for each in mipp(net, known, density=0.3).notes)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_mask_knows_the_noise_it_was_made_with(net, known, scope):
    mask = prune(net, digits(), MIPP(scope=scope), density=0.2)
    answer = mipp(net, known, density=0.2, scope=scope)
    assert mask.pruner == MIPP(answer.engine, scope=scope)
    assert (mask.pruner == MIPP(scope=scope)) == (scope == "layer")
    again = eval(repr(mask.pruner), vars(mitools.mipp))
    assert again == mask.pruner and prune(net, digits(), again, density=0.2) == mask
    told = answer.mask  # the same with moments in hand
    assert told.pruner.engine == answer.engine and told.requested_density == 0.2
    assert told.fingerprint == mask.fingerprint and told == mask
    assert mipp(net, known, Gaussian(noise=3.0)).mask.pruner == Gaussian(noise=3.0)


def test_inputs_alone_will_do(net, known):
    inputs = digits().inputs
    expected = mipp(net, known, Gaussian(noise=2.0)).mask
    for data in (inputs, inputs.numpy(), TensorDataset(inputs)):
        assert mipp(net, data, Gaussian(noise=2.0)).mask == expected
    assert prune(net, inputs, MIPP(), density=0.3) == mipp(net, known, density=0.3).mask


def test_a_density_of_one_keeps_all_and_one_too_small_says_how_much_it_takes(net, known):
    assert mipp(net, known, density=1.0).mask.density == 1.0
    with pytest.raises(
        ValueError, match=r"75 of 2,720 weights, a density of 0\.0276; only 54 are to stay"
    ):
        mipp(net, known, density=0.02)
    assert mipp(net, known, density=75 / 2_720).mask.nonzeros == 75


def test_widths_and_least(net, known):
    answer = mipp(net, known, widths={"fc2": 5})
    assert [int(stay.sum()) for stay in answer.kept.values()] == [5]
    assert answer.mask.nonzeros == 64 * 30 + 30 * 5 + 5 * 10
    answer = mipp(net, known, Gaussian(noise=1e9), least=4)
    assert [layer.kept for layer in answer.layers] == [4, 4]


def test_new_knobs_need_no_new_pass(net, known):
    again = mipp(net, digits(), Gaussian(noise=2.0))
    assert mipp(net, known, Gaussian(noise=2.0)).mask == again.mask


def test_inputs_that_say_nothing_are_left_out():
    net, samples = mlp((64, 30, 10), seed=1), digits()
    with torch.no_grad():
        net.fc1.weight[:, 20] = 0.0
        net.fc1.weight[:, 21] = 0.0
    constant = set(np.flatnonzero(samples.inputs.reshape(-1, 64).std(0) == 0).tolist())
    answer = mipp(net, samples, Gaussian(noise=1e-6), inputs=True)
    gone = set((~answer.kept["inputs"]).nonzero().flatten().tolist())
    assert constant and {20, 21} | constant <= gone and len(gone) < 40
    assert not answer.mask["fc1.weight"][:, sorted(gone)].any()
    assert answer.layers[0].layer == "inputs"


def test_the_output_as_target_is_another_question(net):
    answer = mipp(net, digits(), Gaussian(noise=0.5), target="output")
    first, second = answer.layers
    assert first.before < mipp(net, digits(), Gaussian(noise=0.5)).layers[0].before
    assert "about the network's output" in str(answer)
    # The last layer's next layer is the output.
    plain = mipp(net, digits(), Gaussian(noise=0.5)).layers[1]
    assert second.before == pytest.approx(plain.before, abs=1e-4)


def test_residual_streams_are_read_by_several_layers():
    net = resnet(8, 1, width=0.25).eval()
    pair = (
        torch.randn(40, 1, 12, 12, generator=torch.Generator().manual_seed(0)),
        torch.zeros(40).long(),
    )
    known = moments(net, pair, reduce="mean")
    readers = {g.name: len(list(g.of_role("consumes"))) for g in known.groups}
    assert max(readers.values()) > 1
    answer = mipp(net, known, widths=dict.fromkeys(readers, 2))
    small = shrink(net, answer.mask, pair[0][:1])
    torch.testing.assert_close(
        small(pair[0]), answer.mask.apply_(net)(pair[0]), atol=1e-5, rtol=1e-4
    )


class Odd:
    """An engine of somebody else: keeps channels of odd numbers."""

    reads, rows = "rows", 30

    def eliminate(self, layer, *, least=1, width=None, progress=False):
        relation = layer.relations[0]
        assert relation.features.shape == (30, 30 if layer.name == "fc1" else 20)
        assert relation.target.shape == (30, 10)
        assert torch.allclose(relation.target, relation.features @ relation.weight.T)
        kept = torch.arange(layer.size) % 2 == 1
        return mitools.mipp.Elimination(kept, (), 1.0, 0.5, notes=("half",))

    def at(self, strength):
        return self


def test_other_engines(net):
    answer = mipp(net, digits(), Odd())
    assert [layer.kept for layer in answer.layers] == [15, 10]
    assert answer.notes == ("fc1: half", "fc2: half") and "note  fc1: half" in str(answer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.5, "widths": {}}, "density and widths must not both be given"),
        ({"density": 0.5, "scope": "even"}, "scope must be one of 'global', 'layer'; got 'even'"),
        ({"density": 1.5}, "density must be a number from 0"),
        ({"widths": {"fc9": 3}}, r"widths must name groups of channels; 'fc9' is none.*fc1, fc2"),
        ({"widths": {"fc1": 31}}, "widths must be from 1 to the size of the group; got 31"),
        ({"widths": {"fc1": 0}}, "widths must be from 1"),
        ({"least": 0}, "least must be at least 1"),
        ({"widths": {"fc1": 2.5}}, r"widths\['fc1'\] must be an integer"),
        ({"widths": {"fc1": 2}, "least": 3}, "widths must be from 3"),
        # Moments are as they are.
        ({"target": "output"}, "target must be as the moments were made, 'next'"),
        ({"inputs": True}, "inputs must be as the moments were made, False"),
        ({"reduce": "mean"}, "reduce must be as the moments were made, 'patches'"),
        ({"places": None}, "places must be as the moments were made, 64"),
        ({"names": ["fc1.weight"]}, "names must be as the moments were made"),
        ({"seed": 3}, "seed must be as the moments were made, 0"),
    ],
)
def test_bad_options(net, known, options, message):
    with pytest.raises(ValueError, match=message):
        mipp(net, known, **options)


def test_wrong_kinds(known):
    with pytest.raises(TypeError, match="model must be a torch module"):
        mipp(known, known)
    with pytest.raises(TypeError, match="engine must be a value such as Gaussian"):
        mipp(mlp((4, 3, 2)), known, Gaussian)
    with pytest.raises(TypeError, match="widths must map groups"):
        mipp(mlp((64, 30, 20, 10), seed=1), known, widths=[3, 2])


def test_moments_of_other_weights(net, known):
    found = mipp(net, known, widths={"fc1": 9})
    masked = found.mask.apply_(mlp((64, 30, 20, 10), seed=1))
    for other in (mlp((64, 29, 20, 10)), mlp((64, 30, 20, 10), seed=2), masked):
        with pytest.raises(ValueError, match="moments must be of the model as it is"):
            mipp(other, known)
    with pytest.raises(ValueError, match="trained or masked since"):
        found.reconstructed(masked)


def test_a_model_without_channels_to_remove():
    with pytest.raises(ValueError, match="model must have channels"):
        mipp(nn.Linear(64, 10), digits())


def test_pruner_is_a_value():
    pruner = MIPP(Gaussian(noise=0.2), target="output", places=None, least=2)
    assert eval(repr(pruner), vars(mitools.mipp)) == pruner and hash(pruner) == hash(pruner)


def test_pruner_agrees_with_the_question(net, known):
    assert prune(net, digits(), MIPP(), density=0.2) == mipp(net, known, density=0.2).mask


def test_a_loud_noise_is_told_where_a_density_asked_for_it(net, known):
    text = "times the signal was needed"
    found = mipp(net, known, density=0.05)
    assert found.engine.noise > 3.0 and text in str(found)
    for quiet in (mipp(net, known, density=0.9), mipp(net, known, Gaussian(noise=1e6))):
        assert text not in str(quiet)
