"""Continuous tasks beyond the 40: tails, copulas, manifolds, pictures, many columns, many nats."""

import math

from estimators_bench.tasks.copulas import FarlieGumbelMorgenstern, Frank, Gumbel, Lomax
from estimators_bench.tasks.curves import (
    NoisyCurve,
    RandomScale,
    Sine,
    Square,
    VonMises,
    VonMisesFisher,
)
from estimators_bench.tasks.distributions import (
    AdditiveUniform,
    DenseNormal,
    Distribution,
    Normal,
    NormalPairs,
    Student,
    Together,
)
from estimators_bench.tasks.images import Blob, Rectangle, Texture
from estimators_bench.tasks.kinds import SampleTask, Truth
from estimators_bench.tasks.maps import (
    CauchyQuantile,
    Circles,
    CosineMix,
    Exp,
    LomaxSurvival,
    Map,
    NormalCDF,
    SwissRoll,
    Torus,
    Units,
)
from estimators_bench.tasks.mixtures import NormalMixture, correlated, spherical
from estimators_bench.tasks.samplers import Sampler, sample_task

CDF = NormalCDF()


def _both(distribution: Distribution, *maps: Map) -> Sampler:
    """Return the distribution with X and Y through the same maps."""
    return Sampler(distribution, maps, maps)


def _strength(nats: float) -> float:
    """Return the correlation at which two normals know that much of each other."""
    return math.sqrt(-math.expm1(-2 * nats))


def _heavy_tails() -> tuple[SampleTask, ...]:
    def task(name: str, sampler: Sampler, about: str) -> SampleTask:
        return sample_task(name, "Heavy tails", sampler, about)

    return (
        task(
            "student-dense-3x3-nu1.5",
            Sampler(Student(DenseNormal(3, 3, 0.5), nu=1.5)),
            "Student of infinite variance, dispersion .5 throughout; Arellano-Valle et al. (2013).",
        ),
        task(
            "student-10x10-nu3",
            Sampler(Student(NormalPairs(10, 10), nu=3.0)),
            "Uncorrelated Student in many columns: all there is to know is the shared scale.",
        ),
        task(
            "lognormal-5x5",
            _both(NormalPairs(5, 5, (0.8, 0.8)), Exp()),
            "Two Gaussian pairs, exponentiated: skewed, all moments finite.",
        ),
        task(
            "cauchy-margins-1x1",
            _both(NormalPairs(1, 1, (0.75,)), CDF, CauchyQuantile()),
            "Gaussian dependence between Cauchy margins: no moments, light dependence in tails.",
        ),
        task(
            "lomax-3x3",
            Sampler(Lomax(3, 3, alpha=1.0)),
            "Multivariate Pareto: positive, of infinite mean; Arnold, Pareto Distributions (2015).",
        ),
    )


def _copulas() -> tuple[SampleTask, ...]:
    def task(name: str, sampler: Sampler, about: str) -> SampleTask:
        return sample_task(name, "Copulas", sampler, f"{about}; Nelsen (2006).")

    return (
        task(
            "clayton-1x1",
            _both(Lomax(1, 1, alpha=0.5), LomaxSurvival(alpha=0.5)),
            "Clayton copula, theta 2: small values come together",
        ),
        task("gumbel-1x1", Sampler(Gumbel(2.0)), "Gumbel copula: large values come together"),
        task("frank-1x1", Sampler(Frank(8.0)), "Frank copula: alike in both tails, and weak"),
        task(
            "fgm-1x1",
            Sampler(FarlieGumbelMorgenstern(1.0)),
            "Farlie-Gumbel-Morgenstern copula: little to find",
        ),
    )


