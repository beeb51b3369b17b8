"""Bounds read off known scores: formulas written out, truths never exceeded, honest errors."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from mitools.neural import DV, NWJ, SMILE, InfoNCE
from mitools.neural.bounds import log_mean_exp

RHO = 0.7
TRUTH = -math.log(1 - RHO**2) / 2


def log_ratio(x, y, rho=RHO):
    """Log density ratio of the bivariate normal: the best score."""
    left = (2 * rho * x * y - rho**2 * (x**2 + y**2)) / (2 * (1 - rho**2))
    return left - math.log(1 - rho**2) / 2


def scores(m, seed, score=log_ratio, rho=RHO):
    rng = np.random.default_rng([seed, 5])
    x = rng.standard_normal(m)
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(m)
    return torch.from_numpy(score(x[:, None], y[None, :]))


def slow(bound, t, log_mean):
    """Straight from the docstrings' formulas."""
    n = len(t)
    true = [t[i][i] for i in range(n)]
    others = [t[i][j] for i in range(n) for j in range(n) if i != j]
    mean = math.fsum(true) / n
    if isinstance(bound, DV):
        ratio = sum(math.exp(s) for s in others) / len(others) / math.exp(log_mean)
        return mean - log_mean - (ratio - 1)
    if isinstance(bound, NWJ):
        return mean - sum(math.exp(s - 1) for s in others) / len(others)
    if isinstance(bound, SMILE):
        low, high = math.exp(-bound.clip), math.exp(bound.clip)
        return mean - math.log(sum(min(max(math.exp(s), low), high) for s in others) / len(others))
    rows = [math.log(sum(math.exp(s) for s in row) / n) for row in t]
    return mean - sum(rows) / n


BOUNDS = [DV(), NWJ(), InfoNCE(), SMILE(), SMILE(clip=0.3)]


@pytest.mark.parametrize("bound", BOUNDS, ids=repr)
def test_terms_average_to_the_formula(bound):
    t = scores(12, 0)
    value = float(bound.terms(t, 0.2).mean())
    assert value == pytest.approx(slow(bound, t.tolist(), 0.2), rel=1e-12)


@pytest.mark.parametrize("bound", [DV(), NWJ(), InfoNCE()], ids=repr)
def test_loss_to_choose_by_is_minus_the_bound(bound):
    t = scores(12, 0)
    expected = -slow(bound, t.tolist(), float(log_mean_exp(t)))
    assert float(bound.validation_loss(t)) == pytest.approx(expected, rel=1e-12)


def test_jensen_shannon_loss_is_as_written():
    t = scores(9, 0).tolist()
    true = sum(math.log1p(math.exp(-t[i][i])) for i in range(9)) / 9
    others = [math.log1p(math.exp(t[i][j])) for i in range(9) for j in range(9) if i != j]
    assert float(SMILE().validation_loss(scores(9, 0))) == pytest.approx(true + sum(others) / 72)


def test_jensen_shannon_loss_is_least_at_the_log_ratio():
    def loss(factor, shift=0.0):
        return np.mean(
            [
                float(SMILE().validation_loss(factor * scores(300, seed) + shift))
                for seed in range(10)
            ]
        )

    best = loss(1.0)
    assert best < min(loss(0.6), loss(1.5), loss(1.0, 0.5), loss(1.0, -0.5))


def values(bound, score, m=40, seeds=300):
    return np.array(
        [
            float(
                bound.terms(
                    scores(m, seed, score), float(log_mean_exp(scores(m, seed + 10_000, score)))
                ).mean()
            )
            for seed in range(seeds)
        ]
    )


SCORES = {
    "best": log_ratio,
    "shifted": lambda x, y: log_ratio(x, y) + 1.0,
    "timid": lambda x, y: log_ratio(x, y) / 2,
    "wrong": lambda x, y: np.sin(3 * x) * y - 0.2 * x,
    "zero": lambda x, y: 0.0 * x * y,
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("bound", [DV(), NWJ(), InfoNCE()], ids=repr)
def test_no_score_beats_the_truth_on_average(bound, name):
    found = values(bound, SCORES[name])
    assert found.mean() < TRUTH + 4 * found.std() / math.sqrt(len(found))


@pytest.mark.parametrize(
    ("bound", "name"), [(DV(), "best"), (DV(), "shifted"), (NWJ(), "shifted")], ids=repr
)
def test_best_scores_reach_the_truth(bound, name):
    found = values(bound, SCORES[name], m=100)
    assert abs(found.mean() - TRUTH) < 0.01 + 4 * found.std() / math.sqrt(len(found))


def test_plain_donsker_varadhan_would_exceed_it():
    """The planted fault: the logarithm of the test part's own mean."""
    tight = 0.999
    plain = np.array(
        [
            -float(DV().validation_loss(scores(10, seed, partial(log_ratio, rho=tight), tight)))
            for seed in range(1_000)
        ]
    )
    excess = plain.mean() + math.log(1 - tight**2) / 2
    assert excess > 4 * plain.std() / math.sqrt(len(plain))


def test_contrast_is_capped_at_log_k():
    t = 1e3 * torch.eye(16, dtype=torch.float64)
    assert float(InfoNCE().terms(t, 0.0).mean()) == pytest.approx(math.log(16), rel=1e-12)


def leaning(x, y):
    """A score that prefers some y whatever x, so that being a rival matters."""
    return log_ratio(x, y) + 0.7 * y


@pytest.mark.parametrize("bound", BOUNDS, ids=repr)
def test_spread_of_the_terms_is_that_of_the_value(bound):
    level = float(log_mean_exp(scores(2_000, 99_999, leaning)))
    terms = [bound.terms(scores(100, seed, leaning), level) for seed in range(400)]
    claimed = np.sqrt(np.mean([float(t.var()) / 100 for t in terms]))
    seen = np.std([float(t.mean()) for t in terms])
    assert claimed == pytest.approx(seen, rel=0.12)


def test_gradient_is_corrected_by_the_running_mean():
    """Gradient of the loss: that of mean exp T over the running mean, less that of mean T."""
    objective = DV(rate=0.25).objective()
    first, second = scores(6, 0), scores(6, 1).requires_grad_()
    objective(first)
    objective(second).backward()
    off = 1.0 - torch.eye(6, dtype=torch.float64)
    means = [float((torch.exp(t) * off).sum() / 30) for t in (first, second.detach())]
    running = 0.75 * means[0] + 0.25 * means[1]
    expected = torch.exp(second.detach()) * off / 30 / running - torch.eye(6) / 6
    torch.testing.assert_close(second.grad, expected)


@pytest.mark.parametrize("bound", [DV(), NWJ()], ids=repr)
def test_training_survives_a_huge_score(bound):
    objective = bound.objective()
    objective(torch.zeros((4, 4)))
    t = torch.zeros((4, 4))
    t[0, 1] = 500.0
    t.requires_grad_()
    loss = objective(t)
    loss.backward()
    assert t.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(t.grad).all() and t.grad[0, 1] > 0


def test_settings_are_checked():
    for wrong in (lambda: DV(rate=0.0), lambda: DV(rate=1.5), lambda: SMILE(clip=0.0)):
        with pytest.raises(ValueError, match="must"):
            wrong()
    assert [b.sense for b in BOUNDS] == ["lower"] * 3 + ["point"] * 2
