"""A term about boxes: the student's own box loss, with the teacher's boxes for truth."""

from torch import Tensor, nn

from sortkd_det.functional import check_scalar

from .logit_batch import LogitBatch
from .schedule import Schedule


class BoxTerm(nn.Module):
    """The student's box loss once more, on a schedule; the truth is what the teacher says.

    On each RoI of an object that the student learns from, its own ``loss_bbox`` is taken
    between its box and the one that the teacher gives for the same RoI and the label's class,
    divided as its own is. A teacher that is a cascade gives the box of its last stage, but to a
    student of as many stages, of which each learns from its own.

    Args:
        bounded: only rows count on which the teacher's box is nearer to the truth than the
            student's, by that same loss.
        weight, begin, end, warmup, decay: as in :class:`Term`.
        name: what logs call it.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of its range.

    Source: the bound is after Chen et al., "Learning Efficient Object Detection Models with
    Knowledge Distillation" (NeurIPS 2017), whose term has the truth for target.
    """

    of = 'offsets'
    loss = None

    def __init__(
        self,
        bounded: bool = False,
        weight: float = 1.0,
        begin: int = 1,
        end: int | None = None,
        warmup: int = 0,
        decay: int = 0,
        name: str = 'BoxTerm',
    ) -> None:
        super().__init__()
        if not isinstance(bounded, bool):
            raise TypeError(f'bounded must be True or False, got {bounded!r}')
        self.bounded = bounded
        self.schedule = Schedule(weight, begin, end, warmup, decay)
        self.name = name

    def check(self, activation: str) -> None:
        """Boxes fit heads of every activation."""

    def forward(self, batch: LogitBatch, now: int) -> Tensor:
        """The term's loss.

        Args:
            batch: what the adapter has read.
            now: the epoch (iteration) that runs, counted from 1.

        Returns:
            Scalar tensor; zero, with the student's graph, outside the schedule.

        Raises:
            ValueError: the batch has no such boxes; as the adapter; in debug mode, boxes of the
                teacher that are not finite.
        """
        scale = self.schedule.scale(now)
        if scale == 0:
            return batch.student[:0].sum()
        if batch.find_box_loss is None:
            raise ValueError(
                f'the term {self.name} is about boxes, and the batch has no find_box_loss; '
                'expected two-stage detectors whose box heads say offsets (Faster R-CNN), or a '
                'method without that term'
            )
        loss = check_scalar(batch.find_box_loss(self.bounded), 'find_box_loss')
        return scale * loss
