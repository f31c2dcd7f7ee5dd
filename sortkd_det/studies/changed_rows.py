"""A teacher's rows as they are, and as sorting or swapping would leave them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
    """

    batch: LogitBatch
    rows: TeacherRows
    logits: Mapping[str, Tensor]
    probabilities: Mapping[str, Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, batch: LogitBatch) -> 'ChangedRows':
        """Rank and change the rows of a batch."""
        logits = {'': batch.teacher}
        for name, processor in CHANGES.items():
            operation = operation_of(processor, batch.label_without_column, batch.background_column)
            logits[name] = operation(batch.teacher, batch.labels)
        chances = {name: probabilities_of(each, batch.activation) for name, each in logits.items()}
        return cls(batch, TeacherRows.of(batch), logits, chances)

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


def probabilities_of(logits: Tensor, activation: str) -> Tensor:
    """(N, C) in float64, of (N, C) logits and what their head makes of them."""
    return logits.double().softmax(1) if activation == 'softmax' else logits.double().sigmoid()
