"""Second computations of what each law of the continuous tasks is and knows, from its definition.

`check(law)` raises AssertionError unless the law's information agrees with a computation that
shares no code with it, and its draws follow the density used there.
"""

import math
from itertools import pairwise

import numpy as np
from scipy import integrate, stats
from scipy.special import gammaln, psi, xlogy

from estimators_bench.tasks.copulas import FarlieGumbelMorgenstern, Frank, Gumbel, Lomax
from estimators_bench.tasks.curves import NoisyCurve, RandomScale, VonMises, VonMisesFisher
from estimators_bench.tasks.distributions import (
    AdditiveUniform,
    DenseNormal,
    Normal,
    NormalPairs,
    Student,
    Together,
)
from estimators_bench.tasks.mixtures import NormalMixture

SHOWN = 20  # of many columns, as many are looked at on either side


def check(law, seed=0):
    CHECKS[type(law)](law, np.random.default_rng(seed))


def agrees(law, ratios):
    """The mean of log p(x, y) / p(x) p(y) over draws is the information, within its error."""
    error = 4.5 * np.std(ratios) / math.sqrt(len(ratios)) + law.information.error
    assert abs(np.mean(ratios) - law.information.nats) <= error + 1e-12


def equals(law, nats, within=1e-9):
    assert abs(law.information.nats - nats) <= within


# Gaussians and Students


def covariance(law):
    """Return the covariance in words, of at most `SHOWN` columns a side, and its dim_x."""
    if hasattr(law, "covariance"):
        return np.array(law.covariance), law.dim_x
    p, q = min(law.dim_x, SHOWN), min(law.dim_y, SHOWN)
    if hasattr(law, "correlation"):
        matrix = np.full((p + q, p + q), law.correlation)
    else:
        matrix = np.zeros((p + q, p + q))
        for i, rho in enumerate(law.correlations[:SHOWN]):
            matrix[i, p + i] = matrix[p + i, i] = rho
    np.fill_diagonal(matrix, 1.0)
    return matrix, p


def gaussian_nats(matrix, p):
    parts = (matrix[:p, :p], matrix[p:, p:], matrix)
    x, y, both = (np.linalg.slogdet(part)[1] for part in parts)
    return (x + y - both) / 2


