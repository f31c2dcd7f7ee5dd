"""A training sample on an object that the teacher has wrong, to show what sorting makes of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from sortkd_det.adapters import Adapter, build_adapter
from sortkd_det.adapters.objects import boxes_of
from sortkd_det.distill import LogitBatch, Teacher

from ..changed_rows import probabilities_of


@dataclass(frozen=True, eq=False)
class TaughtObject:
    """A row of a batch that lies on an object, as the teacher sees it.

    Attributes:
        picture: (H, W, 3) uint8 RGB, the image as the student was given it.
        box: (4,), x1, y1, x2, y2 of the row in ``picture``.
        truth: the same of the ground-truth box that it is taught to find.
        label: class of that box, in [0, C).
        iou: overlap of the two, in [0, 1].
        logits: (C,) or, with background, (C + 1,); the teacher's.
        activation: what its head makes of them.
    """

    picture: NDArray[np.uint8]
    box: Tensor
    truth: Tensor
    label: int
    iou: float
    logits: Tensor
    activation: str

    @property
    def rank(self) -> int:
        """The label's rank among the logits; 1 where the teacher is right."""
        return int((self.logits > self.logits[self.label]).sum()) + 1

    @property
    def probabilities(self) -> Tensor:
        """Of the columns, in [0, 1]."""
        return probabilities_of(self.logits[None], self.activation)[0]


def find_examples(
    student: nn.Module, teacher: Teacher, dataset: Dataset, indices: Iterable[int]
) -> list[TaughtObject]:
    """Read the teacher where the student is trained on objects, as distillation does.

    Args:
        student: a detector; it is left as in training, and its normalisation has seen the images.
        teacher: a teacher of it.
        dataset: one that it is trained on.
        indices: which of its samples, each a batch by itself.
    """
    adapter = build_adapter(None, student, teacher)
    handles = adapter.attach()
    student.train().requires_grad_(True)
    try:
        return [example for index in indices for example in _examples_of(adapter, dataset[index])]
    finally:
        for handle in handles:
            handle.remove()


def _examples_of(adapter: Adapter, data: dict) -> list[TaughtObject]:
    picture = data['inputs'].permute(1, 2, 0).numpy()[..., ::-1].copy()
    model = adapter.student
    data = model.data_preprocessor(pseudo_collate([data]), True)
    adapter.reset()
    adapter.prepare(data['inputs'], data['data_samples'])
    model(**data, mode='loss')
    batch = adapter.batch(data['inputs'], data['data_samples'])
    adapter.reset()
    instances = data['data_samples'][0].gt_instances
    truths = boxes_of(instances).cpu()
    return _rows_on(batch, picture, truths, instances.labels.cpu()) if len(truths) else []


def _rows_on(
    batch: LogitBatch, picture: NDArray[np.uint8], truths: Tensor, labels: Tensor
) -> list[TaughtObject]:
    """The rows on objects, each with the box of its class that it overlaps most."""
    rows = torch.nonzero(batch.is_positive & (batch.weight > 0)).flatten().cpu()
    boxes = batch.find_places()[:, 1:].detach().cpu()[rows]
    of_rows = batch.labels.cpu()[rows]
    overlaps = bbox_overlaps(boxes, truths.to(boxes))
    ious, matches = overlaps.masked_fill(of_rows[:, None] != labels, -1.0).max(dim=1)
    logits = batch.teacher.float().cpu()[rows]
    return [
        TaughtObject(picture, box, truths[match], int(label), float(iou), row, batch.activation)
        for box, match, iou, label, row in zip(boxes, matches, ious, of_rows, logits, strict=True)
        if iou > 0
    ]


def choose_wrong(examples: Sequence[TaughtObject]) -> TaughtObject | None:
    """The one that shows best what sorting does.

    The teacher ranks the label third, else fourth, else second, and of all such
    rows the smallest step down from the top to the label, and from there to
    nothing, is widest; where there is none, the row whose label ranks lowest.

    Returns:
        None for no examples.
    """
    for rank in (3, 4, 2):
        candidates = [example for example in examples if example.rank == rank]
        if candidates:
            return max(candidates, key=_smallest_step)
    return max(examples, key=lambda example: example.rank, default=None)


def _smallest_step(example: TaughtObject) -> float:
    """How far apart the probabilities are that sorting moves, and the last from 0."""
    moved = example.probabilities.sort(descending=True).values[: example.rank]
    return float((moved - torch.cat([moved[1:], moved.new_zeros(1)])).min())
