"""The compiled kernels against the definitions, written out slowly and sharing no code."""

from functools import partial
from itertools import product
from threading import get_ident

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitools._kernels import (
    count_within,
    farthest,
    ksg_counts,
    kth_distance,
    kth_neighbors,
)
from mitools._kernels import neighbors as ways
from mitools._kernels import plane as plane_module
from mitools._kernels.kdtree import grow
from mitools._kernels.line import bucket_table, count_sorted
from mitools._kernels.plane import Plane, in_slabs, kth_in_slabs, slab_edges, slab_size
from mitools._kernels.threads import FEWEST, together


def slow_distances(points, euclidean=False):
    difference = np.abs(points[:, None] - points[None])
    if euclidean:
        total = np.zeros(difference.shape[:2])
        for c in range(points.shape[1]):
            total = total + difference[:, :, c] * difference[:, :, c]
        distances = np.sqrt(total)
    else:
        distances = difference.max(-1)
    np.fill_diagonal(distances, np.inf)
    return distances


def slow_neighbors(points, k, euclidean=False):
    distances = slow_distances(points, euclidean)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


def slow_counts(x, y, k):
    radius = slow_neighbors(np.hstack((x, y)), k)[0][:, -1]
    return radius, *((slow_distances(a) < radius[:, None]).sum(1) for a in (x, y))


KINDS = (
    "few values",
    "normal",
    "cauchy",
    "clusters",
    "offset",
    "half discrete",
    "one outlier",
    "constant column",
)


def draw(kind, n, d, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, d))
    if kind == "few values":
        return rng.integers(0, 4, (n, d)).astype(float)
    if kind == "cauchy":
        return rng.standard_cauchy((n, d))
    if kind == "clusters":
        return rng.integers(0, 3, (n, d)) + 1e-12 * z
    if kind == "offset":
        return 1e10 + z
    if kind == "half discrete":
        return np.where(rng.random((n, d)) < 0.5, rng.integers(0, 3, (n, d)), z)
    if kind == "one outlier":
        z[rng.integers(n)] = 1e12
    if kind == "constant column":
        z[:, rng.integers(d)] = 0.25
    return z


points = st.builds(
    draw,
    st.sampled_from(KINDS),
    st.integers(2, 90),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=60, deadline=None)
@given(points=points, k=st.integers(1, 9), euclidean=st.booleans(), tree=st.booleans())
def test_neighbors_match_the_definition_ties_included(points, k, euclidean, tree):
    k = min(k, len(points) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "_all_pairs", lambda n, d: not tree)
        distances, indices = kth_neighbors(points, k, euclidean)
        radius = kth_distance(points, k, euclidean)
    expected, order = slow_neighbors(points, k, euclidean)
    np.testing.assert_array_equal(distances, expected)
    np.testing.assert_array_equal(radius, expected[:, -1])
    if not euclidean:  # Euclidean ties are those of squares
        np.testing.assert_array_equal(indices, order)


@settings(max_examples=60, deadline=None)
@given(
    points=points,
    k=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    strict=st.booleans(),
    euclidean=st.booleans(),
    tree=st.booleans(),
)
def test_counts_match_the_definition_ties_included(points, k, seed, strict, euclidean, tree):
    distances = slow_distances(points, euclidean)
    rng = np.random.default_rng(seed)
    k = min(k, len(points) - 1)
    radius = np.sort(distances, axis=1)[:, k - 1] * rng.choice([0, 0.5, 1, 1, 1, 2], len(points))
    radius[rng.random(len(points)) < 0.05] = np.inf
    np.fill_diagonal(distances, np.nan)  # in no radius
    limit = radius[:, None]
    expected = (distances < limit if strict else distances <= limit).sum(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "_all_pairs", lambda n, d: not tree)
        np.testing.assert_array_equal(count_within(points, radius, strict, euclidean), expected)


@settings(max_examples=60, deadline=None)
@given(points=points, k=st.integers(1, 9), split=st.integers(1, 4), tree=st.booleans())
def test_ksg_counts_match_the_definition_ties_included(points, k, split, tree):
    k = min(k, len(points) - 1)
    split = min(split, points.shape[1] - 1)
    x, y = (points[:, :split], points[:, split:]) if split else (points, points[::-1])
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    expected = slow_counts(x, y, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "_all_pairs", lambda n, d: not tree)
        for found, wanted in zip(ksg_counts(x, y, k), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        radius, ny, nx = ksg_counts(y, x, k)
    for found, wanted in zip((radius, nx, ny), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@settings(max_examples=30, deadline=None)
@given(points=points, k=st.integers(1, 5), tree=st.booleans())
def test_boxes_around_neighbors_match_the_definition_ties_included(points, k, tree):
    k = min(k, len(points) - 1)
    x, y = points, np.ascontiguousarray(points[::-1, :1])
    nearest = slow_neighbors(np.hstack((x, y)), k)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "_all_pairs", lambda n, d: not tree)
        found = kth_neighbors(np.hstack((x, y)), k)[1]
    for space in (x, y):
        radius = np.take_along_axis(slow_distances(space), nearest, 1).max(1)
        np.testing.assert_array_equal(farthest(space, found), radius)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2])