def check_gaussian(law, rng):
    matrix, p = covariance(law)
    q = len(matrix) - p
    n = 40_000 if p + q < 10 else 4_000
    x, y = law.draw(n, rng)
    z = np.hstack([x[:, :p], y[:, :q]])
    density = stats.multivariate_normal
    ratios = density.logpdf(z, cov=matrix)
    ratios -= density.logpdf(z[:, :p], cov=matrix[:p, :p]) if p else 0.0
    ratios -= density.logpdf(z[:, p:], cov=matrix[p:, p:]) if q else 0.0
    error = 4.5 * np.std(ratios) / math.sqrt(n)
    assert abs(np.mean(ratios) - gaussian_nats(matrix, p)) <= error + 1e-12
    np.testing.assert_allclose(np.cov(z.T), matrix, atol=6 / math.sqrt(n))
    if hasattr(law, "correlation"):
        d = np.full((law.dim_x + law.dim_y,) * 2, law.correlation)
        np.fill_diagonal(d, 1.0)
        equals(law, gaussian_nats(d, law.dim_x))
        return
    beyond = sum(-math.log(1 - r**2) / 2 for r in getattr(law, "correlations", ())[SHOWN:])
    equals(law, gaussian_nats(matrix, p) + beyond)
    rest = np.hstack([x[:, p:], y[:, q:]])
    if rest.shape[1] and not beyond:
        few = rest[:, :: max(1, rest.shape[1] // 50)]
        np.testing.assert_allclose(np.cov(few.T), np.eye(few.shape[1]), atol=6 / math.sqrt(n))


def check_student(law, rng):
    matrix, p = covariance(law.normal)
    x, y = law.draw(40_000, rng)
    z = np.hstack([x, y])
    blocks = ((z, matrix), (x, matrix[:p, :p]), (y, matrix[p:, p:]))
    joint, *margins = (stats.multivariate_t.logpdf(a, shape=s, df=law.nu) for a, s in blocks)
    agrees(law, joint - sum(margins))
    both, *each = (stats.multivariate_t.entropy(shape=s, df=law.nu) for _, s in blocks)
    equals(law, sum(each) - both, within=1e-6)


def check_additive(law, rng):
    e = law.epsilon
    n = 40_000
    x, y = law.draw(n, rng)

    def density(t):
        return np.maximum(0, np.minimum(1, t + e) - np.maximum(0, t - e)) / (2 * e)

    assert np.all(np.abs(y - x) <= e)
    assert stats.kstest((y - x).ravel(), stats.uniform(-e, 2 * e).cdf).pvalue > 1e-4
    assert stats.kstest(x.ravel(), stats.uniform().cdf).pvalue > 1e-4
    agrees(law, -math.log(2 * e) - np.log(density(y)).ravel())
    edges = sorted((-e, e, 1 - e, 1 + e))
    entropy = sum(
        integrate.quad(lambda t: -density(t) * math.log(max(density(t), 1e-300)), a, b)[0]
        for a, b in pairwise(edges)
    )
    equals(law, entropy - math.log(2 * e), within=1e-7)


def check_lomax(law, rng):
    """The density is a mean over the shared gamma, integrated numerically over its logarithm."""
    x, y = law.draw(40_000, rng)
    log_g = np.linspace(-40, 8, 1_601)
    step = log_g[1] - log_g[0]
    weight = stats.loggamma(law.alpha).pdf(log_g) * step
    grid = np.linspace(0, math.log1p(max(x.sum(1).max(), y.sum(1).max()) * 2), 1_000)

    def log_density(a):
        values = np.exp(a.shape[1] * log_g - np.expm1(grid)[:, None] * np.exp(log_g)) @ weight
        return np.interp(np.log1p(a.sum(axis=1)), grid, np.log(values))

    agrees(law, log_density(np.hstack([x, y])) - log_density(x) - log_density(y))

    def entropy(k):
        """The sum of k is beta prime, and independent of its uniform shares."""
        total = stats.betaprime(k, law.alpha)
        log_total = psi(k) - psi(law.alpha)
        return total.entropy() - gammaln(k) + (k - 1) * log_total

    p, q = x.shape[1], y.shape[1]
    equals(law, entropy(p) + entropy(q) - entropy(p + q), within=1e-4)


# Copulas, from their distribution functions alone


def clayton(u, v, theta):
    with np.errstate(divide="ignore"):
        return (u**-theta + v**-theta - 1) ** (-1 / theta)


def gumbel(u, v, theta):
    with np.errstate(divide="ignore"):
        return np.exp(-(((-np.log(u)) ** theta + (-np.log(v)) ** theta) ** (1 / theta)))


def frank(u, v, theta):
    return -np.log1p(np.expm1(-theta * u) * np.expm1(-theta * v) / math.expm1(-theta)) / theta


def fgm(u, v, theta):
    return u * v * (1 + theta * (1 - u) * (1 - v))


def check_copula(law, draws, cdf, theta):
    """Cells fine enough hold all the information; draws fill coarse ones as they should."""

    def cells(m):
        edges = np.linspace(0, 1, m + 1)
        c = np.zeros((m + 1, m + 1))
        c[1:, 1:] = cdf(edges[1:, None], edges[1:], theta)
        return np.maximum(np.diff(np.diff(c, axis=0), axis=1), 1e-300)

    fine, coarse = cells(1_500), cells(8)
    equals(law, np.sum(fine * np.log(fine * fine.size)), within=2e-3)
    seen, _, _ = np.histogram2d(*(a.ravel() for a in draws), bins=8, range=((0, 1), (0, 1)))
    expected = coarse * seen.sum()
    tested = expected > 5
    misfit = np.sum((seen - expected)[tested] ** 2 / expected[tested])
    assert stats.chi2(tested.sum() - 1).sf(misfit) > 1e-4
    assert seen[~tested].sum() < expected[~tested].sum() + 30


# Curves, scales, directions


def check_curve(law, rng):
    x, y = law.draw(40_000, rng)
    places = (np.arange(4_000) + 0.5) / 2_000 - 1
    levels = np.linspace(-1 - 8 * law.noise, 1 + 8 * law.noise, 801)
    spread = stats.norm(law.curve(places), law.noise)
    density = np.array([np.mean(spread.pdf(level)) for level in levels])
    given = stats.norm(law.curve(x), law.noise).logpdf(y).ravel()
    agrees(law, given - np.interp(y.ravel(), levels, np.log(density)))
    entropy = -integrate.simpson(xlogy(density, density), x=levels)
    equals(law, entropy - stats.norm(0, law.noise).entropy(), within=1e-5)


def check_scale(law, rng):
    """Take logarithms: Y's is a sum, whose density is a convolution; signs say nothing."""
    s = np.arange(-60, 10, 0.005)
    density = 2 * stats.norm.pdf(np.exp(s)) * np.exp(s)
    total = np.convolve(density, density) * 0.005
    h_sum, h_one = (-0.005 * np.sum(xlogy(p, p)) for p in (total, density))
    equals(law, h_sum - h_one, within=1e-5)
    x, y = law.draw(40_000, rng)
    assert stats.kstest(x.ravel(), "norm").pvalue > 1e-4
    assert stats.kstest((y / x).ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(np.abs(x).ravel(), np.abs(y / x).ravel())[0, 1]) < 0.03


def check_von_mises(law, rng):
    x, y = law.draw(40_000, rng)
    assert min(x.min(), y.min()) >= 0 and max(x.max(), y.max()) < 2 * math.pi
    apart = np.mod(y - x + math.pi, 2 * math.pi).ravel() - math.pi
    assert stats.kstest(apart, stats.vonmises(law.kappa).cdf).pvalue > 1e-4
    assert stats.kstest(y.ravel() / (2 * math.pi), "uniform").pvalue > 1e-4
    agrees(law, stats.vonmises(law.kappa).logpdf(y - x).ravel() + math.log(2 * math.pi))
    equals(law, math.log(2 * math.pi) - stats.vonmises(law.kappa).entropy(), within=1e-6)


def check_von_mises_fisher(law, rng):
    x, y = law.draw(40_000, rng)
    for a in (x, y):
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1)
        np.testing.assert_allclose(a.T @ a / len(a), np.eye(3) / 3, atol=0.01)
    w = np.clip(np.sum(x * y, axis=1), -1, 1)
    points = np.stack([np.sqrt(1 - w**2), 0 * w, w], axis=1)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    law_of_y = stats.vonmises_fisher(np.array([0.0, 0.0, 1.0]), law.kappa)
    agrees(law, law_of_y.logpdf(points) + math.log(4 * math.pi))
    equals(law, math.log(4 * math.pi) - law_of_y.entropy(), within=1e-6)


# Mixtures and composites


def check_mixture(law, rng):
    """Integrate each Gaussian of the mixture by Gauss and Hermite, densities by scipy."""
    d, p = len(law.means[0]), law.dim_x
    nodes, weights = np.polynomial.hermite_e.hermegauss({2: 150, 3: 40, 4: 16}[d])
    z = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), axis=-1).reshape(-1, d)
    w = np.prod(np.stack(np.meshgrid(*[weights] * d, indexing="ij")), axis=0).ravel()
    parts = list(
        zip(law.weights, map(np.array, law.means), map(np.array, law.covariances), strict=True)
    )

    def log_density(a, cut):
        return np.log(
            sum(
                weight * stats.multivariate_normal(m[cut], s[cut, cut]).pdf(a[:, cut])
                for weight, m, s in parts
            )
        )

    def ratio(a):
        whole, x, y = slice(None), slice(p), slice(p, None)
        return log_density(a, whole) - log_density(a, x) - log_density(a, y)

    points = [m + z @ np.linalg.cholesky(s).T for _, m, s in parts]
    nats = sum(c * (w @ ratio(a)) / w.sum() for (c, _, _), a in zip(parts, points, strict=True))
    equals(law, nats, within=1.5 * law.information.error)
    assert law.information.error < 1e-3
    agrees(law, ratio(np.hstack(law.draw(20_000, rng))))


def check_together(law, rng):
    for part in law.parts:
        check(part)
    equals(law, sum(part.information.nats for part in law.parts))
    x, y = law.draw(5, np.random.default_rng(1))
    again = np.random.default_rng(1)
    drawn = [part.draw(5, again) for part in law.parts]
    np.testing.assert_array_equal(x, np.hstack([a for a, _ in drawn]))
    np.testing.assert_array_equal(y, np.hstack([b for _, b in drawn]))


CHECKS = {
    NormalPairs: check_gaussian,
    DenseNormal: check_gaussian,
    Normal: check_gaussian,
    Student: check_student,
    AdditiveUniform: check_additive,
    Lomax: check_lomax,
    Gumbel: lambda law, rng: check_copula(law, law.draw(40_000, rng), gumbel, law.theta),
    Frank: lambda law, rng: check_copula(law, law.draw(40_000, rng), frank, law.theta),
    FarlieGumbelMorgenstern: lambda law, rng: check_copula(
        law, law.draw(40_000, rng), fgm, law.theta
    ),
    NoisyCurve: check_curve,
    RandomScale: check_scale,
    VonMises: check_von_mises,
    VonMisesFisher: check_von_mises_fisher,
    NormalMixture: check_mixture,
    Together: check_together,
}
