"""What an adapter hands over: the logits of the same samples from both models."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from sortkd_det.functional import (
    ACTIVATIONS,
    check_choice,
    check_labels,
    check_pair,
    check_positive,
    check_weight,
)

DIVISORS = ('rows', 'positives')


@dataclass(frozen=True, eq=False)
class LogitBatch:
    """Student and teacher logits of one batch; checked when it is made.

    A row that is to teach nothing has weight 0; its label plays no part, but is one
    of those that are allowed.

    Attributes:
        student: (N, C) logits, with the student's graph.
        teacher: (N, C) logits of the same samples, without a graph.
        labels: (N,) int64 in [0, C), or ``background`` where that is no column.
        weight: (N,) floating, the weight of each row; 0: the row counts nowhere.
        activation: what the head makes of its logits: ``'softmax'``, one distribution
            over the columns, or ``'sigmoid'``, a chance for each column by itself.
        background: the label that means "no object": a column of softmax heads; C in
            sigmoid heads, which have no column for it; None where there is none
            (classifiers).
        divisor: what the sum of the rows' losses is divided by: the number of ``'rows'``
            that count, that of the ``'positives'`` among them, or a number, which is the same
            for all batches.
        sources: the tensors that the student's own loss reads, where they are others than
            ``student`` (maps whose rows were gathered); empty: ``student`` itself.
        find_ground_truth: yields (N,) bool, True where a sample is not predicted
            but a ground-truth box that the sampler added; None where that
            cannot happen.
        find_places: yields (N, 5), where each sample is: the index of its image in the batch, and
            x1, y1, x2, y2 in pixels of the student's input; None where rows are no places.
        second: the same samples in a second, strongly augmented view; None where
            the data gives one view.
        find_boxes: yields what both heads say of where the boxes of the positives end, where
            they say it in logits (GFL): a batch of a row for each of the 4 edges, a column for
            each distance, and as label the nearest one to the truth. It is asked only if
            a term is about boxes. None: the heads say it otherwise.
        find_box_loss: yields the student's own box loss with the teacher's boxes for truth, a
            scalar with the student's graph; its argument as ``bounded`` of :class:`BoxTerm`.
            None: there is none to be had.

    Raises:
        TypeError, ValueError: an attribute that does not fit the others; the message says
            which. Whether labels and weights are in range is looked at on the CPU, on CUDA in
            debug mode only; :meth:`check_numbers` looks at them anywhere.
    """

    student: Tensor
    teacher: Tensor
    labels: Tensor
    weight: Tensor
    _: KW_ONLY
    activation: str
    background: int | None
    divisor: str | float = 'rows'
    sources: Sequence[Tensor] = ()
    find_ground_truth: Callable[[], Tensor] | None = None
    find_places: Callable[[], Tensor] | None = None
    second: 'LogitBatch | None' = None
    find_boxes: 'Callable[[], LogitBatch] | None' = None
    find_box_loss: Callable[[bool], Tensor] | None = None

    def __post_init__(self) -> None:
        check_choice('activation', self.activation, ACTIVATIONS)
        if isinstance(self.divisor, str):
            check_choice('divisor', self.divisor, DIVISORS)
        else:
            check_positive('divisor', self.divisor)
        check_pair(self.student, self.teacher, 'teacher', self._least_columns)
        if self.teacher.requires_grad:
            raise ValueError(
                'the logits of the teacher need a gradient; expected a teacher that runs under '
                'torch.no_grad()'
            )
        self._check_background()
        self._check_labels()
        if not isinstance(self.weight, Tensor):
            raise TypeError(
                f'weight must be a Tensor of one number per row, got {self.weight!r}; where all '
                'rows count the same it is torch.ones(N)'
            )
        check_weight(self.weight, len(self.student))
        if not self.weight.is_floating_point():
            raise TypeError(f'weight must be of a floating dtype, got {self.weight.dtype}')
        self._check_second()

    def check_numbers(self) -> None:
        """Raise unless labels and weights are in range, on every device: the host waits for it.

        Raises:
            ValueError: a label that is no class, a weight that is negative or not finite.
        """
        self._check_labels(may_wait=True)
        check_weight(self.weight, len(self.student), may_wait=True)
        if self.second is not None:
            self.second.check_numbers()

    @property
    def _least_columns(self) -> int:
        return 1 if self.activation == 'sigmoid' else 2

    def _check_labels(self, may_wait: bool = False) -> None:
        background, least = self.label_without_column, self._least_columns
        check_labels(self.student, self.labels, background, least, may_wait)

    def _check_second(self) -> None:
        if self.second is None:
            return
        if not isinstance(self.second, LogitBatch):
            raise TypeError(f'second must be a LogitBatch, got {type(self.second).__name__}')
        for name in ('activation', 'background'):
            own, other = getattr(self, name), getattr(self.second, name)
            if other != own:
                raise ValueError(
                    f'the second view has {name}={other!r} and the first {own!r}; expected the same'
                )

    def _check_background(self) -> None:
        num_columns = self.student.shape[1]
        sigmoid = self.activation == 'sigmoid'
        allowed = (num_columns,) if sigmoid else range(num_columns)
        if self.background is not None and self.background not in allowed:
            expected = (
                f'{num_columns}, the number of classes, as a sigmoid head has no column for it'
                if sigmoid
                else f'a column of the softmax, in 0…{num_columns - 1}'
            )
            raise ValueError(
                f'background is {self.background!r} and the logits have {num_columns} columns '
                f'with activation={self.activation!r}; expected {expected}, or None'
            )

    @property
    def label_without_column(self) -> int | None:
        """The label whose rows have nothing to put on top: background of sigmoid heads."""
        return self.background if self.activation == 'sigmoid' else None

    @property
    def background_column(self) -> int | None:
        """The column of background, which softmax heads of detectors have."""
        return self.background if self.activation == 'softmax' else None

    @property
    def is_positive(self) -> Tensor:
        """(N,) bool: rows of an object; all rows where there is no background."""
        if self.background is None:
            return torch.ones_like(self.labels, dtype=torch.bool)
        return self.labels != self.background

    def teacher_confidence(self) -> Tensor:
        """The teacher's largest probability in each row, (N,), in float32."""
        logits = self.teacher.float()
        if self.activation == 'softmax':
            return logits.softmax(1).amax(1)
        return logits.amax(1).sigmoid()

    def as_softmax(self) -> 'LogitBatch':
        """The logits of a sigmoid head, read as one softmax over the classes.

        Rows of background, which is none of these classes, count no more.
        """
        if self.activation == 'softmax':
            return self
        positive = self.is_positive
        return replace(
            self,
            labels=self.labels * positive,
            weight=self.weight * positive,
            activation='softmax',
            background=None,
            second=None if self.second is None else self.second.as_softmax(),
        )
