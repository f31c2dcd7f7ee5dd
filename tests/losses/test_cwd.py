"""CWD against the paper's formula, spelled slowly."""

import math

import pytest
from every_loss import random_maps

from sortkd_det.losses import CWDLoss


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_cwd_is_the_divergence_over_the_places_of_each_channel(temperature):
    student, teacher = random_maps()
    total = 0
    for own, other in zip(
        student.detach().flatten(2).flatten(0, 1).tolist(),
        teacher.flatten(2).flatten(0, 1).tolist(),
        strict=True,
    ):
        q, p = ([math.exp(value / temperature) for value in values] for values in (own, other))
        q, p = ([value / sum(values) for value in values] for values in (q, p))
        total += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
    expected = temperature**2 * total / (2 * 3)
    assert float(CWDLoss(temperature)(student, teacher).detach()) == pytest.approx(expected)


def test_a_temperature_must_be_positive():
    with pytest.raises(ValueError, match='temperature'):
        CWDLoss(temperature=0)
