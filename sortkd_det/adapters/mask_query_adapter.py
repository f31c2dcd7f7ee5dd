"""MaskFormer and Mask2Former, object by object: queries are told apart by their masks."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.functional import check_choice
from sortkd_det.registry import ADAPTERS

from .detector_adapter import DetectorAdapter
from .loss_calls import LossCalls, activation_of
from .reader import Outputs, Reader


@ADAPTERS.register_module()
class MaskQueryAdapter(DetectorAdapter):
    """Queries with masks: those of the student that its own loss matches to an object learn what
    the teacher's best query of that object says.

    A matched query's object is told by what the student's own loss of masks asks of the query,
    and without a graph (a validation) guessed by overlap; the teacher's query is the one with
    the largest overlap × probability of the object's class.
    Where both have masks of stuff, these are objects too.

    Args:
        student: a detector with a ``MaskFormerHead`` or a ``Mask2FormerHead``.
        teacher: likewise.
        layers: ``'last'`` or ``'all'`` of the student's decoder layers, which learn from the
            teacher's layers one by one where it has as many, and else from its last.

    Raises:
        ValueError: another ``layers``, a head without a softmax, numbers of classes that do not
            fit, or a model without normalisation.
    """

    activation = 'softmax'

    def __init__(self, student: nn.Module, teacher: Teacher, layers: str = 'last') -> None:
        self.layers = check_choice('layers', layers, ('last', 'all'))
        self.head, self.teacher_head = student.panoptic_head, teacher.model.panoptic_head
        for head, who in ((self.head, 'student'), (self.teacher_head, 'teacher')):
            if activation_of(head.loss_cls) != 'softmax':
                raise ValueError(
                    f'the {type(head).__name__} of the {who} has a sigmoid for each class; '
                    'MaskQueryAdapter expects a softmax over C + 1'
                )
        teacher.class_map.check_numbers(self.head.num_classes, self.teacher_head.num_classes)
        self.reader = _MaskQueryReader(self.head)
        super().__init__(student, teacher, self.reader)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both have such a head."""
        return all(_has_mask_queries(model) for model in (student, teacher))

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of things and stuff."""
        if not _has_mask_queries(model):
            return {}
        return {'panoptic_head.num_classes': model.panoptic_head.num_classes}

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Read the student's matched queries, and run the teacher's head.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances`` that have masks, and ``gt_sem_seg``
                where there is stuff.

        Returns:
            N = matched queries of the layers that are read, and C + 1 columns; background is C.

        Raises:
            ValueError: the losses were called otherwise than this adapter knows.
        """
        num_layers = self.reader.check()
        layers = range(0 if self.layers == 'all' else num_layers - 1, num_layers)
        targets = _targets(self.head, data_samples)
        with torch.no_grad(), self.teacher.precision(inputs.device):
            samples = self.teacher_samples(data_samples)
            scores, masks = self.teacher_head(self.teacher_features(), samples)
        paired = len(scores) == num_layers
        parts = []
        for layer in layers:
            answer = layer if paired else -1
            columns = self.teacher.class_map.columns(scores[answer], self.activation, 2)
            parts.append(self._layer(layer, len(layers), targets, columns, masks[answer]))
        student, teacher, labels, weight = (torch.cat(each) for each in zip(*parts, strict=True))
        return LogitBatch(
            student=student,
            teacher=teacher,
            labels=labels,
            weight=weight,
            activation=self.activation,
            background=self.head.num_classes,
            divisor='positives',
            sources=[self.reader.losses[layer].scores for layer in layers],
        )

    def _layer(
        self, layer: int, share: int, targets: Sequence, scores: Tensor, masks: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits of student and teacher, labels and weights of the matched rows of a layer."""
        call = self.reader.losses[layer]
        rows, labels, weight = call.matched(self.head.num_classes, share)
        num_queries = len(call.scores) // len(targets)
        image_of, query_of = rows // num_queries, rows % num_queries
        points = self.reader.points(layer, image_of, query_of)
        taught = [scores[0, :0]]
        for image, target in enumerate(targets):
            here = image_of == image
            queries = query_of[here]
            if not len(queries):
                continue
            if points is None:
                own = self.reader.masks[layer][image, queries].detach()
                cost = -overlaps(own, target.masks)
            else:
                cost = disagreements(*(each[image, queries] for each in points), target.masks)
            found = one_each(cost, labels[here], target)
            sights = overlaps(masks[image], _padded(target.masks, self._padded_to))
            sights = sights * scores[image].float().softmax(1)[:, target.labels]
            taught.append(scores[image, sights.argmax(0)[found]])
        return call.scores[rows], torch.cat(taught), labels, weight


class _MaskQueryReader(Reader):
    """The queries of a student's head, as they pass its ``loss_cls`` and the matched ones its
    ``loss_dice``, layer by layer.
    """

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.losses = LossCalls(head.loss_cls)
        self.matched = LossCalls(head.loss_dice)
        self.outputs = Outputs(head)
        super().__init__(self.losses, self.matched, self.outputs)

    @property
    def masks(self) -> Sequence[Tensor] | Tensor:
        """(B, Q, h, w) logits of each layer, in a list (Mask2Former) or stacked (MaskFormer)."""
        return self.outputs[-1][1]

    def check(self) -> int:
        """The number of layers; raise unless each called the loss once, on its own queries.

        Raises:
            ValueError: it did not.
        """
        scores = self.outputs[-1][0] if self.outputs else []  # (B, Q, C + 1) of each layer
        own = [each.flatten(0, 1) for each in scores]
        given = [call.scores for call in self.losses]
        same = len(own) == len(given) and all(map(torch.equal, own, given))
        if not own or not same:
            raise ValueError(
                f'{type(self.head).__name__} called its loss_cls {len(given)} times for {len(own)} '
                'layers of its decoder, or on other rows than theirs; MaskQueryAdapter expects one '
                'call for each layer, on its queries image by image'
            )
        return len(own)

    def points(self, layer: int, image: Tensor, query: Tensor) -> list[Tensor] | None:
        """Where a layer's loss of masks looks, and where it asks for the object.

        It looks between the places of a query's mask, Mask2Former's at random points of which
        the graph alone tells.

        Args:
            layer: which.
            image: (N,) int64, the image of each query that has an object.
            query: (N,) int64, which of its queries.

        Returns:
            Two (B, Q, h, w): the weight of the points on each place of a query's mask, and
            of those within its target; None without a graph (a validation).

        Raises:
            ValueError: ``loss_dice`` was not called once for each layer, on the matched queries.
        """
        number = len(query)
        call = self.matched[layer] if layer < len(self.matched) else None
        found = 0 if call is None else len(call.scores)
        same = found == number
        maps = None
        if same and number and call.scores.requires_grad:
            stacked = isinstance(self.masks, Tensor)
            masks = self.masks if stacked else self.masks[layer]
            maps = [
                torch.autograd.grad(
                    call.scores,
                    masks,
                    each.to(call.scores),
                    retain_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )[0]
                for each in (torch.ones_like(call.scores), call.target)
            ]
            maps = [each[layer] if stacked else each for each in maps]
            seen = maps[0].flatten(2).any(2).nonzero()
            same = torch.equal(seen, torch.stack([image, query], 1))
        if not same:
            raise ValueError(
                f'{type(self.head).__name__} gave {found} rows to its loss_dice in layer {layer} '
                f'of its decoder, which has {number} matched queries; MaskQueryAdapter expects '
                'the masks of these, one call for each layer'
            )
        return maps


def disagreements(points: Tensor, inside: Tensor, objects: Tensor) -> Tensor:
    """The squared difference of each query's target and each object, summed over the points at
    which a loss looks, up to a number for each query.

    Args:
        points: (Q, h, w), the weight of the points on each place of a query's mask.
        inside: (Q, h, w), of those within the query's target.
        objects: (G, H, W), 0 or 1, of the same image, in more pixels.

    Returns:
        (Q, G) float32.
    """
    truth = _on_places(objects, points.shape[-2:])
    with torch.autocast(points.device.type, enabled=False):
        seen, asked = (each.float().flatten(1) for each in (points, inside))
        return seen @ truth.square().T - 2 * asked @ truth.T


def one_each(cost: Tensor, labels: Tensor, target: Any) -> Tensor:
    """The object of each row, of its label and of no other row, at the lowest sum of costs.

    Args:
        cost: (N, G).
        labels: (N,) int64, of the rows.
        target: an ``InstanceData`` of the G objects, with ``labels``.

    Returns:
        (N,) int64 in [0, G).

    Raises:
        ValueError: more rows of a label than objects.
    """
    from mmdet.models.task_modules.assigners import HungarianAssigner

    num_labels = int(torch.cat([labels, target.labels]).max()) + 1
    rows, objects = (each.bincount(minlength=num_labels) for each in (labels, target.labels))
    if bool((rows > objects).any()):
        raise ValueError(
            f'{len(labels)} queries were matched to the {len(target.labels)} objects of an image, '
            'of a class more queries than objects; MaskQueryAdapter expects one query for each '
            'object, as HungarianAssigner matches them'
        )
    cost = cost.masked_fill(labels[:, None] != target.labels, torch.inf)
    assigner = HungarianAssigner({'type': _GivenCost})
    return assigner.assign(target.new(cost=cost), target).gt_inds - 1


class _GivenCost:
    """The cost that MMDetection's assigner asks for, where it is known already."""

    def __call__(self, pred_instances: Any, gt_instances: Any, img_meta: Any) -> Tensor:
        return pred_instances.cost


def overlaps(masks: Tensor, objects: Tensor) -> Tensor:
    """The Dice coefficient of each query's mask with each object's.

    Args:
        masks: (Q, h, w), logits.
        objects: (G, H, W), 0 or 1, of the same image, in more pixels.

    Returns:
        (Q, G) float32 in [0, 1].
    """
    chances = masks.float().sigmoid().flatten(1)
    if not len(objects):
        return chances[:, :0]
    truth = _on_places(objects, masks.shape[-2:])
    size = chances.sum(1)[:, None] + truth.sum(1)
    with torch.autocast(masks.device.type, enabled=False):
        return 2 * chances @ truth.T / size.clamp(min=1e-6)


def _on_places(objects: Tensor, size: Sequence[int]) -> Tensor:
    """How much of each place of a mask of h × w objects (G, H, W) fill: (G, h·w) float32."""
    return F.interpolate(objects[:, None].float(), size, mode='area').flatten(1)


def _has_mask_queries(model: nn.Module) -> bool:
    if not isinstance(getattr(model, 'panoptic_head', None), nn.Module):
        return False
    from mmdet.models.dense_heads import MaskFormerHead  # a detector is met, so that it is loaded

    return isinstance(model.panoptic_head, MaskFormerHead)


def _targets(head: nn.Module, data_samples: Sequence) -> list:
    """Labels and masks of each image's objects, as the head itself makes them."""
    return head.preprocess_gt(
        [sample.gt_instances for sample in data_samples],
        [sample.get('gt_sem_seg') for sample in data_samples],
    )


def _padded(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (G, H, W) on images that are padded to another size at the right and the bottom."""
    height, width = masks.shape[-2:]
    return F.pad(masks, (0, size[1] - width, 0, size[0] - height))
