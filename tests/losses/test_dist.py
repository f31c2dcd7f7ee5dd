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
