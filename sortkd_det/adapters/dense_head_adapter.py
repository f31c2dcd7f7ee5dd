"""Dense heads: RetinaNet, FCOS, ATSS, GFL, RTMDet, YOLOX and their kin, place by place."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.functional import check_whole
from sortkd_det.registry import ADAPTERS

from .box_reader import BoxReader
from .dense_head_objects import boxes_of_priors
from .dense_head_reader import (
    DenseRows,
    all_logits,
    class_maps,
    cropped,
    gather,
    reader_of,
    rows_where,
)
from .dense_heads import (
    GIVEN_AN_OBJECT,
    OF_WORDS,
    WITHOUT_LABELS,
    Grids,
    activation_of_head,
    ask,
    check_readable,
    dense_head_of,
    is_head,
    places_of,
    priors_of,
    strides_of,
)
from .detector_adapter import DetectorAdapter
from .objects import boxes_of, centres, contain

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
            loud: a ``warmup`` of its term may serve. None: ``'all'`` in heads with sigmoids that
            learn from labels what is background, else ``'none'``.

    Raises:
        TypeError, ValueError: ``negatives`` is none of these; heads that cannot be read, or that
            do not fit each other: the message names the difference and what would serve.
    """

    def __init__(
        self, student: nn.Module, teacher: Teacher, negatives: str | int | None = None
    ) -> None:
        self.head, self.teacher_head = dense_head_of(student), dense_head_of(teacher.model)
        if negatives not in (None, 'none', 'all'):
            if isinstance(negatives, str):
                raise ValueError(
                    f"negatives must be 'none', 'all' or a whole number, got {negatives!r}"
                )
            check_whole('negatives', negatives)
        check_readable(self.head, 'student')
        check_readable(self.teacher_head, 'teacher')
        self.activation = activation_of_head(self.head)
        if negatives is None:
            knows_background = not is_head(self.head, *GIVEN_AN_OBJECT, *WITHOUT_LABELS)
            negatives = 'all' if self.activation == 'sigmoid' and knows_background else 'none'
        self.negatives = negatives
        teacher.class_map.check_numbers(self.head.num_classes, self.teacher_head.num_classes)
        self._check_heads()
        self._check_padding(student, teacher.model)
        self.reader = reader_of(self.head, student)
        self.box_reader = None
        if BoxReader.reads(self.head, self.teacher_head):
            self.box_reader = BoxReader(self.head)
            self.gives = self.gives | {'boxes'}
        boxes = [] if self.box_reader is None else [self.box_reader]
        super().__init__(student, teacher, self.reader, *boxes)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both have dense heads; kinds that this adapter cannot read are refused by name
        when it is built.
        """
        return all(dense_head_of(model) is not None for model in (student, teacher))

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of the dense head; those of words (GLIP) are no fixed number."""
        head = dense_head_of(model)
        if head is None or is_head(head, *OF_WORDS):
            return {}
        name = 'bbox_head' if getattr(model, 'bbox_head', None) is head else 'mask_head'
        return {f'{name}.num_classes': head.num_classes}

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
            teacher_output = ask(self.teacher_head, features)
            teacher_maps = [
                self.teacher.class_map.columns(level, self.activation, 2)
                for level in class_maps(self.teacher_head, teacher_output)
            ]
        self._check_maps(teacher_maps)
        maps, background = self.reader.maps, self.reader.num_classes
        if is_head(self.head, *WITHOUT_LABELS):
            labels = self._best_priors(teacher_maps, data_samples)
            weight = torch.ones_like(labels, dtype=torch.float32)
        else:
            labels, weight = self.reader.read(data_samples)
        find_boxes = None
        if self.box_reader is not None:
            find_boxes = self.box_reader.finder(labels != background, teacher_output[1])
        rows = None  # all of them
        if self.negatives != 'all':
            chosen = labels != background
            if self.negatives != 'none':
                chosen |= self._surest(teacher_maps, ~chosen & (weight > 0))
            rows = rows_where(chosen, maps)
        student, taught = (
            all_logits(each, maps, loss) if rows is None else gather(each, rows, loss)
            for each, loss in (
                (maps, getattr(self.head, 'loss_cls', None)),
                (teacher_maps, getattr(self.teacher_head, 'loss_cls', None)),
            )
        )
        place = slice(None) if rows is None else (rows.image, rows.index)
        return LogitBatch(
            student=student,
            teacher=taught,
            labels=labels[place].flatten(),
            weight=weight[place].flatten(),
            activation=self.activation,
            background=background,
            divisor='positives',
            sources=self.reader.sources,
            find_places=self._find_places(rows),
            find_boxes=find_boxes,
        )

    def _find_places(self, rows: DenseRows | None) -> Callable[[], Tensor] | None:
        """What yields (N, 5), the places of some rows, or of all, image by image."""
        if is_head(self.head, 'SOLOHead'):  # its cells have no size in pixels
            return None
        maps, sizes = self.reader.maps, self.reader.sizes

        def find() -> Tensor:
            asked = rows
            if rows is None:
                every = torch.ones(sizes[0][0], sum(priors for _, priors in sizes))
                asked = rows_where(every.to(maps[0].device, torch.bool), maps)
            boxes = boxes_of_priors(self.head, maps, asked)
            places = torch.cat([asked.image[:, None].to(boxes), boxes], 1)
            return places if rows is not None else places[asked.image.argsort(stable=True)]

        return find

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
        for level in cropped(teacher_maps, self.reader.maps):
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
        middles = centres(places_of(self.head, maps))
        scores = all_logits(teacher_maps, maps, None).unflatten(0, (len(data_samples), -1))
        labels = torch.full(
            scores.shape[:2], self.reader.num_classes, dtype=torch.int64, device=scores.device
        )
        for score, label, sample in zip(scores, labels, data_samples, strict=True):
            objects = sample.gt_instances
            boxes = boxes_of(objects)
            if len(boxes) == 0:
                continue
            of_objects = score.t()[objects.labels].float()
            of_objects = of_objects.masked_fill(~contain(boxes, middles), -torch.inf)
            top = of_objects.topk(min(PRIORS_PER_OBJECT, len(middles)), 1)
            best = torch.full_like(of_objects, -torch.inf).scatter_(1, top.indices, top.values)
            surest, which = best.max(0)
            label.copy_(torch.where(surest > -torch.inf, objects.labels[which], label))
        return labels

    def _check_padding(self, student: nn.Module, teacher: nn.Module) -> None:
        """Raise if grids over the batch would lie elsewhere when it is padded for the teacher."""
        if not is_head(self.head, 'SOLOHead'):
            return
        own, other = (model.data_preprocessor.pad_size_divisor for model in (student, teacher))
        if own % other:
            raise ValueError(
                f'the pad_size_divisor of the teacher is {other}, and that of the student {own}; '
                f'the grids of {type(self.head).__name__} are laid over the padded batch, so that '
                'it must be padded alike: expected a multiple of that of the teacher'
            )

    def _check_heads(self) -> None:
        """Raise unless both heads say the same of the same priors."""
        heads = (self.head, self.teacher_head)
        names = [type(head).__name__ for head in heads]
        kinds = [f'a {activation_of_head(head)} {_kind(head)}' for head in heads]
        serves = "Pairs by object serve instead: adapter='ObjectAdapter'"
        if any(is_head(head, 'SOLOHead') for head in heads):
            serves = 'A term of features (PKDLoss, CWDLoss, FitNetLoss) serves instead'
        if kinds[0] != kinds[1]:
            raise ValueError(
                f'the class logits of the teacher ({names[1]}) are {kinds[1]}, and those of the '
                f'student ({names[0]}) are {kinds[0]}; DenseHeadAdapter expects the same kind. '
                f'{serves}'
            )
        if not _same_priors(*map(priors_of, heads)):
            told = [_describe(priors_of(head)) for head in heads]
            raise ValueError(
                f'the priors of the teacher ({names[1]}) are {told[1]}, and those of the student '
                f'({names[0]}) are {told[0]}; DenseHeadAdapter pairs logits prior by prior. '
                f'{serves}'
            )
        if self.negatives != 'none' and is_head(self.head, *GIVEN_AN_OBJECT):
            raise ValueError(
                f'negatives is {self.negatives!r}, and the class logits of {names[0]} are trained '
                "on rows of objects alone, so that on others they say nothing; give 'none'"
            )


def _kind(head: nn.Module) -> str:
    given = is_head(head, *GIVEN_AN_OBJECT)
    return 'of the class given that there is an object' if given else 'of an object of the class'


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
    if isinstance(generator, Grids):
        return f'cells of grids, num_grids={generator.num_grids}'
    return (
        f'{type(generator).__name__}(strides={strides_of(generator)}, '
        f'num_base_priors={list(generator.num_base_priors)})'
    )
