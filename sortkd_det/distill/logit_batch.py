"""What an adapter hands over: the logits of the same samples from both models."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass
class LogitBatch:
    """Student and teacher logits of one batch.

    Attributes:
        student: (N, C) logits, with the student's graph.
        teacher: (N, C) logits of the same samples, without a graph.
        labels: (N,) int64 in [0, C); ``background`` among them.
        weight: (N,) weight that the head gives each sample in its own loss.
        background: the label that means "no object", or None where there is none.
        activation: what the head makes of its logits: ``'softmax'``.
        find_ground_truth: yields (N,) bool, True where a sample is not predicted
            but a ground-truth box that the sampler added; None where that
            cannot happen.
        second: the same samples in a second, strongly augmented view; None where
            the data gives one view.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    weight: Tensor
    background: int | None = None
    activation: str = 'softmax'
    find_ground_truth: Callable[[], Tensor] | None = None
    second: 'LogitBatch | None' = None
