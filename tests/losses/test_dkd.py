import pytest
import torch

from sortkd_det.losses import DKDLoss, KDLoss


def test_starts_at_the_authors_settings_for_coco(figures):
    student, target, labels = (figures(1, name) for name in ('student', 'teacher', 'labels'))
    loss = DKDLoss()(student, target, labels)
    assert float(loss) == pytest.approx(float(figures(1, 'dkd_a1_b0.25_T1')), rel=1e-5)


def test_alpha_and_beta_weigh_the_two_halves(figures):
    arguments = [figures(0, name).double() for name in ('student', 'teacher')]
    arguments.append(figures(0, 'labels'))
    tckd = DKDLoss(alpha=1, beta=0)(*arguments)
    nckd = DKDLoss(alpha=0, beta=1)(*arguments)
    torch.testing.assert_close(DKDLoss(alpha=3, beta=5)(*arguments), 3 * tckd + 5 * nckd)
    assert not torch.isclose(tckd, nckd)


def test_of_two_classes_it_is_alpha_times_kd():
    generator = torch.Generator().manual_seed(0)
    student, target = torch.randn(2, 6, 2, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    torch.testing.assert_close(
        DKDLoss(alpha=2, beta=7, temperature=3)(student, target, labels),
        2 * KDLoss(temperature=3)(student, target, labels),
    )


@pytest.mark.parametrize('name', ['alpha', 'beta', 'temperature'])
def test_unfit_settings_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f'{name} must be a finite number'):
        DKDLoss(**{name: -1})
    for value in (True, '1', None):
        with pytest.raises(TypeError, match=f'{name} must be a number'):
            DKDLoss(**{name: value})


def test_a_temperature_of_zero_is_refused_and_a_half_of_weight_zero_is_not():
    with pytest.raises(ValueError, match='temperature must be a finite number > 0'):
        DKDLoss(temperature=0)
    DKDLoss(alpha=0)
    DKDLoss(beta=0)
