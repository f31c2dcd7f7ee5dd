"""How a teacher ranks the labels of a batch, row by row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .logit_batch import LogitBatch


@dataclass(frozen=True, eq=False)
class TeacherRows:
    """What the audit of a run and the analysis before it both count.

    In a head of sigmoids background has no column: it is on top where no class has a chance above
    one half. There a class is ranked among classes, and background is never sorted.

    Attributes:
        num_columns: K: the classes and, where there is one, background.
        counted: (N,) bool: rows of weight above 0; the others teach nothing.
        ranks: (N,) int64: the label's rank, 1 where nothing is above it.
        predictions: (N,) int64: the label where its rank is 1, else the column on top.
        is_sorted: (N,) bool: rows that a sort of all columns changes.
        as_background: (N,) bool: rows on which background has the largest logit.
        is_truth: (N,) bool: ground-truth boxes that the sampler added.
    """

    num_columns: int
    counted: Tensor
    ranks: Tensor
    predictions: Tensor
    is_sorted: Tensor
    as_background: Tensor
    is_truth: Tensor

    @classmethod
    def of(cls, batch: LogitBatch) -> 'TeacherRows':
        """Rank the labels of a batch.

        Args:
            batch: N rows; labels of rows that do not count play no part.
        """
        teacher, labels = batch.teacher, batch.labels
        no_row = torch.zeros_like(labels, dtype=torch.bool)
        as_background, can_be_sorted = no_row, ~no_row
        without_column = batch.label_without_column
        if without_column is not None:
            teacher = torch.cat([teacher, teacher.new_zeros(len(teacher), 1)], dim=1)
            can_be_sorted = batch.is_positive
        if batch.background is not None:
            as_background = teacher.argmax(1) == batch.background
        if without_column is not None:
            teacher[:, without_column].masked_fill_(batch.is_positive, -torch.inf)
        ranks = (teacher > teacher.gather(1, labels[:, None])).sum(1) + 1
        return cls(
            num_columns=teacher.shape[1],
            counted=batch.weight > 0,
            ranks=ranks,
            predictions=torch.where(ranks == 1, labels, teacher.argmax(1)),
            is_sorted=(ranks > 1) & can_be_sorted,
            as_background=as_background,
            is_truth=no_row if batch.find_ground_truth is None else batch.find_ground_truth(),
        )
