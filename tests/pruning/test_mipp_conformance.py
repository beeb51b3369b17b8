import pytest
from conformance import STRUCTURED_CHECKS, check_mask_knows_where_it_comes_from, check_value
from example_nets import CHANNEL_NETS

from mitools.mipp import MIPP, Gaussian

# Its repr names what mitools.mipp holds, and its masks the noise that was found: see tests/mipp.
ELSEWHERE = (check_value, check_mask_knows_where_it_comes_from)
CHECKS = [check for check in STRUCTURED_CHECKS if check not in ELSEWHERE]
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
