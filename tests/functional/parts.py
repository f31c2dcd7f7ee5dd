"""What tests of several functions share: a fused loss in parts, logits laid out otherwise."""

import pytest

from sortkd_det.functional import bernoulli_divergence, decoupled_kd, kl_divergence

views_of_the_same = pytest.mark.parametrize(
    'view',
    [lambda x: x.t().contiguous().t(), lambda x: x.repeat_interleave(2, 1)[:, ::2]],
    ids=['transposed', 'strided'],
)


def row_losses(kind, student, target, labels, temperatures, alpha, beta):
    """The loss of each row, (N,), one function of the package after the other."""
    rows = 0
    for temperature in temperatures:
        if kind == 'kd':
            rows = rows + kl_divergence(student, target, temperature)
        elif kind == 'dkd':
            tckd, nckd = decoupled_kd(student, target, labels, temperature)
            rows = rows + alpha * tckd + beta * nckd
        else:
            rows = rows + bernoulli_divergence(student, target, temperature)
    return rows
