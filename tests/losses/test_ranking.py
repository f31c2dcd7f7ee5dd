"""Losses on ranks: soft ranks and Kendall."""

import pytest
import torch
from every_loss import random_pair, slow_pearson

from sortkd_det.losses import KendallLoss, RankingLoss


def test_ranking_losses_are_distances_between_soft_ranks():
    from sortkd_det.functional import soft_rank

    student, target, labels = random_pair(dtype=torch.float64)
    for strength in (0.2, 5.0):
        r, t = soft_rank(student, strength), soft_rank(target, strength)
        expected = {
            'l2': sum(float((r[i] - t[i]).square().sum()) / 7 for i in range(5)) / 5,
            'l1': sum(float((r[i] - t[i]).abs().sum()) / 7 for i in range(5)) / 5,
            'spearman': sum(1 - float(slow_pearson(r[i], t[i])) for i in range(5)) / 5,
        }
        for distance, value in expected.items():
            loss = RankingLoss(distance, strength)(student, target, labels)
            assert float(loss) == pytest.approx(value, rel=1e-6)


def test_spearman_of_the_same_order_is_zero_and_of_the_reverse_two():
    student, _, labels = random_pair(dtype=torch.float64)
    loss = RankingLoss('spearman', strength=1e-6)
    assert float(loss(student, student.exp(), labels)) == pytest.approx(0, abs=1e-6)
    assert float(loss(student, -student, labels)) == pytest.approx(2)


def test_kendall_of_the_same_order_is_zero_and_of_the_reverse_two():
    student, _, labels = random_pair(dtype=torch.float64)
    loss = KendallLoss(steepness=1e9)
    assert float(loss(student, student.exp(), labels)) == pytest.approx(0, abs=1e-6)
    assert float(loss(student, -student, labels)) == pytest.approx(2)


@pytest.mark.parametrize(
    ('cls', 'arguments', 'message'),
    [
        (RankingLoss, {'distance': 'L2'}, "distance must be one of 'l2', 'l1', 'spea"),
        (RankingLoss, {'strength': 0}, 'strength must be a finite number > 0'),
        (KendallLoss, {'steepness': -1}, 'steepness must be a finite number > 0'),
    ],
)
def test_unfit_settings_are_refused_by_name(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)
