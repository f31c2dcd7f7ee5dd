"""MaskFormer and Mask2Former, object by object: queries are told apart by their masks."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.functional import check_choice
from sortkd_det.registry import ADAPTERS

from .adapter import Adapter
from .detector_adapter import DetectorAdapter
from .loss_calls import LossCalls, activation_of, hard_labels
from .reader import Reader


@ADAPTERS.register_module()
class MaskQueryAdapter(DetectorAdapter):
    """Queries with masks: those of the student that its own loss matches to an object learn what
    the teacher's best query of that object says.

    A matched query's object is that of its label whose mask it overlaps most; the teacher's query
    is the one with the largest overlap × probability of the object's class. Where both have
    masks of stuff, these are objects too.

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
            parts += self._layer(layer, len(layers), targets, columns, masks[answer])
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
    ) -> list[tuple[Tensor, ...]]:
        """Of each image: logits of student and teacher, labels and weights of its matched rows."""
        call = self.reader.losses[layer]
        num_queries = len(call.scores) // len(targets)
        parts = []
        for image, target in enumerate(targets):
            rows = slice(image * num_queries, (image + 1) * num_queries)
            labels = hard_labels(call.target, self.head.num_classes)[rows]
            matched = (labels != self.head.num_classes).nonzero().squeeze(1)
            labels = labels[matched]
            weight = torch.full_like(labels, share, dtype=torch.float32)
            if call.weight is not None:
                weight = weight * call.weight[rows][matched]
            taught = scores[image, :0]
            if len(matched):
                own = overlaps(self.reader.masks[layer][image, matched].detach(), target.masks)
                found = own.masked_fill(labels[:, None] != target.labels, -1).argmax(1)
                padded = _padded(target.masks, self._padded_to)
                sights = overlaps(masks[image], padded)
                sights = sights * scores[image].float().softmax(1)[:, target.labels]
                taught = scores[image, sights.argmax(0)[found]]
            parts.append((call.scores[rows][matched], taught, labels, weight))
        return parts


class _MaskQueryReader(Reader):
    """The queries of a student's head, as they pass its ``loss_cls``, layer by layer."""

    def __init__(self, head: nn.Module) -> None:
        self.head = head
        self.losses = LossCalls(head.loss_cls)
        super().__init__(self.losses)
        self.reset()

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the head and its loss."""

        def see(output: Any) -> None:
            self.scores, self.masks = (list(each) for each in output)

        return [Adapter.watch_output(self.head, see), *super().attach()]

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        self.scores: list[Tensor] = []  # of each layer, (B, Q, C + 1)
        self.masks: list[Tensor] = []  # of each layer, (B, Q, h, w), logits

    def check(self) -> int:
        """The number of layers; raise unless each called the loss once, on its own queries.

        Raises:
            ValueError: it did not.
        """
        own = [each.flatten(0, 1) for each in self.scores]
        given = [call.scores for call in self.losses]
        same = len(own) == len(given) and all(map(torch.equal, own, given))
        if not own or not same:
            raise ValueError(
                f'{type(self.head).__name__} called its loss_cls {len(given)} times for {len(own)} '
                'layers of its decoder, or on other rows than theirs; MaskQueryAdapter expects one '
                'call for each layer, on its queries image by image'
            )
        return len(own)


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
    truth = F.interpolate(objects[:, None].float(), masks.shape[-2:], mode='area').flatten(1)
    size = chances.sum(1)[:, None] + truth.sum(1)
    return 2 * chances @ truth.T / size.clamp(min=1e-6)


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
