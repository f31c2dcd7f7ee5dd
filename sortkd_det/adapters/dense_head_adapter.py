"""Dense heads: RetinaNet, FCOS, ATSS, GFL, RTMDet, YOLOX and their kin, place by place."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.functional import check_whole
from sortkd_det.registry import ADAPTERS

from .dense_head_reader import (
    DenseHeadReader,
    SSDHeadReader,
    all_logits,
    class_maps,
    gather,
    rows_where,
)
from .detector_adapter import DetectorAdapter
from .loss_calls import activation_of

#: Priors of each object where the head assigns none: as many as ATSS takes of a level.
PRIORS_PER_OBJECT = 9


@ADAPTERS.register_module()
class DenseHeadAdapter(DetectorAdapter):
    """Both heads are read at the same priors: those that the student's own loss makes positive.

    Their logits are gathered from the maps of both heads by place; the teacher runs
    backbone, neck and head, without decoding and NMS. Heads that assign no labels (FreeAnchor,
    AutoAssign) are taught at the priors within each object's box to which the teacher
    gives its class most.

    Args:
        student: a one-stage detector with a dense head.
        teacher: likewise, with the same priors, as many classes and the same kind of logits.
        negatives: which rows of background are taught beside the positives: ``'none'``; a
            number k: per image the k on which the teacher is surest of an object; or
            ``'all'``. The loss is divided by the number of positives, so that ``'all'`` begins
            loud: give its term a ``warmup``.

    Raises:
        TypeError, ValueError: ``negatives`` is none of these; heads that cannot be read, or that
            do not fit each other: the message names the difference and what would serve.
    """

    def __init__(self, student: nn.Module, teacher: Teacher, negatives: str | int = 'none') -> None:
        self.head, self.teacher_head = _dense_head(student), _dense_head(teacher.model)
        self.negatives = negatives
        if negatives not in ('none', 'all'):
            if isinstance(negatives, str):
                raise ValueError(
                    f"negatives must be 'none', 'all' or a whole number, got {negatives!r}"
                )
            check_whole('negatives', negatives)
        _check_readable(self.head, 'student')
        _check_readable(self.teacher_head, 'teacher')
        self.activation = _activation(self.head)
        teacher.class_map.check_numbers(self.head.num_classes, self.teacher_head.num_classes)
        self._check_heads()
        self.reader = (SSDHeadReader if _is(self.head, 'SSDHead') else DenseHeadReader)(self.head)
        super().__init__(student, teacher)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both have dense heads; kinds that this adapter cannot read are refused by name
        when it is built.
        """
        return all(_dense_head(model) is not None for model in (student, teacher))

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of the dense head; those of words (GLIP) are no fixed number."""
        head = _dense_head(model)
        if head is None or _is(head, *_OF_WORDS):
            return {}
        name = 'bbox_head' if getattr(model, 'bbox_head', None) is head else 'mask_head'
        return {f'{name}.num_classes': head.num_classes}

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the student's head and its losses."""
        return self.reader.attach()

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        self.reader.reset()

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Run the teacher's head, and read both at the rows that count.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances``.

        Returns:
            N = positives (and negatives) of the batch; background is C, which is a column
            of softmax heads alone.

        Raises:
            ValueError: a loss that was given other rows than those of the maps, or none; maps
                that do not fit each other.
        """
        features = self.teacher_features()
        with torch.no_grad(), self.teacher.precision(inputs.device):
            teacher_maps = [
                self.teacher.class_map.columns(level, self.activation, 2)
                for level in class_maps(self.teacher_head, self.teacher_head(features))
            ]
        self._check_maps(teacher_maps)
        maps, background = self.reader.maps, self.reader.num_classes
        if _is(self.head, *_WITHOUT_LABELS):
            labels = self._best_priors(teacher_maps, data_samples)
            weight = torch.ones_like(labels, dtype=torch.float32)
        else:
            labels, weight = self.reader.read(data_samples)
        losses = [getattr(head, 'loss_cls', None) for head in (self.head, self.teacher_head)]
        if self.negatives == 'all':
            student, taught = (
                all_logits(each, maps, loss)
                for each, loss in zip((maps, teacher_maps), losses, strict=True)
            )
            labels, weight = labels.flatten(), weight.flatten()
        else:
            chosen = labels != background
            if self.negatives != 'none':
                chosen |= self._surest(teacher_maps, ~chosen & (weight > 0))
            rows = rows_where(chosen, maps)
            student, taught = (
                gather(each, rows, loss)
                for each, loss in zip((maps, teacher_maps), losses, strict=True)
            )
            labels, weight = (each[rows.image, rows.index] for each in (labels, weight))
        batch = LogitBatch(
            student=student,
            teacher=taught,
            labels=labels,
            weight=weight,
            activation=self.activation,
            background=background,
            divisor='positives',
            sources=self.reader.sources,
        )
        self.reset()
        return batch

    def _check_maps(self, teacher_maps: Sequence[Tensor]) -> None:
        """Raise unless the student's head ran once, and the teacher's maps cover its maps."""
        if self.reader.num_forwards != 1:
            raise ValueError(
                f'{type(self.head).__name__} ran {self.reader.num_forwards} times in one forward '
                'of the student; DenseHeadAdapter expects once, and cannot tell what to distil'
            )
        shapes, taught = ([level.shape for level in m] for m in (self.reader.maps, teacher_maps))
        fit = len(shapes) == len(taught) and all(
            own[:3] == other[:3] and own[3] <= other[3] and own[4] <= other[4]
            for own, other in zip(shapes, taught, strict=True)
        )
        if not fit:
            raise ValueError(
                f'the maps of the teacher are {[tuple(shape) for shape in taught]}, and those of '
                f'the student {[tuple(shape) for shape in shapes]} (images, priors, classes, '
                'height, width); expected as many of each, and at least the height and width of '
                'the student'
            )

    def _surest(self, teacher_maps: Sequence[Tensor], among: Tensor) -> Tensor:
        """(B, P) bool: per image those on which the teacher is surest of an object."""
        scores = []
        for level, other in zip(teacher_maps, self.reader.maps, strict=True):
            level = level[..., : other.shape[-2], : other.shape[-1]]
            if self.activation == 'softmax':  # background is the last column
                score = -level.float().log_softmax(2)[:, :, -1]
            else:
                score = level.amax(2)
            scores.append(score.permute(0, 2, 3, 1).flatten(1))
        scores = torch.cat(scores, 1).masked_fill(~among, -torch.inf)
        top = scores.topk(min(self.negatives, scores.shape[1]), 1)
        return torch.zeros_like(among).scatter_(1, top.indices, top.values > -torch.inf)

    def _best_priors(self, teacher_maps: Sequence[Tensor], data_samples: Sequence) -> Tensor:
        """(B, P) labels: the priors in each object's box to which the teacher gives its class most.

        A prior that is best for several objects is that of which it is surest.
        """
        maps = self.reader.maps
        grids = _priors(self.head).grid_priors(
            [level.shape[-2:] for level in maps], device=maps[0].device
        )
        priors = torch.cat([grid.flatten(0, -2) for grid in grids])
        centres = (priors[:, :2] + priors[:, -2:]) / 2
        scores = all_logits(teacher_maps, maps, None).unflatten(0, (len(data_samples), -1))
        labels = torch.full(
            scores.shape[:2], self.reader.num_classes, dtype=torch.int64, device=scores.device
        )
        for score, label, sample in zip(scores, labels, data_samples, strict=True):
            objects = sample.gt_instances
            boxes = getattr(objects.bboxes, 'tensor', objects.bboxes)[:, None]
            if len(boxes) == 0:
                continue
            inside = ((centres >= boxes[..., :2]) & (centres <= boxes[..., 2:])).all(2)
            of_objects = score.t()[objects.labels].float().masked_fill(~inside, -torch.inf)
            top = of_objects.topk(min(PRIORS_PER_OBJECT, len(priors)), 1)
            best = torch.full_like(of_objects, -torch.inf).scatter_(1, top.indices, top.values)
            surest, which = best.max(0)
            label.copy_(torch.where(surest > -torch.inf, objects.labels[which], label))
        return labels

    def _check_heads(self) -> None:
        """Raise unless both heads say the same of the same priors."""
        heads = (self.head, self.teacher_head)
        names = [type(head).__name__ for head in heads]
        kinds = [f'a {_activation(head)} {_kind(head)}' for head in heads]
        serves = "Pairs by object serve instead: adapter='ObjectAdapter'"
        if kinds[0] != kinds[1]:
            raise ValueError(
                f'the class logits of the teacher ({names[1]}) are {kinds[1]}, and those of the '
                f'student ({names[0]}) are {kinds[0]}; DenseHeadAdapter expects the same kind. '
                f'{serves}'
            )
        if not _same_priors(*map(_priors, heads)):
            told = [_describe(_priors(head)) for head in heads]
            raise ValueError(
                f'the priors of the teacher ({names[1]}) are {told[1]}, and those of the student '
                f'({names[0]}) are {told[0]}; DenseHeadAdapter pairs logits prior by prior. '
                f'{serves}'
            )
        if self.negatives != 'none' and _is(self.head, *_GIVEN_AN_OBJECT):
            raise ValueError(
                f'negatives is {self.negatives!r}, and the class logits of {names[0]} are trained '
                "on rows of objects alone, so that on others they say nothing; give 'none'"
            )


_WITHOUT_LABELS = ('FreeAnchorRetinaHead', 'AutoAssignHead')
_GIVEN_AN_OBJECT = ('YOLOXHead', 'YOLOV3Head', 'AutoAssignHead')
_OF_WORDS = ('ATSSVLFusionHead', 'GroundingDINOHead')
_OTHERS = ('SOLOHead', 'GroundingDINOHead')  # refused by name too, and no dense heads by class

_FEATURES = 'A term of features (PKDLoss, CWDLoss, FitNetLoss) serves instead'
_HEAT_MAPS = f'it has heat maps of points, and no logits of priors. {_FEATURES}'
_UNREADABLE = {
    'CenterNetHead': _HEAT_MAPS,
    'CenterNetUpdateHead': _HEAT_MAPS,
    'CornerHead': _HEAT_MAPS,
    'CentripetalHead': _HEAT_MAPS,
    'SOLOHead': 'it hands over scores after their sigmoid and NMS, as a teacher, where '
    f'logits are wanted. {_FEATURES}',
    **dict.fromkeys(_OF_WORDS, f'its logits are of words of a text, no fixed classes. {_FEATURES}'),
}
_UNREADABLE_TEACHER = {
    'GARetinaHead': 'its priors move with the image, and in eval mode it takes one image at a '
    'time. A RetinaNet or another detector serves as the teacher instead',
}


def _is(head: nn.Module, *names: str) -> bool:
    """Whether ``head`` is of one of the classes of MMDetection of these names."""
    from mmdet.models import dense_heads  # a detector is met, so that it is loaded

    return isinstance(head, tuple(getattr(dense_heads, name) for name in names))


def _dense_head(model: nn.Module) -> Any:
    """The head of a one-stage detector, or None."""
    if hasattr(model, 'roi_head') or hasattr(model, 'panoptic_head'):
        return None
    head = getattr(model, 'bbox_head', None) or getattr(model, 'mask_head', None)
    if not isinstance(head, nn.Module):
        return None
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    dense = isinstance(head, BaseDenseHead) and not _is(head, 'RPNHead', 'CascadeRPNHead')
    return head if dense or _is(head, *_OTHERS) else None


def _check_readable(head: nn.Module, who: str) -> None:
    """Raise if there is no way to read the logits of ``head``."""
    if head is None:
        raise ValueError(f'the {who} has no dense head, such as that of RetinaNet, FCOS or YOLOX')
    known = _UNREADABLE | (_UNREADABLE_TEACHER if who == 'teacher' else {})
    for name, reason in known.items():
        if _is(head, name):
            raise ValueError(
                f'the head of the {who}, {type(head).__name__}, cannot be read by '
                f'DenseHeadAdapter: {reason}'
            )


def _activation(head: nn.Module) -> str:
    return 'softmax' if _is(head, 'SSDHead') else activation_of(getattr(head, 'loss_cls', None))


def _kind(head: nn.Module) -> str:
    given = _is(head, *_GIVEN_AN_OBJECT)
    return 'of the class given that there is an object' if given else 'of an object of the class'


def _priors(head: nn.Module) -> Any:
    # VFNet's, which it assigns by; all others'; SABL's and GA-RetinaNet's.
    for name in ('atss_prior_generator', 'prior_generator', 'square_anchor_generator'):
        if hasattr(head, name):
            return getattr(head, name)
    raise ValueError(
        f'{type(head).__name__} has no prior_generator, by which DenseHeadAdapter would see '
        'whether teacher and student have the same priors'
    )


def _same_priors(first: Any, second: Any) -> bool:
    """Whether two generators make the same priors on the same maps."""
    made = [
        generator.grid_priors([(2, 3)] * generator.num_levels, device='cpu')
        for generator in (first, second)
    ]
    return len(made[0]) == len(made[1]) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-8)
        for one, other in zip(*made, strict=True)
    )


def _describe(generator: Any) -> str:
    """Priors, for an error."""
    strides = [s[0] if isinstance(s, tuple | list) else s for s in generator.strides]
    return (
        f'{type(generator).__name__}(strides={strides}, '
        f'num_base_priors={list(generator.num_base_priors)})'
    )
