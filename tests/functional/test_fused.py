"""From two matrices of logits to one number: the same as its parts, one after the other."""

import pytest
import torch
import torch.nn.functional as F
from parts import row_losses

from sortkd_det.functional import (
    Divergence,
    Sort,
    bernoulli_divergence,
    fused,
    fused_loss,
    kl_divergence,
    reduce_rows,
    sort_logits,
    sorts_in_kernel,
)
from sortkd_det.losses import DKDLoss, KDLoss

# What the kernel computes by the name of its kind, and the loss that asks for it.
LOSSES = {
    'kd': (KDLoss([1.0, 4.0], loss_weight=1.5), 'softmax'),
    'dkd': (DKDLoss(2.0, 0.5, [1.0, 4.0], loss_weight=1.5), 'softmax'),
    'bernoulli': (KDLoss([1.0, 4.0], loss_weight=1.5), 'sigmoid'),
}


def random_batch(num_rows=6, num_classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, target = 3 * torch.randn(2, num_rows, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    return student, target, labels, torch.rand(num_rows, generator=generator)


@pytest.mark.parametrize('ignore_index', [None, 3])
@pytest.mark.parametrize('sort', [False, True])
@pytest.mark.parametrize('kind', LOSSES)
def test_the_loss_is_that_of_its_parts(kind, sort, ignore_index):
    student, target, labels, weight = random_batch()
    student.requires_grad_()
    followed = sort_logits(target, labels, ignore_index) if sort else target
    rows = row_losses(kind, student, followed, labels, (1.0, 4.0), 2.0, 0.5)
    expected = 1.5 * reduce_rows(rows, weight, 3.0)
    loss, activation = LOSSES[kind]
    assert loss.divergence(activation) == Divergence(
        kind, (1.0, 4.0), *((2.0, 0.5) if kind == 'dkd' else ()), loss_weight=1.5
    )
    rewrite = Sort(ignore_index) if sort else None
    value = loss(student, target, labels, weight, 3.0, rewrite, activation)
    assert torch.equal(value, expected)
    assert torch.equal(*(torch.autograd.grad(x, student)[0] for x in (value, expected)))


def test_there_is_a_kernel_on_cuda_alone_and_for_a_sort_of_all_columns():
    student, target, labels, weight = random_batch()
    assert fused_loss(student, target, labels, weight, None, Divergence('kd'), Sort()) is None
    assert sorts_in_kernel(Sort(3))
    assert not sorts_in_kernel(Sort(None, background=3))
    assert not sorts_in_kernel(sort_logits)


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
    labels = torch.tensor([0])
    loss = KDLoss()(student, -student.detach(), labels, activation='sigmoid')
    torch.testing.assert_close(loss, torch.tensor(200.0))
    (gradient,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -1.0]]))


@pytest.mark.parametrize(
    ('dtype', 'avg_factor', 'unit'),
    [
        pytest.param(torch.float16, None, 2.0**21, id='rows'),  # 2 · 2 ** 21 / 4096 is 2 ** 10
        pytest.param(torch.float16, 4096.0, 2.0**21, id='a number'),
        pytest.param(torch.float16, 3.0, 2.0**10, id='a small number'),
        pytest.param(torch.float16, torch.tensor(4096.0), 2.0**9, id='what the host does not know'),
        pytest.param(torch.bfloat16, None, 1.0, id='bfloat16'),
        pytest.param(torch.float32, None, 1.0, id='float32'),
    ],
)
def test_small_gradients_of_float16_are_kept_as_large_numbers(dtype, avg_factor, unit):
    student = torch.zeros(4096, 3, dtype=dtype)
    assert fused._unit_of(student, avg_factor, Divergence('kd')) == unit
    assert fused._unit_of(student, avg_factor, Divergence('kd', loss_weight=0.0)) >= unit


def test_a_compiled_loss_has_the_unit_of_each_batch():
    """Batches of other sizes are no reason to compile anew; the unit follows them all the same."""
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def scaled(student):
        return student * fused._unit_of(student, None, Divergence('kd'))

    compiled = torch.compile(scaled, fullgraph=True, backend=keep)
    for rows in (8, 100, 4096, 5000, 70_000, 3):
        student = torch.ones(rows, 3, dtype=torch.float16)
        assert torch.equal(compiled(student), scaled(student))
    assert len(graphs) == 2  # of one size, then of any
    torch.compiler.reset()
