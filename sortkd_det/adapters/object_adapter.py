"""Any detector for any other: both are read where they see the annotated objects."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.functional import check_choice, translate
from sortkd_det.registry import ADAPTERS

from .dense_head_objects import DenseObjectReader, DensePriors
from .dense_heads import GIVEN_AN_OBJECT, dense_head_of, is_head
from .detector_adapter import DetectorAdapter
from .loss_calls import activation_of
from .objects import ObjectRows, Objects
from .query_head import QueryHeadReader, best_queries, see_by_queries
from .roi_head_adapter import RoIHeadAdapter, RoIReader, box_heads, checked_roi_head, is_sparse
from .sparse_roi_head import SparseRoIReader, see_by_stages

_SEEN_BY_QUERIES = {'query': see_by_queries, 'sparse': see_by_stages}


@ADAPTERS.register_module()
class ObjectAdapter(DetectorAdapter):
    """Each row of the student that is to find an object is taught what the teacher sees there.

    It pairs detectors of two families, such as DINO and Faster R-CNN, and two with queries
    (DETR and its kin, Sparse R-CNN, QueryInst); others it pairs where it is named. The
    student's rows are its positives: sampled RoIs, priors, or matched queries, of cascades and
    Sparse R-CNN those of all stages. Their object is told by the target box that the
    student's own loss asks of them, and where that is no box of the image (RetinaNet, RoI
    heads), by the largest overlap. The teacher sees an object

    - with an RoI head: at the object's own box, by the mean of its stages;
    - with a dense head: at the prior with its centre in the box (or the nearest) that gives
      the object's class the largest probability;
    - with queries: by that with the largest IoU × probability of the object's class. Objects
      that none overlaps teach nothing.

    Its logits are translated where one head has a softmax and the other sigmoids
    (:func:`sortkd_det.functional.translate`).

    Args:
        student: a detector with an RoI head, a dense head or queries.
        teacher: likewise.
        at: where an RoI teacher looks: at the ``'objects'``, or at the student's own ``'rows'``:
            RoIs, predicted boxes where its loss of boxes shows them, else priors; within the
            image.
        layers: the ``'last'`` or ``'all'`` layers of the decoder of a student with queries,
            whose losses are then summed, as its own are; the teacher's layer by layer where
            both have as many, else its last.

    Raises:
        ValueError: another ``at`` or ``layers``; heads that cannot be read: the message
            names them and what would serve; numbers of classes that do not fit, or a model
            without normalisation.
    """

    def __init__(
        self, student: nn.Module, teacher: Teacher, at: str = 'objects', layers: str = 'last'
    ) -> None:
        check_choice('at', at, ('objects', 'rows'))
        check_choice('layers', layers, ('last', 'all'))
        family = _checked_family(student, 'student')
        self.looks_by = _checked_family(teacher.model, 'teacher')
        self.at = at
        if at == 'rows' and self.looks_by != 'RoI':
            raise ValueError(
                f"at is 'rows', and the teacher, a {type(teacher.model).__name__}, cannot be asked "
                "about given boxes; expected a teacher with an RoI head, or at='objects'"
            )
        self.reader = _reader_of(student, family, layers)
        self.activation = self.reader.activation
        head = _head_of(teacher.model)
        if self.looks_by == 'dense':
            given = is_head(_head_of(student), *GIVEN_AN_OBJECT)
            self.priors = DensePriors(head, joint=not given)
            self.seen_as = self.priors.activation
        else:
            self.seen_as = activation_of(head.loss_cls)
        teacher.class_map.check_numbers(self.reader.num_classes, head.num_classes)
        super().__init__(student, teacher, self.reader)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether they are detectors of two families, or have queries; kinds that this adapter
        cannot read are refused by name when it is built.
        """
        families = [_family(model) for model in (student, teacher)]
        return (
            None not in families
            and families != ['mask', 'mask']
            and (families[0] != families[1] or families[0] in ('query', 'sparse'))
        )

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of a head with queries; words (Grounding DINO) are no fixed number."""
        if _family(model) != 'query':
            return {}
        return {'bbox_head.num_classes': model.bbox_head.num_classes}

    def reset(self) -> None:
        """Forget the last batch."""
        super().reset()
        self._queries = None  # what they say of the images, and where

    def prepare(self, inputs: Tensor, data_samples: Sequence) -> None:
        """Run the teacher's backbone and neck; where it has queries all of it, for they ask for
        the images alone.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``img_shape``.
        """
        super().prepare(inputs, data_samples)
        see = _SEEN_BY_QUERIES.get(self.looks_by)
        if see is not None:
            samples = self.teacher_samples(data_samples)
            with self.teacher.apart(inputs.device):
                features = self._to_pool(self._features, len(inputs))
                self._queries = see(self.teacher.model, features, samples)

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Read the student's positives, and ask the teacher about their objects.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances``.

        Returns:
            N = positives of all stages or layers that are read, in the student's columns.

        Raises:
            ValueError: the student's losses were called otherwise than its reader knows.
        """
        objects = Objects.of(data_samples)
        parts = self.reader.rows(objects, data_samples)
        features = self.features_of(len(inputs))
        with torch.no_grad(), self.teacher.precision(inputs.device):
            if self.at == 'rows':
                images = [objects.images[part.objects] for part in parts]
                sights = [
                    self._at_boxes(features, _clipped(part.boxes, image, data_samples), image)
                    for part, image in zip(parts, images, strict=True)
                ]
            else:
                sights = self._of_objects(features, objects, len(parts))
                sights = [
                    (logits[part.objects], seen[part.objects])
                    for part, (logits, seen) in zip(parts, sights, strict=True)
                ]
            taught, seen = (torch.cat(each) for each in zip(*sights, strict=True))
            taught = translate(taught, self.seen_as, self.activation)
        return LogitBatch(
            student=torch.cat([part.logits for part in parts]),
            teacher=taught,
            labels=torch.cat([part.labels for part in parts]),
            weight=torch.cat([part.weight for part in parts]) * seen,
            activation=self.activation,
            background=self.reader.num_classes,
            divisor='positives',
            sources=[source for part in parts for source in part.source],
            find_places=lambda: _places(parts, objects),
        )

    def _of_objects(
        self, features: Any, objects: Objects, num_parts: int
    ) -> list[tuple[Tensor, Tensor]]:
        """For each part of the student's rows: what the teacher sees of the G objects, (G, C) or
        (G, C + 1), and (G,) bool: whether it does.
        """
        if self.looks_by == 'RoI':
            return [self._at_boxes(features, objects.boxes, objects.images)] * num_parts
        columns = self.teacher.class_map.columns
        if self.looks_by == 'dense':
            maps = [columns(level, self.seen_as, 2) for level in self.priors.maps(features)]
            return [self.priors.look(maps, objects)] * num_parts
        scores, boxes = self.teacher.finish(self._queries)
        if len(scores) != num_parts:
            scores, boxes = scores[-1:], boxes[-1:]
        found = [
            best_queries(columns(score, self.seen_as, 2), box, self.seen_as, objects)
            for score, box in zip(scores, boxes, strict=True)
        ]
        return found if len(found) == num_parts else found * num_parts

    def _at_boxes(self, features: Any, boxes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """What an RoI head says of boxes, (N, C + 1), and (N,) bool, all true."""
        ends = boxes.float().unflatten(1, (2, 2))  # RoIAlign takes no box whose ends are crossed
        boxes = torch.cat([ends.amin(1), ends.amax(1)], 1)
        rois = torch.cat([images[:, None].to(boxes), boxes], 1)
        logits = RoIHeadAdapter.classify(self.teacher.model, features, rois, 'mean')
        seen = torch.ones_like(images, dtype=torch.bool)
        return self.teacher.class_map.columns(logits, self.seen_as), seen


class RoIObjectReader(RoIReader):
    """The positives among a student's sampled RoIs, stage by stage, and their objects.

    Args:
        student: the two-stage detector.
    """

    activation = 'softmax'

    def rows(self, objects: Objects, data_samples: Sequence) -> list[ObjectRows]:
        """The RoIs of each stage that are to find an object; theirs is what they overlap most.

        Args:
            objects: those of the batch.
            data_samples: its samples.

        Raises:
            ValueError: as :meth:`RoIReader.calls`.
        """
        found = []
        calls = self.calls(len(data_samples))
        for (rois, call), share in zip(calls, self.shares, strict=True):
            rows, labels, weight = call.matched(self.num_classes, share)
            rois = rois[rows].detach()
            of = objects.by_overlap(rois[:, 1:], labels, rois[:, 0].long())
            part = ObjectRows(call.scores[rows], labels, weight, of, rois[:, 1:], [call.scores])
            found.append(part)
        return found


def _family(model: nn.Module) -> str | None:
    """How a detector finds objects: by 'RoI', 'dense', 'query', 'sparse' or 'mask'; or None."""
    if box_heads(model):
        return 'sparse' if is_sparse(model) else 'RoI'
    if hasattr(model, 'panoptic_head'):
        return 'mask'
    if dense_head_of(model) is not None:
        return 'dense'
    if not isinstance(getattr(model, 'bbox_head', None), nn.Module):
        return None
    from mmdet.models.dense_heads import DETRHead  # a detector is met, so that it is loaded

    return 'query' if isinstance(model.bbox_head, DETRHead) else None


def _clipped(boxes: Tensor, images: Tensor, data_samples: Sequence) -> Tensor:
    """(N, 4) boxes within their images, as an RoI head's own are: what a student predicts early
    may be a million pixels wide, on which RoIAlign works for ever.
    """
    sizes = boxes.new_tensor([sample.img_shape[1::-1] * 2 for sample in data_samples])
    return torch.minimum(boxes.clamp(min=0), sizes[images])


def _places(parts: Sequence[ObjectRows], objects: Objects) -> Tensor:
    """(N, 5), the image of each row and where it is."""
    images = torch.cat([objects.images[part.objects] for part in parts])
    ends = torch.cat([part.boxes for part in parts]).detach().float().unflatten(1, (2, 2))
    return torch.cat([images[:, None].float(), ends.amin(1), ends.amax(1)], 1)


def _head_of(model: nn.Module) -> nn.Module:
    """The head that tells classes apart; of a cascade that of its last stage."""
    stages = list(box_heads(model).values())
    return stages[-1] if stages else dense_head_of(model) or model.bbox_head


def _reader_of(student: nn.Module, family: str, layers: str) -> Any:
    """What reads the positives of a student of the family."""
    if family == 'RoI':
        return RoIObjectReader(student)
    if family == 'sparse':
        return SparseRoIReader(student.roi_head)
    head = _head_of(student)
    if family == 'dense':
        return DenseObjectReader(head, student)
    return QueryHeadReader(head, layers)


_UNREADABLE = {
    'mask': 'whose queries have masks and no boxes; MaskQueryAdapter reads two of them. A term of '
    'features (PKDLoss, CWDLoss, FitNetLoss) serves instead',
    None: 'which is no detector that it knows',
}


def _checked_family(model: nn.Module, who: str) -> str:
    family = _family(model)
    if family in _UNREADABLE:
        raise ValueError(
            f'ObjectAdapter cannot read the {who}, a {type(model).__name__}, {_UNREADABLE[family]}'
        )
    if family == 'RoI':
        checked_roi_head(model, who)
    return family
