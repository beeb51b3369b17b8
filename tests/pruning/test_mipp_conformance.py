import pytest
from conformance import STRUCTURED_CHECKS, check_value
from example_nets import CHANNEL_NETS

from mitools.mipp import MIPP, Gaussian

# Its repr names what mitools.mipp holds: see tests/mipp.
CHECKS = [check for check in STRUCTURED_CHECKS if check is not check_value]
QUICK = ("linear",)


@pytest.mark.parametrize("net", QUICK)
@pytest.mark.parametrize("check", CHECKS)
def test_conforms(check, net):
    check(MIPP(Gaussian(), places=8), CHANNEL_NETS[net])


@pytest.mark.slow
@pytest.mark.parametrize("net", sorted(set(CHANNEL_NETS) - set(QUICK)))
@pytest.mark.parametrize("check", CHECKS)
def test_conforms_on_larger_nets(check, net):
    check(MIPP(Gaussian(), places=8), CHANNEL_NETS[net])
