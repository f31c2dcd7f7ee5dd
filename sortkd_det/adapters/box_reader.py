"""Where boxes end, as GFL's head says it: by a distribution over distances for each edge."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from sortkd_det.distill import LogitBatch

from .loss_calls import LossCall, LossCalls
from .reader import Outputs, Reader


class BoxReader(Reader):
    """The logits of the edges of boxes, on the positives of a GFL head.

    Labels and weights are those that the student's own ``loss_dfl`` is given: the nearest
    distance to the truth, and the student's highest class score on that row.

    Args:
        head: the student's, for which :meth:`reads` holds.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.num_bins = head.reg_max + 1
        self.losses = LossCalls(head.loss_dfl)
        self.outputs = Outputs(head)
        super().__init__(self.losses, self.outputs)
        self._is_compared = False

    @staticmethod
    def reads(head: nn.Module, teacher_head: nn.Module) -> bool:
        """Whether both heads have such distributions, over the same distances."""
        from mmdet.models.dense_heads import GFLHead  # a detector is met, so that it is loaded

        heads = (head, teacher_head)
        return all(isinstance(each, GFLHead) for each in heads) and (
            head.reg_max == teacher_head.reg_max
        )

    def finder(self, positive: Tensor, teacher_maps: Sequence[Tensor]) -> Callable[[], LogitBatch]:
        """A function that reads the boxes of this batch when it is first called.

        Args:
            positive: (B, P) bool, which priors are of an object.
            teacher_maps: the second output of the teacher's head.
        """
        maps, calls = self.outputs[-1][1], list(self.losses)
        return cache(lambda: self._read(positive, maps, teacher_maps, calls))

    def _read(
        self,
        positive: Tensor,
        maps: Sequence[Tensor],
        teacher_maps: Sequence[Tensor],
        calls: Sequence[LossCall],
    ) -> LogitBatch:
        """Four rows for each of n positives, level by level, in each image by image.

        The divisor is that of LD: 4 edges times the number of bins, over which it takes
        means; the positives are summed, on each process its own.
        """
        student, teacher = (self._rows(each, positive, maps) for each in (maps, teacher_maps))
        self._compare(student, calls)
        labels = torch.cat([student.new_zeros(0), *(call.target for call in calls)])
        weight = torch.cat([student.new_zeros(0), *(call.weight for call in calls)])
        return LogitBatch(
            student=student,
            teacher=teacher.to(student.dtype),
            labels=labels.round().long(),
            weight=weight.detach(),
            activation='softmax',
            background=None,
            divisor=4.0 * self.num_bins,
        )

    def _rows(self, maps: Sequence[Tensor], positive: Tensor, like: Sequence[Tensor]) -> Tensor:
        """(4 · n, bins), of maps at least as large as those of the student, ``like``."""
        found = []
        places = positive.split([level[0, 0].numel() for level in like], 1)
        for level, here, other in zip(maps, places, like, strict=True):
            image, place = here.nonzero(as_tuple=True)
            y, x = place // other.shape[-1], place % other.shape[-1]
            found.append(level[image, :, y, x].reshape(-1, self.num_bins))
        return torch.cat(found)

    def _compare(self, student: Tensor, calls: Sequence[LossCall]) -> None:
        """Raise unless the rows are those that the student's own loss was given: always as many,
        and at the first batch with rows the same to the bit.
        """
        number = sum(len(call.scores) for call in calls)
        same = number == len(student)
        if same and number and not self._is_compared:
            same = self._is_compared = torch.equal(torch.cat([c.scores for c in calls]), student)
        if not same:
            raise ValueError(
                f'{type(self.head).__name__} called its loss_dfl on {number} rows that are not the '
                f'{len(student)} of its positives, four for each; expected level by level, in '
                'each image by image'
            )
