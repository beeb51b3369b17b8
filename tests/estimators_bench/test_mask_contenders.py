"""Bounds on the information of masks hold where it is known, and the check can fail."""

import math
from dataclasses import replace

import numpy as np
import pytest

from estimators_bench.contenders.masks import CONTENDERS, Coded
from estimators_bench.tasks.masks import TASKS
from mitools.mask_information import CodeLengths

BY_NAME = {contender.name: contender for contender in CONTENDERS}
SMALL = [task for task in TASKS if task.size <= 1_000]
DRAWS, SEEDS = 16, 5


def check_bound_holds(contender, task):
    """The mean answer over seeds is on its side of the truth, as far as its spread can tell."""
    answers = [contender.answer(task, task.draw(DRAWS, seed), seed) for seed in range(SEEDS)]
    values = np.array([answer.nats for answer in answers])
    slack = 4 * values.std(ddof=1) / math.sqrt(SEEDS) + 1e-9
    if answers[0].sense == "upper":
        assert values.mean() + slack >= task.truth.nats
    if answers[0].sense == "lower":
        assert values.mean() - slack <= task.truth.nats
    for answer in answers:
        assert answer.confidence == 0.95
        if answer.sense == "upper":
            assert answer.interval[0] == -math.inf and answer.interval[1] >= answer.nats
        if answer.sense == "lower":
            assert answer.interval[1] == math.inf and answer.interval[0] <= answer.nats


@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.name)
def test_every_bound_holds_on_every_small_task(task):
    for contender in CONTENDERS:
        # The certified limits have tests of their own.
        if contender.takes(task) and "certified" not in contender.name:
            check_bound_holds(contender, task)


def test_a_code_fitted_on_its_own_mask_is_caught():
    def cheating(masks, layers):
        rates = np.clip(masks.mean(axis=0), 1e-9, 1 - 1e-9)
        lengths = -np.where(masks, np.log(rates), np.log1p(-rates)).sum(axis=1)
        return CodeLengths(tuple(lengths.tolist()), math.nan, len(masks))

    task = next(task for task in TASKS if task.name == "mask-threshold-1k")
    with pytest.raises(AssertionError):
        check_bound_holds(Coded("cheating", cheating), task)


def test_a_decoder_that_knows_the_answer_is_caught():
    class Peeking(type(BY_NAME["label-noise decoding"])):
        def answer(self, task, data, seed):
            told = np.eye(len(task.label_law))[data.labels]
            return super().answer(task, replace(data, shown=told), seed)

    task = next(task for task in TASKS if task.name == "mask-lookup-flipped-1k")
    with pytest.raises(AssertionError):
        check_bound_holds(Peeking(), task)


@pytest.mark.parametrize("name", ["silent-16", "silent-1k", "silent-1m", "silent-seeds-move-1k"])
def test_silent_masks_of_a_pruner_that_never_read_are_worth_exactly_nothing(name):
    task = next(task for task in TASKS if task.name == f"mask-{name}")
    for contender in ("independent code", "shared code", "shared code, certified limit"):
        answer = BY_NAME[contender].answer(task, task.draw(4, 0), 0)
        assert answer.nats == 0.0 and answer.interval == (-math.inf, 0.0)


def test_a_constant_mask_of_a_pruner_that_read_costs_next_to_nothing():
    task = next(task for task in TASKS if task.name == "mask-silent-but-read-1k")
    answer = BY_NAME["independent code"].answer(task, task.draw(16, 0), 0)
    assert 0.0 < answer.nats < 1e-3


def test_counting_charges_each_mask_for_its_own_count():
    task = next(task for task in TASKS if task.name == "mask-top-k-16")
    answer = BY_NAME["counting"].answer(task, task.draw(5, 0), 0)
    assert answer.nats == pytest.approx(math.log(math.comb(16, 4) * 17))
    assert answer.interval[1] == pytest.approx(answer.nats)


def test_label_entropy_is_that_of_the_law_and_taken_only_where_there_are_labels():
    contender = BY_NAME["label entropy"]
    task = next(task for task in TASKS if task.name == "mask-lookup-ten-1k")
    assert contender.answer(task, task.draw(3, 0), 0).nats == pytest.approx(50 * math.log(10))
    assert not contender.takes(next(task for task in TASKS if task.name == "mask-top-k-16"))


def test_decoding_reaches_most_of_what_a_lookup_tells():
    for name in ("lookup-1k", "lookup-flipped-1k", "lookup-ten-1k"):
        task = next(task for task in TASKS if task.name == f"mask-{name}")
        values = [
            BY_NAME["label-noise decoding"].answer(task, task.draw(DRAWS, seed), seed).nats
            for seed in range(3)
        ]
        assert np.mean(values) > 0.9 * task.truth.nats


def test_counted_masks_say_where_draws_end():
    task = next(task for task in TASKS if task.name == "mask-threshold-1k")
    answer = BY_NAME["distinct masks, plug-in"].answer(task, task.draw(16, 0), 0)
    assert answer.nats == pytest.approx(math.log(16)) and answer.sense == "point"
    assert "16 distinct masks in 16 draws" in answer.notes[0]


def test_shared_causes_are_paid_for_once_by_the_code_of_groups():
    task = next(task for task in TASKS if task.name == "mask-shared-1k")
    data = task.draw(32, 0)
    assert BY_NAME["independent code"].answer(task, data, 0).nats > 9 * task.truth.nats
    assert BY_NAME["shared code"].answer(task, data, 0).nats < 1.2 * task.truth.nats


def test_channels_are_paid_for_once_by_the_code_of_whole_rows():
    task = next(task for task in TASKS if task.name == "mask-channels-1k")
    contender = BY_NAME["channel code, certified limit"]
    check_bound_holds(contender, task)
    data = task.draw(DRAWS, 0)
    answer, others = contender.answer(task, data, 0), BY_NAME["shared code, certified limit"]
    assert answer.nats < 1.2 * task.truth.nats < 0.2 * others.answer(task, data, 0).nats
    assert answer.interval[1] < 0.5 * others.answer(task, data, 0).interval[1]
    assert not contender.takes(next(task for task in TASKS if task.name == "mask-shared-1k"))


@pytest.mark.parametrize("rate", ["10", "50"])
def test_certified_limits_hold_on_rare_bits(rate):
    task = next(task for task in TASKS if task.name == f"mask-one-bit-in-{rate}-1k")
    contender = BY_NAME["shared code, certified limit"]
    limits = [contender.answer(task, task.draw(8, s), s).interval[1] for s in range(10)]
    assert min(limits) > task.truth.nats
