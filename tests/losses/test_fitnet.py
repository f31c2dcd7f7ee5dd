"""The mean squared difference of features, spelled slowly."""

import pytest
from every_loss import random_maps

from sortkd_det.losses import FitNetLoss


def test_fitnet_is_the_mean_squared_difference():
    student, teacher = random_maps()
    pairs = zip(student.detach().flatten().tolist(), teacher.flatten().tolist(), strict=True)
    expected = sum((s - t) ** 2 for s, t in pairs) / (2 * 3 * 4 * 5)
    assert float(FitNetLoss()(student, teacher).detach()) == pytest.approx(expected)
