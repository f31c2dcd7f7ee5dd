"""A teacher's rows as they are, and as sorting or swapping would leave them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sortkd_det.adapters.objects import boxes_of
from sortkd_det.distill import LogitBatch
from sortkd_det.distill.teacher_rows import TeacherRows
from sortkd_det.processors import SortLogits, SwapLogits, operation_of

#: What may be done to a teacher's rows: by name the processor.
CHANGES = {
    'sort': SortLogits(),
    'sort of classes': SortLogits('classes'),
    'swap': SwapLogits(),
}


@dataclass(frozen=True, eq=False)
class ChangedRows:
    """A batch, ranked and changed once, for all who look at it.

    Attributes:
        batch: of N rows.
        rows: how the teacher ranks their labels.
        logits: name of one of :data:`CHANGES` → (N, C); ``''``: as the teacher gives them.
        probabilities: likewise, in float64, in which the sum of what is moved is that of what
            is lost.
        ious: (N,), how far the place of each row overlaps an object: of a row on an object, one of
            its label; of background, any. None: places and objects were not compared.
    """

    batch: LogitBatch
    rows: TeacherRows
    logits: Mapping[str, Tensor]
    probabilities: Mapping[str, Tensor]
    ious: Tensor | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, batch: LogitBatch, objects: Sequence[Any] = ()) -> 'ChangedRows':
        """Rank and change the rows of a batch.

        Args:
            batch: of N rows, which are places if there are ``objects``.
            objects: the ``gt_instances`` of each image, for :attr:`ious`; empty: there are none.
        """
        logits = {'': batch.teacher}
        for name, processor in CHANGES.items():
            operation = operation_of(processor, batch.label_without_column, batch.background_column)
            logits[name] = operation(batch.teacher, batch.labels)
        chances = {name: probabilities_of(each, batch.activation) for name, each in logits.items()}
        ious = _ious(batch, objects) if objects else None
        return cls(batch, TeacherRows.of(batch), logits, chances, ious)

    def predictions(self, name: str) -> Tensor:
        """(N,) int64, what a change has the teacher say."""
        changed = replace(self.batch, teacher=self.logits[name], find_ground_truth=None)
        return TeacherRows.of(changed).predictions

    def effect(self, name: str) -> Tensor:
        """(N, 3): whether a change changes the row, the probability moved, and what background
        loses.
        """
        lost = self.probabilities[''] - self.probabilities[name]
        of_background = torch.zeros_like(lost[:, 0])
        column = self.batch.background_column
        if column is not None:
            of_background = lost[:, column].clamp(min=0)
        is_changed = (self.logits[name] != self.batch.teacher).any(1).double()
        return torch.stack([is_changed, lost.abs().sum(1) / 2, of_background], 1)


def _ious(batch: LogitBatch, objects: Sequence[Any]) -> Tensor:
    from mmdet.structures.bbox import bbox_overlaps  # a detector is met, so that it is loaded

    places = batch.find_places().float()
    ious = places.new_zeros(len(places))
    for index, each in enumerate(objects):
        mine = places[:, 0] == index
        if not len(each.labels) or not mine.any():
            continue
        overlaps = bbox_overlaps(places[mine, 1:], boxes_of(each).to(places))
        is_other = batch.is_positive[mine, None] & (batch.labels[mine, None] != each.labels)
        ious[mine] = overlaps.masked_fill(is_other, 0.0).amax(1)
    return ious


def probabilities_of(logits: Tensor, activation: str) -> Tensor:
    """(N, C) in float64, of (N, C) logits and what their head makes of them."""
    return logits.double().softmax(1) if activation == 'softmax' else logits.double().sigmoid()
