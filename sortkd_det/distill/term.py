"""A term: one summand of a method."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from sortkd_det.functional import (
    check_choice,
    check_finite,
    check_positive,
    check_quantile,
    check_whole,
    nan_quantile,
)
from sortkd_det.losses import LogitLoss
from sortkd_det.processors import SortLogits
from sortkd_det.registry import LOGIT_PROCESSORS, MODELS, build

from .logit_batch import LogitBatch

ROWS = ('all', 'foreground')
VIEWS = ('first', 'second', 'all')


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
        views: of which view of the data the loss is: ``'first'``, ``'second'``
            (an error where there is none), or ``'all'``: the sum over those
            that there are.
        confidence_quantile: only rows count for which the teacher's largest
            probability is at most this quantile of the rows that count
            otherwise (0.5 in MLKD's first view); the loss is still divided by
            the number of all of these. None: all count.
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
        views: str = 'first',
        confidence_quantile: float | None = None,
        weight: float = 1.0,
        begin: int = 1,
        end: int | None = None,
        warmup: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.loss = build(MODELS, loss, 'loss')
        self.target = check_choice('target', target, ('teacher', 'student'))
        self.processors = _build_processors(processors, 'processors')
        self.student_processors = _build_processors(student_processors, 'student_processors')
        self.loss_rows = check_choice('loss_rows', loss_rows, ROWS)
        self.sort_rows = check_choice('sort_rows', sort_rows, ROWS)
        self.views = check_choice('views', views, VIEWS)
        self.confidence_quantile = check_quantile('confidence_quantile', confidence_quantile)
        self.weight = check_positive('weight', weight, allow_zero=True)
        self.begin = check_whole('begin', begin)
        self.end = None if end is None else check_whole('end', end, minimum=begin)
        self.warmup = check_whole('warmup', warmup, minimum=0)
        self.name = name or type(self.loss).__name__

    def forward(self, pairs: LogitBatch, now: int) -> Tensor:
        """The term's loss.

        Args:
            pairs: the logits of a batch.
            now: the epoch (iteration) that runs, counted from 1.

        Returns:
            Scalar tensor; zero, with the student's graph, outside the schedule.

        Raises:
            ValueError: the term wants a second view and there is none; in debug
                mode, logits of the teacher that are not finite.
        """
        for part in self.loss.modules():
            if hasattr(part, 'follow'):  # a schedule of the loss's own: CTKD's reversal
                part.follow(now)
        scale = self.scale(now)
        views = self._views(pairs)
        if scale == 0:
            return pairs.student[:0].sum()
        losses = [self._view_loss(view) for view in views]
        total = losses[0] if len(losses) == 1 else sum(losses)
        return total if scale == 1 else scale * total  # each multiplication is a kernel or two

    def _views(self, pairs: LogitBatch) -> list[LogitBatch]:
        """The views that the term is about."""
        if self.views == 'first':
            return [pairs]
        if pairs.second is not None:
            return [pairs.second] if self.views == 'second' else [pairs, pairs.second]
        if self.views == 'second':
            raise ValueError(
                f"the term {self.name} has views='second', and the data gives one view; "
                "expected a data pipeline with two, or views='first' or 'all'"
            )
        return [pairs]

    def _view_loss(self, pairs: LogitBatch) -> Tensor:
        student = self.process(self.student_processors, pairs.student, pairs)
        target = pairs.teacher if self.target == 'teacher' else pairs.student
        check_finite(target, f'the logits of the {self.target}, in the term {self.name},')
        weight, avg_factor = self._rows_that_count(pairs)
        if self._sorts_last() and not target.requires_grad:  # then one kernel on CUDA
            target = self.process(self.processors[:-1], target, pairs)
            ignored = self._ignored_label(pairs)
            return self.loss(student, target, pairs.labels, weight, avg_factor, True, ignored)
        target = self.process(self.processors, target, pairs)
        return self.loss(student, target, pairs.labels, weight, avg_factor)

    def _sorts_last(self) -> bool:
        """Whether the loss may sort its target itself, in the kernel that computes it."""
        last = self.processors[-1] if self.processors else None
        fuses = isinstance(self.loss, LogitLoss) and self.loss.divergence() is not None
        return fuses and type(last) is SortLogits

    def process(self, processors: Sequence[Any], logits: Tensor, pairs: LogitBatch) -> Tensor:
        """Apply ``processors`` to ``logits`` (N, C) in their order."""
        ignored = self._ignored_label(pairs)
        for processor in processors:
            logits = processor(logits, pairs.labels, ignored)
        return logits

    def _ignored_label(self, pairs: LogitBatch) -> int | None:
        return pairs.background if self.sort_rows == 'foreground' else None

    def scale(self, now: int) -> float:
        """The factor on the loss at epoch (iteration) ``now``, counted from 1."""
        if now < self.begin or (self.end is not None and now > self.end):
            return 0.0
        if self.warmup:
            return self.weight * min((now - self.begin + 1) / self.warmup, 1.0)
        return self.weight

    def _rows_that_count(self, pairs: LogitBatch) -> tuple[Tensor, Tensor]:
        """Weights of the rows, and their number averaged over all processes.

        With that average, equal parts of a batch on several processes give the
        gradient that one process gives for the whole.
        """
        weight = pairs.weight
        if self.loss_rows == 'foreground' and pairs.background is not None:
            weight = weight * (pairs.labels != pairs.background)
        counted = (weight > 0).sum().to(torch.float32)
        all_reduce(counted, op='sum')
        if self.confidence_quantile is not None and len(weight):
            confidence = pairs.teacher.float().softmax(1).amax(1)
            among = confidence.masked_fill(weight <= 0, torch.nan)
            weight = weight * (confidence <= nan_quantile(among, self.confidence_quantile))
        return weight, counted.clamp(min=1.0) / get_world_size()


def _build_processors(configs: Sequence[Any], name: str) -> list[Any]:
    if isinstance(configs, str | dict):
        raise TypeError(f'{name} must be a list, got {configs!r}; write [{configs!r}]')
    return [build(LOGIT_PROCESSORS, config, 'processor') for config in configs]
