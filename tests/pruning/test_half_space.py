"""Single half-space steps, by hand: channels of weights (3, 4) and of others."""

import pytest
import torch
from torch import nn

from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.channels import ChannelGroup, Part
from mitools.pruning.half_space import HalfSpace
from mitools.training import SGD


def step(rows, slopes, stage, penalty, *, epsilon=0.0, rate=0.1, may_go=None, **fields):
    """Take one step of gradient descent with a penalty; a row is a channel."""
    weight = nn.Parameter(torch.tensor(rows, dtype=torch.float64))
    places = tuple((i,) for i in range(len(rows)))
    group = ChannelGroup("layer", len(rows), (Part("w", 0, places, "produces"),))
    optimizer = HalfSpace(
        SGD(lr=7.0, momentum=0.0), stage, penalty, epsilon, {"w": weight}, ChannelSums((group,)),
        may_go or (lambda norms, leaving: leaving), **fields,
    ).build([weight])  # fmt: skip
    optimizer.param_groups[0]["lr"] = rate  # as a schedule does
    weight.grad = torch.tensor(slopes, dtype=torch.float64)
    optimizer.step()
    return weight.detach()


def close(found, *rows):
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_proximal():
    # Rate times penalty is 2, so (3, 4) loses 2 / 5 of its length, and (0.6, 0.8) all of it.
    rows = [[3.0, 4.0], [0.6, 0.8], [0.0, 0.0]]
    close(step(rows, [[0.0, 0.0]] * 3, "proximal", 20.0), [1.8, 2.4], [0, 0], [0, 0])
    # The norm is that of what descent has made: (6, 8) - 0.1 (30, 40) = (3, 4).
    close(step([[6.0, 8.0]], [[30.0, 40.0]], "proximal", 20.0), [1.8, 2.4])


def test_subgradient():
    # Along x before the step, (3, 4) / 5, from what descent has made of it.
    rows = [[3.0, 4.0], [0.6, 0.8]]
    found = step(rows, [[10.0, 0.0], [0.0, 0.0]], "subgradient", 20.0)
    close(found, [2 - 1.2, 4 - 1.6], [-0.6, -0.8])


def test_half_space():
    # The second would turn round, the third is at 0 and stays there, whatever its slope.
    rows, slopes = [[3.0, 4.0], [0.6, 0.8], [0.0, 0.0]], [[10.0, 0.0], [0.0, 0.0], [5.0, 5.0]]
    close(step(rows, slopes, "half-space", 20.0), [0.8, 2.4], [0, 0], [0, 0])
    # <new x, x> is 12 there, ε |x|² is 12.5 for ε = 1/2: it goes; below ε = 0.48 it does not.
    close(step(rows[:1], slopes[:1], "half-space", 20.0, epsilon=0.5), [0, 0])
    close(step(rows[:1], slopes[:1], "half-space", 20.0, epsilon=0.47), [0.8, 2.4])


def test_only_what_may_go_does():
    asked = []

    def may_go(norms, leaving):
        asked.append((norms.tolist(), leaving.tolist()))
        return torch.zeros_like(leaving)

    close(step([[0.6, 0.8]], [[0.0, 0.0]], "half-space", 20.0, may_go=may_go), [-0.6, -0.8])
    assert asked == [([pytest.approx(1.0)], [True])]


def test_dual_lets_those_without_a_penalty_turn():
    rows, slopes = [[0.6, 0.8], [0.6, 0.8]], [[12.0, 16.0], [12.0, 16.0]]  # to minus the same
    found = step(rows, slopes, "dual", 0.0, penalised=torch.tensor([True, False]))
    close(found, [0, 0], [-0.6, -0.8])


@pytest.mark.parametrize(("slope", "own"), [
    ([6.0, 8.0], 3.0),  # it shrinks already: λ itself
    ([-0.6, 8.0], 3.0),  # shrinks too, for <x, d> = 30.2
    ([-6.0, -8.0], 10.0),  # l = u = 10: their mean
    ([-4.0, 0.0], 4.8),  # l = 2.4, u = 16 · 5 / 12: 2 l
    ([-4.8, -2.0], (4.48 + 27.04 * 5 / 22.4) / 2),  # l = 4.48, u = 6.04 is below 2 l
    ([-1.2, -0.1], (0.8 + 1.8125) / 2),  # l = 0.8, u = 1.81 is below λ
    ([-100.0, 70.0], 8.0),  # l = 4, u = 3725
    ([-60.0, 20.0], 30.0),  # l = 20, u = 200: 2 l is above the ceiling, 10 λ
])  # fmt: skip
def test_dual_penalties(slope, own):
    found = step([[3.0, 4.0]], [slope], "dual", 3.0, amplify=2.0, ceiling=10.0)
    made = torch.tensor([3 - 0.1 * slope[0], 4 - 0.1 * slope[1]], dtype=torch.float64)
    x = torch.tensor([3.0, 4.0], dtype=torch.float64)
    close(found, (made - 0.1 * own * x / 5).tolist())
