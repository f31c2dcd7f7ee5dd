"""A term: one summand of a method."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mmengine.registry import Registry
from torch import Tensor, nn

from sortkd_det.functional import ACTIVATIONS, check_choice, check_finite, check_scalar
from sortkd_det.losses import FeatureLoss, LogitLoss
from sortkd_det.processors import operation_of
from sortkd_det.registry import LOGIT_PROCESSORS, MODELS, build

from .logit_batch import LogitBatch
from .own_parts import check_unchanged, tell_epoch, versions_of
from .rows import RowChoice
from .schedule import Schedule

VIEWS = ('first', 'second', 'all')
LOGITS = ('classes', 'boxes')
_MISFITS = {
    'sigmoid': (
        '{part}, in the term {term}, is made for one softmax over all columns, and the head of '
        'this student makes a sigmoid for each class; made for that are {fitting}. '
        "activation='softmax' in the term reads the logits as one softmax, on rows of objects. A "
        "part of your own says that it fits by activations = ('softmax', 'sigmoid') in its class"
    ),
    'softmax': (
        '{part}, in the term {term}, is made for a sigmoid for each class, and the head of this '
        'student makes one softmax over all columns; made for that are {fitting}'
    ),
}


class Term(nn.Module):
    """One loss between processed logits, over some rows, on a schedule.

    The arguments are the keys of a term in a config, flat, so that a config changes one
    by one line; here they are kept in a :class:`RowChoice` and a :class:`Schedule`.

    Args:
        loss: config of a registered loss of logits.
        of: which logits: those of the ``'classes'``, or those of where the ``'boxes'`` of
            objects end, in heads that say it by a distribution (GFL).
        target: whose logits the student follows: ``'teacher'``, or ``'student'``
            (its own, processed; the gradient flows through both sides).
        processors: configs of the processors of the target, applied in order.
        student_processors: those of the student's side.
        loss_rows: which rows count in the loss: ``'all'`` or ``'foreground'``.
        sort_rows: which rows the processors that need labels rewrite; never those whose
            label is no column (background of sigmoid heads).
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
        decay: the term's weight falls linearly over the last so many epochs
            (iterations), up to ``end``, after which it is 0; 0: at full weight to the end.
        activation: ``'softmax'`` reads the logits of a sigmoid head as one softmax over
            its classes, on rows of objects; None: as the head reads them.
        name: what logs call it; by default its loss's type.

    Raises:
        KeyError: unknown processor or loss; the registered ones are named.
        TypeError: an argument of the wrong type; a loss of features, or one that does not take
            what a loss of logits is called with.
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        loss: Any,
        of: str = 'classes',
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
        decay: int = 0,
        activation: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.loss = build(MODELS, loss, 'loss')
        if isinstance(self.loss, FeatureLoss):
            raise TypeError(
                f'{type(self.loss).__name__} is a loss of features; expected one of logits, or '
                "type='FeatureTerm'"
            )
        if not isinstance(self.loss, LogitLoss):
            _check_call(self.loss)
        self.of = check_choice('of', of, LOGITS)
        self.target = check_choice('target', target, ('teacher', 'student'))
        self.processors = _build_processors(processors, 'processors')
        self.student_processors = _build_processors(student_processors, 'student_processors')
        self.rows = RowChoice(loss_rows, sort_rows, confidence_quantile)
        self.views = check_choice('views', views, VIEWS)
        self.schedule = Schedule(weight, begin, end, warmup, decay)
        if activation is not None:
            check_choice('activation', activation, ('softmax',))
        self.activation = activation
        self.name = name or type(self.loss).__name__

    def check(self, activation: str) -> None:
        """Raise unless loss and processors are made for what the heads make of their logits.

        Args:
            activation: ``'softmax'`` or ``'sigmoid'``, of student and teacher.

        Raises:
            ValueError: one of them is not; the message names it and those that are.
        """
        read_as = self.activation or check_choice('activation', activation, ACTIVATIONS)
        if self.of == 'boxes':
            read_as = 'softmax'
        parts = [(MODELS, self.loss)]
        parts += [(LOGIT_PROCESSORS, p) for p in (*self.processors, *self.student_processors)]
        for registry, part in parts:
            if read_as not in getattr(part, 'activations', ('softmax',)):
                name = getattr(part, '__name__', type(part).__name__)
                fitting = _names_for(registry, read_as, name)
                message = _MISFITS[read_as].format(part=name, term=self.name, fitting=fitting)
                raise ValueError(message)

    def forward(self, batch: LogitBatch, now: int) -> Tensor:
        """The term's loss.

        Args:
            batch: the logits of a batch.
            now: the epoch (iteration) that runs, counted from 1.

        Returns:
            Scalar tensor; zero, with the student's graph, outside the schedule.

        Raises:
            ValueError: the term wants a second view, or boxes, and there are none; in debug
                mode, logits of the teacher that are not finite.
            RuntimeError: the loss or a processor changed in place what it was given.
        """
        tell_epoch(self.loss, now)
        scale = self.schedule.scale(now)
        if self.of == 'boxes' and scale != 0:
            batch = self._boxes(batch)
        if self.activation == 'softmax':
            batch = batch.as_softmax()
        views = self._views(batch)
        if scale == 0:
            return batch.student[:0].sum()
        losses = [self._view_loss_alone(view) for view in views]
        total = losses[0] if len(losses) == 1 else sum(losses)
        return total if scale == 1 else scale * total  # each multiplication is a kernel or two

    def _boxes(self, batch: LogitBatch) -> LogitBatch:
        if batch.find_boxes is None:
            raise ValueError(
                f"the term {self.name} has of='boxes', and the batch has no distributions of "
                "boxes; expected heads that say by one where a box ends (GFL), or of='classes'"
            )
        return batch.find_boxes()

    def _views(self, batch: LogitBatch) -> list[LogitBatch]:
        """The views that the term is about."""
        if self.views == 'first':
            return [batch]
        if batch.second is not None:
            return [batch.second] if self.views == 'second' else [batch, batch.second]
        if self.views == 'second':
            raise ValueError(
                f"the term {self.name} has views='second', and the data gives one view; "
                "expected a data pipeline with two, or views='first' or 'all'"
            )
        return [batch]

    def _view_loss_alone(self, batch: LogitBatch) -> Tensor:
        """The loss of a view, which all terms and the log see as it was."""
        given = {name: getattr(batch, name) for name in ('student', 'teacher', 'labels', 'weight')}
        before = versions_of(given)
        loss = self._view_loss(batch)
        check_unchanged(self.name, given, before)
        return loss

    def _view_loss(self, batch: LogitBatch) -> Tensor:
        student = self.process(self.student_processors, batch.student, batch)
        target = batch.teacher if self.target == 'teacher' else batch.student
        check_finite(target, f'the logits of the {self.target}, in the term {self.name},')
        weight, avg_factor = self.rows.weigh(batch)
        if not isinstance(self.loss, LogitLoss):
            target = self.process(self.processors, target, batch)
            how = {'labels': batch.labels, 'weight': weight, 'avg_factor': avg_factor}
            return check_scalar(self.loss(student, target, **how), self.name)
        # The loss applies the last processor: it may do so in the kernel that computes it.
        *earlier, last = self._operations(self.processors, batch) or [None]
        for operation in earlier:
            target = operation(target, batch.labels)
        return self.loss(student, target, batch.labels, weight, avg_factor, last, batch.activation)

    def process(self, processors: Sequence[Any], logits: Tensor, batch: LogitBatch) -> Tensor:
        """Apply ``processors`` to ``logits`` (N, C) in their order."""
        for operation in self._operations(processors, batch):
            logits = operation(logits, batch.labels)
        return logits

    def _operations(self, processors: Sequence[Any], batch: LogitBatch) -> list[Callable]:
        unsorted = self.rows.unsorted_label(batch)
        return [operation_of(each, unsorted, batch.background_column) for each in processors]


