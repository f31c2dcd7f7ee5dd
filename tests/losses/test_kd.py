import pytest
import torch

from sortkd_det.functional import Divergence
from sortkd_det.losses import DKDLoss, KDLoss, LearnableTemperature


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


# -- what the kernel on CUDA is told to compute ------------------------------


@pytest.mark.parametrize(
    ('loss', 'activation', 'expected'),
    [
        (KDLoss(2, 3), 'softmax', Divergence('kd', (2,), 1, 1, loss_weight=3)),
        (KDLoss([1, 4]), 'softmax', Divergence('kd', (1, 4), 1, 1, 1)),
        (KDLoss(2, 3), 'sigmoid', Divergence('bernoulli', (2,), 1, 1, loss_weight=3)),
        (
            DKDLoss(alpha=5, beta=7, temperature=[1, 2], loss_weight=3),
            'softmax',
            Divergence('dkd', (1, 2), alpha=5, beta=7, loss_weight=3),
        ),
    ],
)
def test_the_kernel_is_told_the_settings_of_the_loss(loss, activation, expected):
    assert loss.divergence(activation) == expected


class NewKD(KDLoss):
    """A subclass, which may compute anything."""


class NewDKD(DKDLoss):
    """Another."""


@pytest.mark.parametrize(
    ('loss', 'activation'),
    [
        (KDLoss(LearnableTemperature()), 'softmax'),
        (KDLoss(LearnableTemperature()), 'sigmoid'),
        (KDLoss(focus=1), 'sigmoid'),
        (NewKD(), 'softmax'),
        (DKDLoss(temperature=LearnableTemperature()), 'softmax'),
        (DKDLoss(), 'sigmoid'),
        (NewDKD(), 'softmax'),
    ],
)
def test_the_kernel_is_given_no_loss_that_it_does_not_know(loss, activation):
    assert loss.divergence(activation) is None