def _manifolds() -> tuple[SampleTask, ...]:
    def task(name: str, sampler: Sampler, about: str) -> SampleTask:
        return sample_task(name, "Manifolds", sampler, about)

    circle, roll = VonMises(kappa=5.0), NormalPairs(2, 1, (0.9,))
    angles = Together((VonMises(kappa=2.0), VonMises(kappa=8.0)))
    return (
        task(
            "circle-2x2",
            _both(circle, Circles()),
            "Two close directions; von Mises noise; Mardia, Jupp (2000).",
        ),
        task("torus-3x3", _both(angles, Torus(tube=0.4)), "Two pairs of angles, on tori in space."),
        task(
            "sphere-3x3",
            Sampler(VonMisesFisher(kappa=10.0)),
            "Points of the sphere near one another; von Mises-Fisher noise; Mardia, Jupp (2000).",
        ),
        task(
            "swiss-roll-3x1",
            Sampler(roll, (CDF, SwissRoll()), (CDF,)),
            "A rolled-up sheet in space: Y knows how far along it, not how high.",
        ),
    )


def _high_information() -> tuple[SampleTask, ...]:
    def task(name: str, distribution: Distribution, about: str) -> SampleTask:
        return sample_task(name, "High information", Sampler(distribution), about)

    one = "Bivariate normal of {} nats, where bounds stop at log n; McAllester, Stratos (2020)."
    return (
        *(
            task(f"normal-{nats}-nats", NormalPairs(1, 1, (_strength(nats),)), one.format(nats))
            for nats in (2, 5, 10)
        ),
        task(
            "normal-10-nats-5x5",
            NormalPairs(5, 5, (_strength(2),) * 5),
            "Ten nats in five pairs of two.",
        ),
        task(
            "additive-noise-0.001",
            AdditiveUniform(0.001),
            "X uniform and Y = X + a thousandth of noise: 6.2 nats with sharp edges.",
        ),
    )


def _many_columns() -> tuple[SampleTask, ...]:
    def task(name: str, sampler: Sampler, about: str) -> SampleTask:
        return sample_task(name, "Many columns", sampler, about)

    mixed = "Two Gaussian pairs, turned so that every column shows a little of them."
    needle = Together((NoisyCurve(Sine(1.0), 0.3), NormalPairs(99, 0)))
    return (
        *(
            task(f"hidden-{d}x{d}", _both(NormalPairs(d, d, (0.8, 0.8)), CosineMix()), mixed)
            for d in (10, 100, 1000)
        ),
        task(
            "sparse-1000x1",
            Sampler(NormalPairs(1000, 1, (0.9,))),
            "One of a thousand columns says everything.",
        ),
        task(
            "sparse-sine-100x1",
            Sampler(needle),
            "One of a hundred columns says it all, through two sine waves.",
        ),
        task(
            "spread-100x100",
            Sampler(NormalPairs(100, 100, (_strength(0.01),) * 100)),
            "A hundredth of a nat in each of a hundred pairs.",
        ),
        task(
            "units-3x2",
            Sampler(_UNLIKE, (Units((1e-6, 1.0, 1e6), (0.0, 1e3, -1e6)),)),
            "Gaussian of full covariance, columns in units of a millionth, one and a million.",
        ),
    )


_UNLIKE = Normal(
    covariance=(
        (1.0, 0.6, -0.3, 0.5, 0.2),
        (0.6, 1.0, 0.1, 0.7, -0.2),
        (-0.3, 0.1, 1.0, 0.3, 0.4),
        (0.5, 0.7, 0.3, 1.0, 0.1),
        (0.2, -0.2, 0.4, 0.1, 1.0),
    ),
    dim_x=3,
)


def _pictures() -> tuple[SampleTask, ...]:
    exact = "Exact, as the picture gives its numbers back."

    def task(name: str, sampler: Sampler, about: str) -> SampleTask:
        return sample_task(name, "Pictures", sampler, f"{about} {exact}")

    return (
        task(
            "picture-blob-256x1",
            Sampler(NormalPairs(2, 1, (0.9,)), (CDF, Blob()), (CDF,)),
            "A blob, and a number that knows its height but not where it is across.",
        ),
        task(
            "picture-blob-256x256",
            _both(NormalPairs(2, 2, (0.8, 0.8)), CDF, Blob()),
            "Two pictures of a blob, in correlated places.",
        ),
        task(
            "picture-square-256x256",
            _both(NormalPairs(3, 3, (0.9, 0.0, 0.9)), CDF, Rectangle()),
            "Two bright squares: one coordinate and the brightness correlate.",
        ),
        task(
            "picture-clouds-256x256",
            _both(NormalPairs(256, 256, (0.0,) * 9 + (0.7,) * 6), Texture()),
            "Two clouds of all frequencies, six of the middling waves correlated.",
        ),
    )


