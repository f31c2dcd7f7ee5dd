"""Every loss by the kind of what it knows, and random logits for them."""

import pytest
import torch

from sortkd_det.losses import (
    BatchGramLoss,
    ClassGramLoss,
    DISTLoss,
    DKDLoss,
    KDLoss,
    KendallLoss,
    LearnableTemperature,
    NKDLoss,
    PLDLoss,
    RankingLoss,
    TTMLoss,
)

TEMPERED = [KDLoss, DKDLoss, NKDLoss, DISTLoss, BatchGramLoss, ClassGramLoss, PLDLoss]

# A row's loss is its own affair.
BY_ROW = {
    'KD': KDLoss(temperature=2),
    'KD at several temperatures': KDLoss(temperature=[1, 2, 6]),
    'KD at a learned temperature': KDLoss(temperature=LearnableTemperature()),
    'DKD': DKDLoss(beta=8, temperature=2),
    'NKD': NKDLoss(temperature=2),
    'TTM': TTMLoss(),
    'WTTM': TTMLoss(weighted=True),
    'PLD': PLDLoss(temperature=2),
    'Ranking l2': RankingLoss(),
    'Ranking l1': RankingLoss('l1'),
    'Ranking spearman': RankingLoss('spearman'),
    'Kendall': KendallLoss(),
}
# One number a row as well, but it takes the whole batch to know it.
IN_BATCH = {'BatchGram': BatchGramLoss(temperature=2)}
# One number a batch.
OF_BATCH = {
    'DIST': DISTLoss(temperature=2),
    'ClassGram': ClassGramLoss(temperature=2),
    'ClassGram of some classes': ClassGramLoss(temperature=2, confidence_quantile=0.5),
}
LOSSES = BY_ROW | IN_BATCH | OF_BATCH


def parametrize(named):
    return pytest.mark.parametrize('loss', named.values(), ids=named.keys())


losses = parametrize(LOSSES)
losses_by_row = parametrize(BY_ROW)
losses_with_rows = parametrize(BY_ROW | IN_BATCH)
half_dtypes = pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])


def random_pair(num_rows=5, num_classes=7, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, target = torch.randn(2, num_rows, num_classes, generator=generator).to(dtype)
    return student, target, torch.randint(num_classes, (num_rows,), generator=generator)


def value_and_gradients(loss, student, target, *arguments):
    """The loss and what reaches both sides."""
    sides = [student.detach().clone().requires_grad_(), target.detach().clone().requires_grad_()]
    value = loss(*sides, *arguments)
    return value.detach(), torch.autograd.grad(value, sides)


def slow_pearson(a, b):
    a, b = (x - sum(x) / len(x) for x in (a, b))
    return sum(a * b) / (sum(a * a).sqrt() * sum(b * b).sqrt())
