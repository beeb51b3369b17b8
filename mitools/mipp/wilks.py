"""Is what a channel tells more than chance? Wilks' lambda."""

import math

from scipy.special import fdtrc


def wilks_p(phi: float, variables: int, targets: int, others: int, count: int) -> float:
    """Return the p-value of phi, were all coefficients of some variables zero; 1 if untestable.

    exp(-2 phi) is Wilks' lambda; its law is exact for one or two variables or targets, and Rao's
    approximation otherwise. With no more rows than variables and targets together nothing can be
    significant: variables are linear functions of each other then.

    Parameters
    ----------
    phi : float
        In nats.
    variables, targets, others : int
        How many coefficients are tested: of so many variables for so many targets, beside so many
        other variables.
    count : int
        Rows.

    References
    ----------
    Rao, *Linear statistical inference and its applications*, 2nd edition (1973), 8c.5.
    """
    g, t = variables, targets
    if not g or not t:
        return 1.0
    error = count - 1 - others - g
    rest = g * g + t * t - 5
    root = math.sqrt((g * g * t * t - 4) / rest) if rest > 0 else 1.0
    freedom = (error - (t - g + 1) / 2) * root - g * t / 2 + 1
    if error < t or freedom <= 0:
        return 1.0
    ratio = math.expm1(2.0 * max(phi, 0.0) / root) * freedom / (g * t)
    return float(fdtrc(g * t, freedom, ratio))
