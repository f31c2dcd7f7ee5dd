"""Batches of a few rows, and the KD loss of each in plain Python."""

import math

import torch

from sortkd_det.distill import LogitBatch

BACKGROUND = 4
HEAD = {'activation': 'softmax', 'background': BACKGROUND}


def make_batch() -> LogitBatch:
    """Eight samples of four classes and background; some of weight 0."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, 8, 5, generator=generator)
    labels = torch.tensor([0, 4, 2, 4, 1, 3, 4, 0])
    weight = torch.tensor([1.0, 1.0, 0.5, 2.0, 0.0, 1.0, 0.0, 1.0])
    return LogitBatch(student.requires_grad_(), teacher, labels, weight, **HEAD)


def make_sigmoid_batch(divisor: str = 'positives') -> LogitBatch:
    """The same of a head with four classes and a sigmoid for each."""
    softmax = make_batch()
    return LogitBatch(
        softmax.student.detach()[:, :4].clone().requires_grad_(),
        softmax.teacher[:, :4],
        softmax.labels,
        softmax.weight,
        activation='sigmoid',
        background=BACKGROUND,
        divisor=divisor,
    )


def slow_kd(student, target):
    """KL divergence of each row at temperature 1, in plain Python."""
    student, target = student.detach().double().softmax(1), target.detach().double().softmax(1)
    return [
        sum(t * math.log(t / s) for t, s in zip(*rows, strict=True))
        for rows in zip(target.tolist(), student.tolist(), strict=True)
    ]


def slow_mean(losses, weights):
    """Weighted sum over the number of rows that count."""
    total = sum(loss * weight for loss, weight in zip(losses, weights, strict=True))
    return total / max(sum(weight > 0 for weight in weights), 1)


def value(loss):
    return float(loss.detach())
