import pytest
from conformance import STRUCTURED_CHECKS
from example_nets import CHANNEL_NETS

from mitools.pruning import (
    LAMP,
    SNIP,
    GraSP,
    Magnitude,
    ProsPr,
    Random,
    Structured,
    SynFlow,
)

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
