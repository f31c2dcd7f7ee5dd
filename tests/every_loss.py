"""Every registered loss by the kind of what it knows, and random logits and maps for them."""

import inspect

import pytest
import torch

from sortkd_det.losses import (
    ClassGramLoss,
    DKDLoss,
    FeatureLoss,
    KDLoss,
    LearnableTemperature,
    LogitLoss,
    RankingLoss,
    TemperedLoss,
    TTMLoss,
)
from sortkd_det.registry import MODELS

SHIPPED = [
    kind
    for kind in MODELS.module_dict.values()
    if issubclass(kind, LogitLoss | FeatureLoss)
    and kind.__module__.startswith('sortkd_det.losses.')
]
REGISTERED = [kind for kind in SHIPPED if issubclass(kind, LogitLoss)]
TEMPERED = [kind for kind in REGISTERED if issubclass(kind, TemperedLoss)]

# Settings that take another way through the code than those that a loss has by itself.
OTHERS = {
    'KD at several temperatures': KDLoss(temperature=[1, 2, 6]),
    'KD at a learned temperature': KDLoss(temperature=LearnableTemperature()),
    'DKD of the other classes': DKDLoss(beta=8, temperature=2),
    'WTTM': TTMLoss(weighted=True),
    'Ranking l1': RankingLoss('l1'),
    'Ranking spearman': RankingLoss('spearman'),
    'ClassGram of some classes': ClassGramLoss(temperature=2, confidence_quantile=0.5),
}


def usual(kinds):
    """Each kind of loss once, by its name, those with a temperature at 2."""
    return {
        kind.__name__.removesuffix('Loss'): kind(
            **({'temperature': 2} if 'temperature' in inspect.signature(kind).parameters else {})
        )
        for kind in kinds
    }


OF_FEATURES = usual(kind for kind in SHIPPED if issubclass(kind, FeatureLoss))
LOSSES = usual(REGISTERED) | OTHERS
# One number a batch.
OF_BATCH = {
    name: loss for name, loss in LOSSES.items() if type(loss).batch_loss is not LogitLoss.batch_loss
}
# One number a row as well, but it takes the whole batch to know it.
IN_BATCH = {'BatchGram': LOSSES['BatchGram']}
# A row's loss is its own affair.
BY_ROW = {name: loss for name, loss in LOSSES.items() if name not in OF_BATCH | IN_BATCH}


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


def random_maps(shape=(2, 3, 4, 5), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return (3 * student + 1).to(dtype).requires_grad_(), (2 * teacher - 4).to(dtype)


def value_and_gradients(loss, student, target, *arguments):
    """The loss and what reaches both sides."""
    sides = [student.detach().clone().requires_grad_(), target.detach().clone().requires_grad_()]
    value = loss(*sides, *arguments)
    return value.detach(), torch.autograd.grad(value, sides)


def slow_pearson(a, b):
    a, b = (x - sum(x) / len(x) for x in (a, b))
    return sum(a * b) / (sum(a * a).sqrt() * sum(b * b).sqrt())