def test_larger_samples_match_the_definition(kind, d):
    points = draw(kind, 1_500, 2 * d, 1)
    x, y = np.ascontiguousarray(points[:, :d]), np.ascontiguousarray(points[:, d:])
    for found, wanted in zip(ksg_counts(x, y, 3), slow_counts(x, y, 3), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("d", [1, 3])
def test_among_many_equal_points_the_smallest_indices_are_nearest(d, monkeypatch):
    monkeypatch.setattr(ways, "_all_pairs", lambda n, d: False)
    points = np.random.default_rng(d).integers(0, 2, (400, d)).astype(float)
    distances, order = slow_neighbors(points, 4)
    assert (distances[:, -1] == 0).all()
    np.testing.assert_array_equal(kth_neighbors(points, 4)[1], order)


@settings(max_examples=60, deadline=None)
@given(points=points, seed=st.integers(0, 2**32 - 1))
def test_searches_in_sorted_values_trust_no_guess(points, seed):
    values = np.sort(points[:, 0])
    n = len(values)
    rng = np.random.default_rng(seed)
    distances = slow_distances(values[:, None])
    radius = rng.choice([0.5, 1.0, 1.0, 2.0], n) * distances[np.arange(n), rng.integers(0, n, n)]
    np.fill_diagonal(distances, np.nan)
    counts = np.empty(n, np.int64)
    for table in (bucket_table(values), np.sort(rng.integers(0, n + 1, 2 * n + 2))):
        count_sorted(0, n, values, table, radius, counts)
        np.testing.assert_array_equal(counts, (distances < radius[:, None]).sum(1))


def test_a_walk_in_single_precision_misses_nothing():
    # Two far clusters: single precision cannot tell their points apart, double precision can.
    near = draw("normal", 400, 3, 7)
    far = np.vstack((near, near + 2.0**40, near * 1e-3))
    distances = slow_distances(far)
    radius = np.sort(distances, axis=1)[:, 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "_all_pairs", lambda n, d: False)
        for precision in (np.float32, np.float64):
            patch.setattr(ways, "grow", lambda p, t=precision: grow(p, t))
            np.testing.assert_array_equal(kth_distance(far, 3), radius)
            np.testing.assert_array_equal(
                count_within(far, radius), (distances < radius[:, None]).sum(1)
            )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "constant column"])
def test_slabs_look_at_few_pairs(kind):
    n, k = 20_000, 3
    plane = Plane(*np.ascontiguousarray(draw(kind, n, 2, 0).T))
    size = slab_size(n, k)
    radius = np.empty(n)
    slabs, where = in_slabs(plane.x.values, plane.y.values, plane.in_x, size)
    edges = slab_edges(plane.x.values, size)
    looked = kth_in_slabs(0, len(edges), slabs, where, edges, size, k, radius)
    assert looked < 40 * n


@pytest.mark.parametrize("exponent", [-300, -60, 60, 300])
@pytest.mark.parametrize("d", [1, 2, 8])
def test_units_that_are_powers_of_two_change_nothing(d, exponent):
    x, y = draw("normal", 900, 2 * d, 3).reshape(2, 900, d)
    scale = 2.0**exponent
    radius, nx, ny = ksg_counts(x, y, 3)
    scaled = ksg_counts(x * scale, y * scale, 3)
    np.testing.assert_array_equal(scaled[0], radius * scale)
    np.testing.assert_array_equal(scaled[1], nx)
    np.testing.assert_array_equal(scaled[2], ny)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_threads_change_nothing(d):
    x, y = draw("normal", 25_000, 2 * d, 5).reshape(2, 25_000, d)
    before = numba.get_num_threads()
    try:
        results = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            results.append((*ksg_counts(x, y, 3), *kth_neighbors(np.hstack((x, y)), 2)))
    finally:
        numba.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_slabs_filled_in_parts_are_the_same(parts, monkeypatch):
    n, size = 1_500, 64
    plane = Plane(*np.ascontiguousarray(draw("half discrete", n, 2, 4).T))
    monkeypatch.setattr(plane_module, "threads_for", lambda points: parts)
    slabs, where = in_slabs(plane.x.values, plane.y.values, plane.in_x, size)
    in_order = np.argsort(plane.in_x // size, kind="stable")  # by slab, and by y inside
    np.testing.assert_array_equal(where, plane.in_x[in_order])
    np.testing.assert_array_equal(slabs[0], plane.x.values[where])
    np.testing.assert_array_equal(slabs[1], plane.y.values[in_order])


@pytest.mark.parametrize("threads", [1, 2])
def test_jobs_answer_in_order_and_errors_arrive(threads, monkeypatch):
    monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
    assert together([lambda i=i: i * i for i in range(50)], FEWEST) == [i * i for i in range(50)]
    assert together([], FEWEST) == []
    with pytest.raises(ZeroDivisionError):
        together([lambda: 1, lambda: 1 // 0, lambda: 2], FEWEST)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_jobs_that_share_out_jobs_run_on_no_more_threads(threads, monkeypatch):
    monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
    seen = set()

    def work(depth, name):
        seen.add(get_ident())
        if depth == 0:
            sum(range(2_000))
            return name
        return sum(together([partial(work, depth - 1, 10 * name + i) for i in range(4)], FEWEST))

    digits = product(range(4), repeat=4)
    assert work(4, 1) == sum(10_000 + int("".join(map(str, each))) for each in digits)
    assert len(seen) <= threads


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_job_of_a_job_arrives(threads, monkeypatch):
    monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
    inner = partial(together, [lambda: 1, lambda: 1 // 0, lambda: 2], FEWEST)
    with pytest.raises(ZeroDivisionError):
        together([lambda: 0, inner, lambda: 3], FEWEST)
    assert together([lambda: 4, lambda: 5], FEWEST) == [4, 5]  # and nothing is left behind
