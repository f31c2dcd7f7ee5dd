"""Every logit loss in half, single and double precision."""

import pytest
import torch
from every_loss import half_dtypes, losses, random_pair, value_and_gradients


@losses
@half_dtypes
def test_half_precision_inputs_are_computed_in_single_precision(loss, dtype):
    student, target, labels = random_pair(dtype=dtype)
    expected = loss(student.float(), target.float(), labels)
    student.requires_grad_()
    value = loss(student, target, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.dtype == dtype
    assert torch.equal(value.detach(), expected.detach())


SIGNS = torch.tensor([[1, -1, -1, 1], [-1, 1, -1, -1], [1, 1, 1, -1], [-1, -1, -1, -1]])
DOMINANT = 2 * torch.eye(4).long() - 1
LARGE = {'mixed': SIGNS, 'one class dominant': DOMINANT}
large_logits = pytest.mark.parametrize('signs', LARGE.values(), ids=LARGE.keys())


@losses
@large_logits
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_logits_of_a_hundred_give_finite_values_and_gradients(loss, signs, dtype):
    for student in (100 * signs, -100 * signs, 100 * signs.flip(1)):
        for labels in (torch.tensor([1, 0, 3, 2]), torch.arange(4)):
            value, gradients = value_and_gradients(
                loss, student.to(dtype), (100 * signs).to(dtype), labels
            )
            assert value.isfinite()
            for gradient in gradients:
                assert gradient.isfinite().all()


@losses
@large_logits
@half_dtypes
def test_autocast_gives_finite_values_and_gradients_in_single_precision(loss, signs, dtype):
    features, weight = torch.eye(4), (10.0 * signs.flip(1)).requires_grad_()
    with torch.autocast('cpu', dtype=dtype):
        student = features @ weight * 10
        assert student.dtype == dtype
        value = loss(student, (100 * signs).to(dtype), torch.tensor([1, 0, 3, 2]))
        expected = loss(student.float(), 100.0 * signs, torch.tensor([1, 0, 3, 2]))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert torch.equal(value, expected)
    assert weight.grad.isfinite().all()


@losses
@half_dtypes
def test_autocast_changes_no_single_precision_loss(loss, dtype):
    inputs = [*random_pair(), torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0])]
    expected, expected_gradients = value_and_gradients(loss, *inputs)
    sides = [inputs[0].requires_grad_(), inputs[1].requires_grad_()]
    with torch.autocast('cpu', dtype=dtype):
        value = loss(*inputs)
    gradients = torch.autograd.grad(value, sides)
    assert torch.equal(value, expected)
    assert all(map(torch.equal, gradients, expected_gradients))


@losses
def test_the_loss_takes_the_students_precision(loss):
    student, target, labels = random_pair()
    for wide, narrow in ((torch.float32, torch.float16), (torch.float64, torch.float32)):
        assert loss(student.to(wide), target.to(narrow), labels).dtype == wide
        assert loss(student.to(narrow), target.to(wide), labels).dtype == torch.float32


@losses
def test_gradcheck_through_both_sides(loss):
    # Without θ, where there is one: its gradient is wrong on purpose.
    student, target, labels = random_pair(num_rows=3, num_classes=5, dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s, t: loss(s, t, labels, weight, 2.0),
        (student.requires_grad_(), target.requires_grad_()),
    )
