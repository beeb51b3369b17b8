"""The 40 tasks of *Beyond Normal*, re-created from their mathematics.

Czyż, Grabowski, Vogt, Beerenwinkel, Marx, "Beyond Normal: On the Evaluation of Mutual Information
Estimators", NeurIPS 2023, arXiv:2306.11078. Names and order follow the paper's list. Two details
are in the authors' package only: the spiral of normal CDFs turns the uniform coordinates as they
are, neither centred nor scaled, and its speed is one over the dimension.
"""

from estimators_bench.tasks.distributions import (
    AdditiveUniform,
    DenseNormal,
    Distribution,
    NormalPairs,
    Student,
)
from estimators_bench.tasks.kinds import SampleTask
from estimators_bench.tasks.maps import (
    Asinh,
    HalfCube,
    Map,
    MixtureQuantile,
    NormalCDF,
    Spiral,
    SwissRoll,
    Wiggly,
)
from estimators_bench.tasks.samplers import Sampler, sample_task

FAMILY = "Beyond Normal"
SOURCE = "Beyond Normal (NeurIPS 2023)"

BIVARIATE = NormalPairs(1, 1, (0.75,))
CAUCHY = Student(NormalPairs(1, 1), nu=1)
WIGGLY_X = Wiggly(((0.4, 1.0, 0.0), (0.2, 1.7, 1.0), (0.03, 3.3, -2.5)))
WIGGLY_Y = Wiggly(((-0.4, 0.4, 0.0), (0.17, 1.3, 3.5), (0.02, 4.3, -2.5)))
BIMODAL_X = MixtureQuantile(weights=(0.3, 0.7), means=(0.0, 5.0))
BIMODAL_Y = MixtureQuantile(weights=(0.5, 0.5), means=(-1.0, 3.0))


def _task(name: str, sampler: Sampler, about: str) -> SampleTask:
    return sample_task(name, FAMILY, sampler, f"{about}; {SOURCE}.")


def _both(distribution: Distribution, *maps: Map) -> Sampler:
    """Return the distribution with X and Y through the same maps."""
    return Sampler(distribution, maps, maps)


def _one_dimensional() -> tuple[SampleTask, ...]:
    cdf = NormalCDF()
    bimodal = Sampler(BIVARIATE, (cdf, BIMODAL_X), (cdf, BIMODAL_Y))
    wiggly = Sampler(BIVARIATE, (WIGGLY_X,), (WIGGLY_Y,))
    roll = Sampler(BIVARIATE, (cdf, SwissRoll()), (cdf,))
    noise = "X uniform and Y = X + uniform noise: a density with edges"
    return (
        _task("normal-1x1", Sampler(BIVARIATE), "Bivariate normal: the easiest there is"),
        _task("cdf-1x1", _both(BIVARIATE, cdf), "Bivariate normal with uniform margins"),
        _task("additive-noise-0.1", Sampler(AdditiveUniform(0.1)), noise),
        _task("additive-noise-0.75", Sampler(AdditiveUniform(0.75)), noise),
        _task("bimodal-1x1", bimodal, "Bivariate normal with margins of two modes"),
        _task("wiggly-1x1", wiggly, "Bivariate normal with rippled margins"),
        _task("half-cube-1x1", _both(BIVARIATE, HalfCube()), "Bivariate normal, longer tails"),
        _task("student-1x1-nu1", Sampler(CAUCHY), "Cauchy that shares its scale: no moments"),
        _task("asinh-student-1x1-nu1", _both(CAUCHY, Asinh()), "The Cauchy with tamed tails"),
        _task("swiss-roll-2x1", roll, "X lies on a rolled-up line in the plane"),
    )


def _normal() -> tuple[SampleTask, ...]:
    dense = tuple(
        _task(
            f"dense-{d}x{d}",
            Sampler(DenseNormal(d, d, 0.5)),
            f"Gaussian, all {2 * d} coordinates pairwise correlated .5",
        )
        for d in (2, 3, 5, 25, 50)
    )
    pairs = tuple(
        _task(
            f"2pair-{d}x{d}",
            Sampler(_two_pairs(d)),
            f"Gaussian, two pairs correlated .8 among {d} x {d} coordinates",
        )
        for d in (2, 3, 5, 25)
    )
    return dense + pairs


def _two_pairs(d: int) -> NormalPairs:
    return NormalPairs(d, d, (0.8, 0.8))


def _student() -> tuple[SampleTask, ...]:
    return tuple(
        _task(
            f"student-{d}x{d}-nu{nu}",
            Sampler(Student(NormalPairs(d, d), nu)),
            f"Student with {nu} degrees of freedom: uncorrelated, one random scale shared by all",
        )
        for d, nu in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))
    )


def _transformed() -> tuple[SampleTask, ...]:
    cdf = NormalCDF()
    tasks: list[SampleTask] = []
    for name, about, maps, turned in (
        ("cdf", "uniform margins", (cdf,), False),
        ("half-cube", "longer tails", (HalfCube(),), False),
        ("spiral", "a plane of X and one of Y turned with the distance", (), True),
        ("spiral-cdf", "uniform margins, then turned with the distance", (cdf,), True),
    ):
        for d in (3, 5, 25):
            turn_x = (Spiral((0, 1), 1 / d),) if turned else ()
            turn_y = (Spiral((1, 2), 1 / d),) if turned else ()
            sampler = Sampler(_two_pairs(d), maps + turn_x, maps + turn_y)
            tasks.append(_task(f"{name}-2pair-{d}x{d}", sampler, f"Two Gaussian pairs, {about}"))
    return tuple(tasks)


def _tamed_student() -> tuple[SampleTask, ...]:
    return tuple(
        _task(
            f"asinh-student-{d}x{d}-nu{nu}",
            _both(Student(NormalPairs(d, d), nu), Asinh()),
            "Student with tamed tails",
        )
        for d, nu in ((2, 1), (3, 2), (5, 2))
    )


TASKS: tuple[SampleTask, ...] = (
    *_one_dimensional(),
    *_normal(),
    *_student(),
    *_transformed(),
    *_tamed_student(),
)
