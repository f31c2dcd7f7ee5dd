import pytest
import torch

from sortkd_det.losses import KDLoss


def test_starts_at_temperature_and_weight_one(figures):
    student, target, labels = (figures(0, name) for name in ('student', 'teacher', 'labels'))
    assert torch.equal(KDLoss()(student, target, labels), KDLoss(1.0, 1.0)(student, target, labels))


@pytest.mark.parametrize('temperature', [0, -4, float('nan'), float('inf')])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match='temperature must be a finite number > 0'):
        KDLoss(temperature=temperature)


@pytest.mark.parametrize('temperature', [True, '4', None])
def test_a_temperature_that_is_no_number_is_refused(temperature):
    with pytest.raises(TypeError, match='temperature must be a number'):
        KDLoss(temperature=temperature)
