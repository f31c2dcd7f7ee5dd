import pytest
import torch

from sortkd_det.losses import KDLoss
from sortkd_det.processors import SortLogits


@pytest.mark.parametrize('batch', [0, 1, 2])
@pytest.mark.parametrize('temperature', [1, 4])
@pytest.mark.parametrize('sorted_first', [False, True])
def test_value_and_gradient_equal_the_authors_figures(figures, batch, temperature, sorted_first):
    student, target = figures(batch, 'student').requires_grad_(), figures(batch, 'teacher')
    labels = figures(batch, 'labels')
    name = f'kd_T{temperature}'
    if sorted_first:
        target = SortLogits()(target, labels)
        name = f'kd_sort_T{temperature}'
    loss = KDLoss(temperature)(student, target, labels)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(figures(batch, name)), rel=1e-5)
    gradient = figures(batch, f'{name}_grad')
    assert float((student.grad - gradient).norm() / gradient.norm()) < 1e-5


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
