"""PKD against the paper's formula, spelled slowly."""

import math

import pytest
import torch
from every_loss import random_maps

from sortkd_det.losses import PKDLoss


def channels(features):
    """The values of each channel, over images and places."""
    return features.detach().transpose(0, 1).flatten(1).tolist()


def moments(values):
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values)


def test_pkd_is_one_minus_pearsons_correlation_of_each_channel():
    student, teacher = random_maps()
    total = 0
    for own, other in zip(channels(student), channels(teacher), strict=True):
        (a, squares_a), (b, squares_b) = moments(own), moments(other)
        products = sum((x - a) * (y - b) for x, y in zip(own, other, strict=True))
        total += 1 - products / math.sqrt(squares_a * squares_b)
    assert float(PKDLoss()(student, teacher).detach()) == pytest.approx(total / 3, rel=1e-5)


def test_pkd_is_half_the_squared_difference_of_standardised_maps():
    # As the authors' code: deviations over n - 1 values, which makes it (n - 1) / n of ours.
    student, teacher = random_maps()
    total, n = 0, 2 * 4 * 5
    for own, other in zip(channels(student), channels(teacher), strict=True):
        (a, squares_a), (b, squares_b) = moments(own), moments(other)
        deviations = [math.sqrt(squares / (n - 1)) + 1e-6 for squares in (squares_a, squares_b)]
        for x, y in zip(own, other, strict=True):
            total += ((x - a) / deviations[0] - (y - b) / deviations[1]) ** 2
    expected = total / (3 * n) / 2 * n / (n - 1)
    assert float(PKDLoss()(student, teacher).detach()) == pytest.approx(expected, rel=1e-5)


def test_pkd_knows_neither_shift_nor_scale_of_a_channel():
    _, teacher = random_maps()
    scale = torch.tensor([0.5, 3.0, 20.0], dtype=torch.float64)[:, None, None]
    assert float(PKDLoss()(teacher * scale - 7, teacher)) == pytest.approx(0, abs=1e-6)
    assert float(PKDLoss()(-teacher, teacher)) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 3, 1, 1)])
def test_a_channel_without_variance_has_finite_gradients(shape):
    student, teacher = random_maps(shape)
    flat = student.detach().clone()
    flat[:, 0] = 0.25
    flat.requires_grad_()
    loss = PKDLoss()(flat, teacher)
    loss.backward()
    assert loss.isfinite()
    assert flat.grad.isfinite().all()