def _mixtures() -> tuple[SampleTask, ...]:
    def task(
        name: str,
        weights: tuple[float, ...],
        means: tuple[tuple[float, ...], ...],
        covariances: tuple[tuple[tuple[float, ...], ...], ...],
        truth: Truth,
        about: str,
    ) -> SampleTask:
        dim_x = (len(means[0]) + 1) // 2
        mixture = NormalMixture(weights, means, covariances, dim_x, truth)
        return sample_task(name, "Mixtures", Sampler(mixture), about)

    origin, quarters = (0.0, 0.0), (0.25,) * 4
    corners = (
        (2.0, 2.0, 2.0, 2.0),
        (2.0, -2.0, -2.0, -2.0),
        (-2.0, 2.0, 2.0, -2.0),
        (-2.0, -2.0, -2.0, 2.0),
    )
    return (
        task(
            "cross-1x1",
            (0.5, 0.5),
            (origin, origin),
            (correlated(0.95), correlated(-0.95)),
            Truth(0.66343, "Monte Carlo", 0.00037),
            "Two Gaussians crossed like an X: uncorrelated; Czyż et al. (2025).",
        ),
        task(
            "outliers-1x1",
            (0.9, 0.1),
            (origin, origin),
            (correlated(0.9), spherical(2, 5.0)),
            Truth(0.78793, "Monte Carlo", 0.00042),
            "A bivariate normal, a tenth of it replaced by independent outliers.",
        ),
        task(
            "clusters-2x2",
            quarters,
            corners,
            (spherical(4, 1.0),) * 4,
            Truth(1.15248, "Monte Carlo", 0.00027),
            "Four round clusters, those of Y in another order than those of X.",
        ),
        task(
            "parity-2x1",
            quarters,
            ((1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0)),
            (spherical(3, 0.4),) * 4,
            Truth(0.64315, "Monte Carlo", 0.00013),
            "Y has the sign of the product of two columns, neither of which says anything alone.",
        ),
    )


def _nonlinear() -> tuple[SampleTask, ...]:
    def task(name: str, distribution: Distribution, about: str) -> SampleTask:
        return sample_task(name, "Nonlinear", Sampler(distribution), about)

    bag = Together(
        (NormalPairs(1, 1, (0.6,)), NoisyCurve(Square(), 0.2), Gumbel(1.5), RandomScale())
    )
    return (
        task("sine-1x1", NoisyCurve(Sine(0.5), 0.2), "One sine wave under Gaussian noise."),
        task("fast-sine-1x1", NoisyCurve(Sine(4.0), 0.2), "Eight sine waves under Gaussian noise."),
        task("parabola-1x1", NoisyCurve(Square(), 0.1), "A parabola under noise: uncorrelated."),
        task("scale-1x1", RandomScale(), "X sets only how wide Y spreads around 0."),
        task("bag-4x4", bag, "Four pairs, each dependent in its own way."),
    )


def _independent() -> tuple[SampleTask, ...]:
    def task(name: str, sampler: Sampler, about: str) -> SampleTask:
        return sample_task(name, "Independent", sampler, about)

    return (
        task("independent-1x1", Sampler(NormalPairs(1, 1)), "Nothing to find, normal."),
        task("independent-10x10", Sampler(NormalPairs(10, 10)), "Nothing to find, many columns."),
        task(
            "independent-cauchy-3x3",
            _both(NormalPairs(3, 3), CDF, CauchyQuantile()),
            "Nothing to find, heavy tails.",
        ),
    )


TASKS: tuple[SampleTask, ...] = (
    *_heavy_tails(),
    *_copulas(),
    *_manifolds(),
    *_high_information(),
    *_many_columns(),
    *_pictures(),
    *_mixtures(),
    *_nonlinear(),
    *_independent(),
)
