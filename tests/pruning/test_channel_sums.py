"""Sums over channels and factors on them, from groups written by hand."""

import torch

from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.channels import ChannelGroup, Part

# Two channels: rows 0, 3 and 1, 2 of a; columns 2 and 0 of b; three more in another group.
ONE = ChannelGroup("one", 2, (
    Part("a", 0, ((0, 3), (1, 2)), "produces"),
    Part("b", 1, ((2,), (0,)), "produces"),
    Part("c", 0, ((1,), (0,)), "norm"),
    Part("d", 1, ((0,), (1,)), "consumes"),
))  # fmt: skip
TWO = ChannelGroup("two", 3, (Part("d", 0, ((2,), (1,), (0,)), "produces"),))
TENSORS = {
    "a": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [100.0, 100.0]]),
    "b": torch.tensor([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]]),
    "c": torch.tensor([0.5, 0.25]),
    "d": torch.tensor([[1.0, -1.0], [2.0, -3.0], [4.0, 4.0]]),
}


def test_sums():
    channels = ChannelSums((ONE, TWO))
    assert (channels.names, channels.size) == (("a", "b", "c", "d"), 5)
    found = channels.sums(TENSORS)
    assert found.dtype == torch.float64
    assert found.tolist() == [18 + 90 + 0.25, 18 + 50 + 0.5, 8, -1, 0]
    assert channels.by_group(found)["two"].tolist() == [8, -1, 0]
    assert ChannelSums((ONE, TWO), ("consumes",)).sums(TENSORS).tolist() == [7, 0, 0, 0, 0]
    some = ChannelSums((ONE, TWO), among=("b", "c"))
    assert some.names == ("b", "c") and some.sums(TENSORS).tolist() == [90.25, 50.5, 0, 0, 0]


def test_norms_are_of_all_that_a_channel_holds_in_float64():
    found = ChannelSums((ONE,), ("produces",)).norms(TENSORS)
    squares = [1 + 4 + 49 + 64 + 900 + 3600, 9 + 16 + 25 + 36 + 100 + 1600]
    torch.testing.assert_close(found, torch.tensor(squares).double().sqrt(), rtol=1e-15, atol=0)
    tiny = {"a": torch.full((5, 2), 1e-30), "b": torch.zeros(2, 3)}  # squares that float32 loses
    found = ChannelSums((ONE,), ("produces",)).norms(tiny)
    torch.testing.assert_close(found, torch.tensor([2e-30, 2e-30]).double(), rtol=1e-6, atol=0)


def test_factors_stand_where_the_channels_are():
    found = ChannelSums((ONE, TWO)).factors(torch.arange(1.0, 6.0), TENSORS, otherwise=9.0)
    assert found["a"].tolist() == [[1], [2], [2], [1], [9]]
    assert found["b"].tolist() == [[2, 9, 1]]
    assert found["c"].tolist() == [2, 1]
    assert found["d"].tolist() == [[5], [4], [3]]
    halves = tuple(
        ChannelGroup(name, 1, (Part("c", 0, ((place,),), "produces"),))
        for name, place in (("first", 0), ("second", 1))
    )
    both = ChannelSums(halves).factors(torch.tensor([3.0, 4.0]), TENSORS, otherwise=0.0)
    assert both["c"].tolist() == [3, 4]
