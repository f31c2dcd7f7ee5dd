"""The teacher's logits on proposals of a student that lie on objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from mmdet.structures.bbox import bbox2roi, bbox_overlaps
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.utils.data import Dataset

from sortkd_det.adapters import RoIHeadAdapter


@dataclass
class ForegroundRoI:
    """A proposal on an object, as the teacher sees it.

    Attributes:
        image_path: the image.
        box: (4,), x1, y1, x2, y2 of the proposal in pixels of the image file.
        truth: the same of its ground-truth box.
        label: class of the ground truth, in [0, C).
        iou: overlap of the two, in [0, 1].
        logits: (C + 1,), the teacher's; background is C.
    """

    image_path: str
    box: Tensor
    truth: Tensor
    label: int
    iou: float
    logits: Tensor

    @property
    def rank(self) -> int:
        """The label's rank among the logits; 1 where the teacher is right."""
        return int((self.logits > self.logits[self.label]).sum()) + 1


@torch.no_grad()
def find_foreground_rois(
    teacher: nn.Module,
    student: nn.Module,
    dataset: Dataset,
    indices: Iterable[int],
    min_iou: float = 0.5,
) -> list[ForegroundRoI]:
    """Read the teacher on the student's proposals, as distillation does, without sampling.

    Args:
        teacher: a two-stage detector in eval mode.
        student: likewise; its RPN proposes.
        dataset: a test data set with ground truth in original pixels.
        indices: which of its samples.
        min_iou: proposals that overlap no box that much (RoI heads: 0.5) are left out.
    """
    found = []
    for index in indices:
        batch = pseudo_collate([dataset[index]])
        own = student.data_preprocessor(batch, False)
        sample = own['data_samples'][0]
        proposals = student.rpn_head.predict(
            student.extract_feat(own['inputs']), own['data_samples'], rescale=False
        )[0].bboxes
        scale = proposals.new_tensor(sample.scale_factor).repeat(2)
        truths = sample.gt_instances.bboxes
        truths = getattr(truths, 'tensor', truths).to(proposals)
        if len(truths) == 0 or len(proposals) == 0:
            continue
        ious, matches = bbox_overlaps(proposals, truths * scale).max(dim=1)
        kept = ious >= min_iou
        if not kept.any():
            continue
        images = teacher.data_preprocessor(batch, False)['inputs']
        features = teacher.extract_feat(images)
        logits = RoIHeadAdapter.classify(teacher, features, bbox2roi([proposals[kept]]))
        for box, match, iou, row in zip(
            proposals[kept] / scale, matches[kept], ious[kept], logits, strict=True
        ):
            label = int(sample.gt_instances.labels[match])
            found.append(
                ForegroundRoI(
                    sample.img_path, box.cpu(), truths[match].cpu(), label, float(iou), row.cpu()
                )
            )
    return found


def choose_wrong(rois: Sequence[ForegroundRoI]) -> ForegroundRoI | None:
    """The proposal that shows best what sorting does.

    The teacher ranks the label third, else fourth, else second, and of all such
    rows the smallest step down from the top to the label, and from there to
    nothing, is widest; where there is none, the row whose label ranks lowest.

    Returns:
        None for no proposals.
    """
    for rank in (3, 4, 2):
        candidates = [roi for roi in rois if roi.rank == rank]
        if candidates:
            return max(candidates, key=_smallest_step)
    return max(rois, key=lambda roi: roi.rank, default=None)


def _smallest_step(roi: ForegroundRoI) -> float:
    """How far apart the probabilities are that sorting moves, and the last from 0."""
    moved = roi.logits.softmax(0).sort(descending=True).values[: roi.rank]
    return float((moved - torch.cat([moved[1:], moved.new_zeros(1)])).min())
