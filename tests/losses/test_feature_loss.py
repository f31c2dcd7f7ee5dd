"""What holds for every loss between two maps of features."""

import pytest
import torch
from every_loss import OF_FEATURES, parametrize, random_maps

from sortkd_det.losses import FeatureLoss, FitNetLoss

losses = parametrize(OF_FEATURES)


def test_every_kind_of_loss_is_here():
    assert {'PKDLoss', 'CWDLoss'} <= {type(loss).__name__ for loss in OF_FEATURES.values()}


@losses
def test_equal_maps_lose_nothing_and_others_have_right_gradients(loss):
    student, teacher = random_maps((2, 2, 2, 3))
    assert float(loss(teacher, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(loss(student, teacher).detach()) > 0.01
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student)


@losses
def test_loss_weight_multiplies(loss):
    student, teacher = random_maps()
    plain, heavy = type(loss)(), type(loss)(loss_weight=6)
    assert torch.allclose(heavy(student, teacher), 6 * plain(student, teacher))


@losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    student, teacher = random_maps(dtype=dtype)
    expected = loss(student.float(), teacher.float())
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_product_of_matrices_is_not_rounded_under_autocast():
    class Gram(FeatureLoss):
        def map_loss(self, student, target):
            a, b = (maps.flatten(1) for maps in (student, target))
            return (a @ a.T - b @ b.T).square().mean()

    student, teacher = random_maps(dtype=torch.float32)
    expected = Gram()(student, teacher)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(Gram()(student, teacher), expected)


@losses
def test_a_weight_of_zero_is_allowed_and_gives_zero(loss):
    assert type(loss)(loss_weight=0)(*random_maps()) == 0


@losses
@pytest.mark.parametrize(
    ('student', 'target', 'error', 'message'),
    [
        ((2, 3, 4, 4), (2, 3, 4, 5), ValueError, r'\(2, 3, 4, 4\) and \(2, 3, 4, 5\); expected'),
        ((2, 3, 4), (2, 3, 4), ValueError, r'expected one shape, \(B, C, H, W\)'),
        ((2, 3, 4, 4), None, TypeError, 'of the target must be a floating Tensor, got NoneType'),
    ],
)
def test_what_is_no_pair_of_maps_is_refused(loss, student, target, error, message):
    with pytest.raises(error, match=message):
        loss(torch.zeros(student), None if target is None else torch.zeros(target))


def test_whole_numbers_are_no_features():
    with pytest.raises(TypeError, match=r'of the student must be a floating Tensor, got torch.int'):
        FitNetLoss()(torch.zeros(1, 1, 2, 2, dtype=torch.int64), torch.zeros(1, 1, 2, 2))


@losses
def test_a_negative_weight_is_refused(loss):
    with pytest.raises(ValueError, match='loss_weight'):
        type(loss)(loss_weight=-1)


def test_a_subclass_must_say_what_a_pair_of_maps_costs():
    with pytest.raises(NotImplementedError, match=r'FeatureLoss has no formula; .* map_loss'):
        FeatureLoss()(*random_maps())


@pytest.mark.parametrize(
    ('reduce', 'error', 'message'),
    [
        (lambda x: x, ValueError, r'one number, a Tensor of shape \(\), got \(2, 3, 4, 5\)'),
        (lambda x: x.mean((0, 2, 3)), ValueError, r'got \(3,\)'),
        (lambda x: x.mean().item(), TypeError, 'must give a Tensor, got float'),
    ],
)
def test_maps_that_are_not_reduced_to_one_number_are_refused(reduce, error, message):
    class OfMaps(FeatureLoss):
        def map_loss(self, student, target):
            return reduce((student - target).detach().square())

    with pytest.raises(error, match=f'^OfMaps.map_loss .*{message}'):
        OfMaps()(*random_maps((2, 3, 4, 5)))
