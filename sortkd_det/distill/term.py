"""A term: one summand of a method."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from sortkd_det.functional import check_positive
from sortkd_det.registry import LOGIT_PROCESSORS, MODELS, build

from .pairs import LogitPairs

ROWS = ('all', 'foreground')


class Term(nn.Module):
    """One loss between processed logits, over some rows, on a schedule.

    Args:
        loss: config of a registered loss.
        target: whose logits the student follows: ``'teacher'``, or ``'student'``
            (its own, processed; the gradient flows through both sides).
        processors: configs of the processors of the target, applied in order.
        student_processors: those of the student's side.
        loss_rows: which rows count in the loss: ``'all'`` or ``'foreground'``.
        sort_rows: which rows the processors that need labels rewrite.
        weight: multiplies the loss; ≥ 0.
        begin: first epoch of the term, counted from 1 (iteration, where the run
            is counted in iterations).
        end: last epoch (iteration) of the term; None: to the end of the run.
        warmup: the term's weight grows linearly over this many epochs
            (iterations) from ``begin`` on; 0: at full weight from the start.
        name: what logs call it; by default its loss's type.

    Raises:
        KeyError: unknown processor or loss; the registered ones are named.
        TypeError: an argument of the wrong type.
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        loss: Any,
        target: str = 'teacher',
        processors: Sequence[Any] = (),
        student_processors: Sequence[Any] = (),
        loss_rows: str = 'all',
        sort_rows: str = 'all',
        weight: float = 1.0,
        begin: int = 1,
        end: int | None = None,
        warmup: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        _check_choice('target', target, ('teacher', 'student'))
        _check_choice('loss_rows', loss_rows, ROWS)
        _check_choice('sort_rows', sort_rows, ROWS)
        check_positive('weight', weight, allow_zero=True)
        check_positive('begin', begin)
        check_positive('warmup', warmup, allow_zero=True)
        if end is not None and end < begin:
            raise ValueError(f'end must not lie before begin={begin}, got {end}')
        self.loss = build(MODELS, loss, 'loss')
        self.target = target
        self.processors = _build_processors(processors, 'processors')
        self.student_processors = _build_processors(student_processors, 'student_processors')
        self.loss_rows = loss_rows
        self.sort_rows = sort_rows
        self.weight = weight
        self.begin = begin
        self.end = end
        self.warmup = warmup
        self.name = name or type(self.loss).__name__

    def forward(self, pairs: LogitPairs, now: int) -> Tensor:
        """The term's loss.

        Args:
            pairs: the logits of a batch.
            now: the epoch (iteration) that runs, counted from 1.

        Returns:
            Scalar tensor; zero, with the student's graph, outside the schedule.
        """
        scale = self.scale(now)
        if scale == 0:
            return pairs.student[:0].sum()
        student = self.process(self.student_processors, pairs.student, pairs)
        target = pairs.teacher if self.target == 'teacher' else pairs.student
        target = self.process(self.processors, target, pairs)
        weight, avg_factor = self._rows_that_count(pairs)
        return scale * self.loss(student, target, pairs.labels, weight, avg_factor)

    def process(self, processors: Sequence[Any], logits: Tensor, pairs: LogitPairs) -> Tensor:
        """Apply ``processors`` to ``logits`` (N, C) in their order."""
        ignore_index = pairs.background if self.sort_rows == 'foreground' else None
        for processor in processors:
            logits = processor(logits, pairs.labels, ignore_index)
        return logits

    def scale(self, now: int) -> float:
        """The factor on the loss at epoch (iteration) ``now``, counted from 1."""
        if now < self.begin or (self.end is not None and now > self.end):
            return 0.0
        if self.warmup:
            return self.weight * min((now - self.begin + 1) / self.warmup, 1.0)
        return self.weight

    def _rows_that_count(self, pairs: LogitPairs) -> tuple[Tensor, Tensor]:
        """Weights of the rows, and their number averaged over all processes.

        With that average, equal parts of a batch on several processes give the
        gradient that one process gives for the whole.
        """
        weight = pairs.weight
        if self.loss_rows == 'foreground' and pairs.background is not None:
            weight = weight * (pairs.labels != pairs.background)
        counted = (weight > 0).sum().to(torch.float32)
        all_reduce(counted, op='mean')
        return weight, counted.clamp(min=1.0)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}')


def _build_processors(configs: Sequence[Any], name: str) -> list[Any]:
    if isinstance(configs, str | dict):
        raise TypeError(f'{name} must be a list, got {configs!r}; write [{configs!r}]')
    return [build(LOGIT_PROCESSORS, config, 'processor') for config in configs]
