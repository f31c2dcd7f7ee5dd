"""From two matrices of logits to one number: the same as its parts, one after the other."""

import pytest
import torch
import torch.nn.functional as F
from parts import row_losses

from sortkd_det.functional import (
    bernoulli_divergence,
    divergence_loss,
    kl_divergence,
    reduce_rows,
    sort_logits,
)


def random_batch(num_rows=6, num_classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, target = 3 * torch.randn(2, num_rows, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    return student, target, labels, torch.rand(num_rows, generator=generator)


@pytest.mark.parametrize('ignore_index', [None, 3])
@pytest.mark.parametrize('sort', [False, True])
@pytest.mark.parametrize('kind', ['kd', 'dkd', 'bernoulli'])
def test_the_loss_is_that_of_its_parts(kind, sort, ignore_index):
    student, target, labels, weight = random_batch()
    student.requires_grad_()
    followed = sort_logits(target, labels, ignore_index) if sort else target
    rows = row_losses(kind, student, followed, labels, (1.0, 4.0), 2.0, 0.5)
    expected = 1.5 * reduce_rows(rows, weight, 3.0)
    loss = divergence_loss(
        student, target, labels, kind, (1.0, 4.0), 2.0, 0.5, weight, 3.0, 1.5, sort, ignore_index
    )
    assert torch.equal(loss, expected)
    assert torch.equal(*(torch.autograd.grad(x, student)[0] for x in (loss, expected)))


def test_a_bernoulli_is_a_softmax_over_the_logit_and_zero():
    student, target, _, _ = random_batch()
    found = bernoulli_divergence(student, target, 2.0)
    expected = torch.zeros(len(student))
    for column in range(student.shape[1]):
        pairs = [F.pad(logits[:, column : column + 1], (0, 1)) for logits in (student, target)]
        expected += kl_divergence(*pairs, 2.0)
    torch.testing.assert_close(found, expected)


def test_large_logits_of_a_bernoulli_stay_finite():
    student = torch.tensor([[100.0, -100.0]], requires_grad=True)
    loss = divergence_loss(student, -student.detach(), torch.tensor([0]), 'bernoulli')
    torch.testing.assert_close(loss, torch.tensor(200.0))
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -1.0]]))


def test_no_rows_give_a_zero_with_a_graph():
    student = torch.zeros(0, 5, requires_grad=True)
    loss = divergence_loss(student, torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert student.grad.shape == (0, 5)


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        ({'kind': 'softmax'}, ValueError, "kind must be one of 'kd', 'dkd', 'bernoulli'"),
        ({'temperatures': (0.0,)}, ValueError, 'temperature must be a finite number > 0'),
        ({'weight': torch.ones(3)}, ValueError, 'weight must have one number per row'),
    ],
)
def test_bad_arguments_are_named(settings, error, message):
    student, target, labels, _ = random_batch()
    with pytest.raises(error, match=message):
        divergence_loss(student, target, labels, **settings)
