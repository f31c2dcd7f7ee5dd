"""DIST: relations between classes and within them."""

import pytest
import torch
from every_loss import random_pair, slow_pearson

from sortkd_det.losses import DISTLoss


def test_dist_adds_both_relations_by_their_weights():
    student, target, labels = random_pair(dtype=torch.float64)
    for temperature in (1, 3):
        a, b = ((x / temperature).softmax(1) for x in (student, target))
        between = sum(1 - slow_pearson(a[i], b[i]) for i in range(5)) / 5
        within = sum(1 - slow_pearson(a[:, c], b[:, c]) for c in range(7)) / 7
        loss = DISTLoss(beta=2, gamma=0.3, temperature=temperature)
        expected = temperature**2 * (2 * between + 0.3 * within)
        torch.testing.assert_close(loss(student, target, labels), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize('scale', [1.0, 0.01])
def test_within_a_class_the_shares_of_the_weights_count_however_small_they_are(scale):
    student, target, labels = random_pair(dtype=torch.float64)
    weight = scale * torch.tensor([1.0, 0.0, 0.5, 2.0, 0.5], dtype=torch.float64)
    share = (weight / weight.sum()).tolist()

    def covariance(x, y):
        a, b = (sum(p * v for p, v in zip(share, values, strict=True)) for values in (x, y))
        return sum(p * (v - a) * (w - b) for p, v, w in zip(share, x, y, strict=True))

    columns = zip(student.softmax(1).T.tolist(), target.softmax(1).T.tolist(), strict=True)
    within = sum(
        1 - covariance(x, y) / (covariance(x, x) * covariance(y, y)) ** 0.5 for x, y in columns
    )
    found = DISTLoss(beta=0)(student, target, labels, weight)
    assert float(found) == pytest.approx(within / 7, rel=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'beta': -1}, ValueError, 'beta must be a finite number ≥ 0'),
        ({'gamma': None}, TypeError, 'gamma must be a number'),
    ],
)
def test_unfit_settings_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        DISTLoss(**arguments)
