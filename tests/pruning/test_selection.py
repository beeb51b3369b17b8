import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mitools.pruning.selection import check_density, count_kept, top_k


def by_sorting(scores, keep, among=None):
    """The definition: a stable descending sort over (score, index), in plain Python."""
    entries = []
    for name, score in scores.items():
        allowed = torch.ones_like(score, dtype=torch.bool) if among is None else among[name]
        rows = zip(score.flatten().tolist(), allowed.flatten().tolist(), strict=True)
        for i, (s, a) in enumerate(rows):
            if a:
                entries.append((name, i, s))
    best = {(name, i) for name, i, _ in sorted(entries, key=lambda e: -e[2])[:keep]}
    return {
        name: torch.tensor([(name, i) in best for i in range(score.numel())]).view(score.shape)
        for name, score in scores.items()
    }


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def drawn(sizes, values, seed):
    rng = torch.Generator().manual_seed(seed)
    return {f"p{i}": torch.randint(values, (n,), generator=rng) * 1.0 for i, n in enumerate(sizes)}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    values=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 1),
    pruned=st.booleans(),
)
def test_selection_is_the_stable_sort_ties_included(sizes, values, seed, share, pruned):
    scores = drawn(sizes, values, seed)
    among = {n: s < values - 1 for n, s in drawn(sizes, values, seed + 1).items()}
    among = among if pruned else None
    pool = sum(sizes) if among is None else int(sum(a.sum() for a in among.values()))
    keep = count_kept(share, pool)
    kept = top_k(scores, keep, among=among)
    assert same(kept, by_sorting(scores, keep, among))
    assert sum(int(k.sum()) for k in kept.values()) == keep


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_layer_scope_is_exact_even_and_nested(sizes, seed):
    scores, among, before = drawn(sizes, 4, seed), None, None
    for keep in range(sum(sizes), -1, -1):
        kept = top_k(scores, keep, "layer", among=among)
        counts = [int(k.sum()) for k in kept.values()]
        assert sum(counts) == keep
        for count, n in zip(counts, sizes, strict=True):
            assert abs(count - keep * n / sum(sizes)) <= len(sizes)
        assert same(kept, top_k(scores, keep, "layer"))  # the same in one step as in many
        if before is not None:
            assert all(a <= b for a, b in zip(counts, before, strict=True))
        among, before = kept, counts


def test_layer_scope_keeps_the_best_of_each_layer():
    scores = {
        "small": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "big": torch.tensor([9.0, 8.0, 7.0, 6.0]),
    }
    kept = top_k(scores, 4, "layer")
    assert kept["small"].tolist() == [False, False, True, True]
    assert kept["big"].tolist() == [True, True, False, False]
    assert top_k(scores, 4)["small"].sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("keep", [0, 1, 7, 12])
def test_all_equal_scores_keep_the_first(dtype, keep):
    scores = {"a": torch.zeros(2, 3, dtype=dtype), "b": torch.zeros(6, dtype=dtype)}
    kept = top_k(scores, keep)
    joined = torch.cat([k.flatten() for k in kept.values()])
    assert joined.tolist() == [True] * keep + [False] * (12 - keep)
    assert kept["a"].shape == (2, 3)


def test_signed_zeros_are_one_value():
    assert top_k({"a": torch.tensor([-0.0, 0.0, -0.0])}, 1)["a"].tolist() == [True, False, False]


def test_scores_of_different_dtypes_compete():
    scores = {"a": torch.tensor([1.0], dtype=torch.bfloat16), "b": torch.tensor([1.001]).double()}
    assert top_k(scores, 1)["b"].item()


def test_what_is_not_a_candidate_never_stays():
    scores = {"a": torch.tensor([9.0, 1.0, 8.0])}
    among = {"a": torch.tensor([False, True, False])}
    assert top_k(scores, 1, among=among)["a"].tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"keep must lie between 0 and the 1 weights.*got 2"):
        top_k(scores, 2, among=among)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_scores_that_are_not_finite_name_the_layer(bad, scope):
    scores = {"fine": torch.ones(2), "conv3.weight": torch.tensor([1.0, bad])}
    with pytest.raises(ValueError, match=r"1 of the 2 scores of 'conv3\.weight'"):
        top_k(scores, 1, scope)
    among = {"fine": torch.tensor([True, True]), "conv3.weight": torch.tensor([True, False])}
    assert top_k(scores, 1, scope, among=among)["fine"].tolist() == [True, False]


def test_unknown_scope_and_no_scores():
    with pytest.raises(ValueError, match=r"'global', 'layer', or a value.*got 'channel'"):
        top_k({"a": torch.ones(2)}, 1, "channel")
    with pytest.raises(ValueError, match="at least one parameter"):
        top_k({}, 0)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, "0.5", None, True])
def test_density_must_be_a_share(bad):
    with pytest.raises(ValueError, match=r"density must be a number from 0"):
        check_density(bad)


def test_counts_of_the_issue():
    # Halves go to the even number, and 0.3 * 10 is not one weight short.
    assert [count_kept(d, 10) for d in (0.0, 0.05, 0.15, 0.25, 0.3, 0.7, 1.0)] == [
        0, 0, 2, 2, 3, 7, 10,
    ]  # fmt: skip


def test_inputs_are_left_alone():
    scores = {"a": torch.tensor([2.0, 1.0], requires_grad=True)}
    kept = top_k(scores, 1)
    assert not kept["a"].requires_grad and scores["a"].grad is None
