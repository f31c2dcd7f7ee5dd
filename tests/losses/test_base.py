"""What holds for every logit loss."""

import pytest
import torch
from mmdet.models.losses.utils import weight_reduce_loss

from sortkd_det.losses import DKDLoss, KDLoss, LogitLoss

LOSSES = [KDLoss(temperature=2), DKDLoss(beta=8, temperature=2)]
losses = pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: type(loss).__name__)


def random_pair(num_rows=5, num_classes=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    student, target = torch.randn(2, num_rows, num_classes, generator=generator).to(dtype)
    return student, target, torch.randint(num_classes, (num_rows,), generator=generator)


# -- weights and the average -------------------------------------------------


@losses
@pytest.mark.parametrize('weight', [None, torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])])
@pytest.mark.parametrize('avg_factor', [None, 3.0, 0.0, torch.tensor(2.5)])
def test_weighs_and_averages_as_mmdetection_does(loss, weight, avg_factor):
    student, target, labels = random_pair()
    rows = loss.row_losses(student, target, labels)
    assert rows.shape == (5,)
    torch.testing.assert_close(
        loss(student, target, labels, weight, avg_factor),
        weight_reduce_loss(rows, weight, avg_factor=avg_factor),
    )


@losses
def test_rows_are_independent(loss):
    student, target, labels = random_pair()
    singly = [
        loss(student[i : i + 1], target[i : i + 1], labels[i : i + 1]) for i in range(len(labels))
    ]
    torch.testing.assert_close(loss(student, target, labels), torch.stack(singly).mean())


@pytest.mark.parametrize('cls', [KDLoss, DKDLoss])
def test_loss_weight_multiplies_value_and_gradient(cls):
    student, target, labels = random_pair()
    student.requires_grad_()
    plain, weighted = cls()(student, target, labels), cls(loss_weight=2.5)(student, target, labels)
    torch.testing.assert_close(weighted, 2.5 * plain)
    (plain_grad,) = torch.autograd.grad(plain, student)
    (weighted_grad,) = torch.autograd.grad(weighted, student)
    torch.testing.assert_close(weighted_grad, 2.5 * plain_grad)
    assert float(cls(loss_weight=0)(student, target, labels).detach()) == 0


@losses
def test_weights_of_zero_give_zero_and_no_gradient(loss):
    student, target, labels = random_pair()
    student.requires_grad_()
    value = loss(student, target, labels, torch.zeros(5), 0.0)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(student.grad, torch.zeros_like(student))


@losses
@pytest.mark.parametrize('avg_factor', [None, 0.0, 1.0])
@pytest.mark.parametrize('weight', [None, torch.zeros(0)])
def test_no_rows_give_zero_with_a_graph(loss, weight, avg_factor):
    student, target, labels = random_pair(num_rows=0)
    student.requires_grad_()
    value = loss(student, target, labels, weight, avg_factor)
    value.backward()
    assert float(value.detach()) == 0
    assert student.grad.shape == (0, 7)


@losses
@pytest.mark.parametrize(('num_rows', 'num_classes'), [(1, 7), (5, 2), (1, 2)])
def test_one_row_and_two_classes_are_enough(loss, num_rows, num_classes):
    student, target, labels = random_pair(num_rows, num_classes)
    value = loss(student, target, labels)
    assert value.shape == ()
    assert float(value) > 0


# -- precision ---------------------------------------------------------------


@losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_single_precision(loss, dtype):
    student, target, labels = random_pair(dtype=dtype)
    expected = loss(student.float(), target.float(), labels)
    student.requires_grad_()
    value = loss(student, target, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.dtype == dtype
    assert torch.equal(value.detach(), expected)


@losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_logits_of_a_hundred_give_finite_values_and_gradients(loss, dtype):
    signs = torch.tensor([[1, -1, -1, 1], [-1, 1, -1, -1], [1, 1, 1, -1], [-1, -1, -1, -1]])
    labels = torch.tensor([1, 0, 3, 2])
    for student in (100 * signs, -100 * signs, 100 * signs.flip(1)):
        student = student.to(dtype).requires_grad_()
        value = loss(student, (100 * signs).to(dtype), labels)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(student.grad).all()


@losses
def test_the_target_takes_the_students_precision(loss):
    student, target, labels = random_pair()
    for wide, narrow in ((torch.float32, torch.float16), (torch.float64, torch.float32)):
        assert loss(student.to(wide), target.to(narrow), labels).dtype == wide
        assert loss(student.to(narrow), target.to(wide), labels).dtype in (narrow, torch.float32)


@losses
def test_gradcheck_through_both_sides(loss):
    student, target, labels = random_pair(num_rows=3, num_classes=5, dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s, t: loss(s, t, labels, weight, 2.0),
        (student.requires_grad_(), target.requires_grad_()),
    )


# -- arguments ---------------------------------------------------------------


@losses
def test_inputs_are_unchanged(loss):
    inputs = [*random_pair(), torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])]
    copies = [tensor.clone() for tensor in inputs]
    loss(*inputs)
    for tensor, copy in zip(inputs, copies, strict=True):
        assert torch.equal(tensor, copy)


@losses
@pytest.mark.parametrize('shape', [(4, 7), (5, 6), (5,), (5, 7, 1)])
def test_shapes_that_differ_are_refused(loss, shape):
    student, _, labels = random_pair()
    with pytest.raises(ValueError, match='shape'):
        loss(student, torch.zeros(shape), labels)


@losses
@pytest.mark.parametrize('shape', [(4,), (5, 1), (5, 7), ()])
def test_a_weight_that_is_not_one_number_a_row_is_refused(loss, shape):
    student, target, labels = random_pair()
    with pytest.raises(ValueError, match=r'weight must have one number per row, shape \(5,\)'):
        loss(student, target, labels, torch.ones(shape))


@losses
def test_logits_that_are_none_are_refused(loss):
    student, target, labels = random_pair()
    with pytest.raises(TypeError, match='student must be of a floating dtype'):
        loss(student.long(), target, labels)
    with pytest.raises(TypeError, match='target must be a Tensor'):
        loss(student, None, labels)


@pytest.mark.parametrize('cls', [KDLoss, DKDLoss])
def test_a_loss_weight_below_zero_or_no_number_is_refused(cls):
    for value in (-0.1, float('nan'), float('inf')):
        with pytest.raises(ValueError, match='loss_weight must be a finite number ≥ 0'):
            cls(loss_weight=value)
    for value in (True, '1', None):
        with pytest.raises(TypeError, match='loss_weight must be a number'):
            cls(loss_weight=value)


def test_a_subclass_must_say_what_a_row_costs():
    with pytest.raises(NotImplementedError):
        LogitLoss()(*random_pair())