def _check_call(loss: Any) -> None:
    """Raise unless a loss that is no :class:`LogitLoss` is a module that takes what it is given.

    MMDetection's own take a weight where labels stand here.
    """
    try:
        if not isinstance(loss, nn.Module):
            raise TypeError('it is no torch.nn.Module')
        signature = inspect.signature(loss.forward)
        signature.bind(None, None, labels=None, weight=None, avg_factor=None)
    except TypeError as error:
        raise TypeError(
            f'{getattr(loss, "__name__", type(loss).__name__)} is no loss between logits: {error}; '
            'expected a module that is called with (student, target, labels, weight, avg_factor), '
            'as those are that inherit from sortkd_det.losses.LogitLoss'
        ) from error


def _build_processors(configs: Sequence[Any], name: str) -> list[Any]:
    if isinstance(configs, str | dict):
        raise TypeError(f'{name} must be a list, got {configs!r}; write [{configs!r}]')
    processors = [build(LOGIT_PROCESSORS, config, 'processor') for config in configs]
    for processor in processors:
        _check_processor(processor)
    return processors


def _check_processor(processor: Any) -> None:
    """Raise unless a processor takes what it is given."""
    try:
        inspect.signature(processor).bind(None, None, None)
    except TypeError as error:
        raise TypeError(
            f'{getattr(processor, "__name__", type(processor).__name__)} is no processor: {error}; '
            'expected a registered class whose objects are called with (logits, labels, '
            'ignore_index)'
        ) from error


def _names_for(registry: Registry, activation: str, refused: str) -> str:
    """The registered names of what is made for ``activation``."""
    return ', '.join(
        f'{name} with other settings' if name == refused else name
        for name, kind in sorted(registry.module_dict.items())
        if activation in getattr(kind, 'activations', ())
    )
