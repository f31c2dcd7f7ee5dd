"""Query heads: DETR, Conditional, DAB and Deformable DETR, DINO and DDQ, object by object."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .loss_calls import LossCalls, activation_of
from .objects import ObjectRows, Objects
from .reader import Outputs, Reader


class QueryHeadReader(Reader):
    """The matched queries of a student's decoder, as they pass its losses.

    All these heads call their losses for the decoder's layers first and in order; those for
    the encoder's proposals and for denoising come later, and are left out.

    Args:
        head: the student's ``bbox_head``.
        layers: ``'last'`` or ``'all'`` of the decoder's layers.
    """

    def __init__(self, head: nn.Module, layers: str) -> None:
        self.head = head
        self.layers = layers
        self.num_classes = head.num_classes
        self.activation = activation_of(head.loss_cls)
        self.losses = LossCalls(head.loss_cls)
        self.boxes = LossCalls(head.loss_iou)
        self.outputs = Outputs(head)
        super().__init__(self.losses, self.boxes, self.outputs)

    @property
    def scores(self) -> Tensor | Sequence[Tensor]:
        """(layers, B, queries, C), or nothing."""
        return self.outputs[-1][0] if self.outputs else []

    def rows(self, objects: Objects, data_samples: Sequence) -> list[ObjectRows]:
        """The matched queries of each layer that is read.

        Args:
            objects: those of the batch.
            data_samples: its samples.

        Raises:
            ValueError: the losses were called otherwise than this reader knows.
        """
        num_layers = len(self.scores)
        if num_layers == 0 or min(len(self.losses), len(self.boxes)) < num_layers:
            raise ValueError(
                f'{type(self.head).__name__} called loss_cls {len(self.losses)} and loss_iou '
                f'{len(self.boxes)} times for {num_layers} layers of its decoder; expected one '
                'call of each for each layer'
            )
        first = num_layers - 1 if self.layers == 'last' else 0
        return [self._layer(layer, objects) for layer in range(first, num_layers)]

    def _layer(self, layer: int, objects: Objects) -> ObjectRows:
        call, boxes = self.losses[layer], self.boxes[layer]
        share = len(self.scores) if self.layers == 'all' else 1  # a sum of means over layers
        rows, labels, weight = call.matched(self.num_classes, share)
        found = objects.by_target(boxes.target[rows], labels, self._images(layer)[rows])
        if found is None:
            raise ValueError(
                f'the boxes that {type(self.head).__name__} gave to its loss_iou in layer {layer} '
                'of the decoder are not those of gt_instances; expected target boxes in pixels, '
                'row by row beside the logits'
            )
        predicted = boxes.scores.detach()[rows]
        return ObjectRows(call.scores[rows], labels, weight, found, predicted, [call.scores])

    def _images(self, layer: int) -> Tensor:
        """(rows,) int64: the image of each row of a layer's loss.

        Which queries the loss was given is told by its graph: with denoising not all of them
        are, and in DDQ other numbers of each image.
        """
        scores, queries = self.losses[layer].scores, self.scores
        if not scores.requires_grad:  # a validation: as many of each image
            images = torch.arange(queries.shape[1], device=scores.device)
            return images.repeat_interleave(len(scores) // queries.shape[1])
        (used,) = torch.autograd.grad(
            scores, queries, torch.ones_like(scores), retain_graph=True, allow_unused=True
        )
        used = torch.zeros_like(queries[layer]) if used is None else used[layer]
        used = (used != 0).any(2)
        if not torch.equal(queries[layer][used], scores):
            raise ValueError(
                f'{type(self.head).__name__} called its loss_cls on other rows than those of layer '
                f'{layer} of its decoder, image by image; ObjectAdapter cannot tell what to distil'
            )
        return used.nonzero()[:, 0]


def see_by_queries(
    model: nn.Module, features: Sequence[Tensor], data_samples: Sequence
) -> tuple[Tensor, Tensor]:
    """What a frozen model of this kind says of the images, without denoising.

    Args:
        model: the detector, in eval mode.
        features: the levels of its neck, each (B, C, H, W).
        data_samples: B samples with ``batch_input_shape`` and ``img_shape`` as it pads.

    Returns:
        Logits (layers, B, Q, C) and boxes (layers, B, Q, 4), x1, y1, x2, y2 in pixels.
    """
    from mmdet.structures.bbox import bbox_cxcywh_to_xyxy

    scores, boxes = model.bbox_head(**model.forward_transformer(features, data_samples))[:2]
    sizes = [sample.img_shape[1::-1] * 2 for sample in data_samples]  # width, height, twice
    return scores, bbox_cxcywh_to_xyxy(boxes) * boxes.new_tensor(sizes)[:, None]


def best_queries(
    scores: Tensor, boxes: Tensor, activation: str, objects: Objects
) -> tuple[Tensor, Tensor]:
    """Of each object the query of its image with the largest IoU × probability of its class.

    Args:
        scores: (B, Q, C) or (B, Q, C + 1), a layer's logits in the student's classes.
        boxes: (B, Q, 4) in pixels.
        activation: what ``scores`` are made for.
        objects: the G objects of the batch.

    Returns:
        Their logits (G, C) or (G, C + 1), and (G,) bool: whether that query overlaps the object.
    """
    from mmdet.structures.bbox import bbox_overlaps

    chances = scores.float().sigmoid() if activation == 'sigmoid' else scores.float().softmax(-1)
    overlaps = bbox_overlaps(objects.boxes[:, None], boxes.float()[objects.images])[:, 0]  # (G, Q)
    best, query = (overlaps * chances[objects.images, :, objects.labels]).max(1)
    return scores[objects.images, query], best > 0
