"""Sparse R-CNN and QueryInst: stages of queries, each matched to an object or to none."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .loss_calls import LossCalls, activation_of
from .objects import ObjectRows, Objects
from .reader import Reader
from .roi_head_adapter import stage_weights


class SparseRoIReader(Reader):
    """The matched queries of a student's stages, as they pass their losses.

    Stages count as in the head's own loss (:func:`stage_weights`).

    Args:
        head: the student's ``roi_head``.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.num_classes = head.bbox_head[-1].num_classes
        self.activation = activation_of(head.bbox_head[-1].loss_cls)
        self.stages = [
            (LossCalls(each.loss_cls), LossCalls(each.loss_iou)) for each in head.bbox_head
        ]
        super().__init__(*(each for calls in self.stages for each in calls))
        self.shares = stage_weights(head)

    def rows(self, objects: Objects, data_samples: Sequence) -> list[ObjectRows]:
        """The matched queries of each stage; their objects are told by their target boxes.

        Args:
            objects: those of the batch.
            data_samples: its samples.

        Raises:
            ValueError: the losses were called otherwise than this reader knows.
        """
        return [
            self._stage(*calls, share, objects, len(data_samples))
            for calls, share in zip(self.stages, self.shares, strict=True)
        ]

    def _stage(
        self, classes: LossCalls, boxes: LossCalls, share: float, objects: Objects, num_images: int
    ) -> ObjectRows:
        name = type(self.head).__name__
        if len(classes) != 1 or len(boxes) > 1 or len(classes[0].scores) % num_images:
            raise ValueError(
                f'a stage of {name} called its loss_cls {len(classes)} times and its loss_iou '
                f'{len(boxes)} times in one forward; expected one call of each, with as many '
                'queries for each image'
            )
        (call,) = classes
        rows, labels, weight = call.matched(self.num_classes, share)
        images = rows // (len(call.scores) // num_images)
        nothing = objects.boxes[:0]  # without matches loss_iou is not called
        targets, predicted = (boxes[0].target, boxes[0].scores) if boxes else (nothing, nothing)
        found = objects.by_target(targets, labels, images) if len(targets) == len(rows) else None
        if found is None:
            raise ValueError(
                f'the {len(targets)} boxes that a stage of {name} gave to its loss_iou are not '
                f'those of the objects of its {len(rows)} matched rows; expected a target box in '
                'pixels for each, as in gt_instances'
            )
        return ObjectRows(
            call.scores[rows], labels, weight, found, predicted.detach(), [call.scores]
        )


def see_by_stages(
    model: nn.Module, features: Sequence[Tensor], data_samples: Sequence
) -> tuple[Tensor, Tensor]:
    """What the last stage of a frozen model of this kind says of the images.

    Args:
        model: the detector, in eval mode.
        features: the levels of its neck, each (B, C, H, W).
        data_samples: B samples with ``img_shape``.

    Returns:
        Logits (1, B, Q, C) and boxes (1, B, Q, 4), x1, y1, x2, y2 in pixels.
    """
    from mmdet.structures.bbox import bbox2roi

    found = model.rpn_head.predict(features, data_samples)
    queries = torch.stack([each.features for each in found])
    boxes = [each.bboxes for each in found]
    metas = [sample.metainfo for sample in data_samples]
    for stage in range(model.roi_head.num_stages):
        result = model.roi_head._bbox_forward(stage, features, bbox2roi(boxes), queries, metas)
        queries, boxes = result['object_feats'], result['detached_proposals']
    return result['cls_score'][None], torch.stack(boxes)[None]
