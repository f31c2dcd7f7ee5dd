"""Two-stage detectors: Faster R-CNN, Mask R-CNN, Cascade R-CNN, HTC and their kin."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.registry import ADAPTERS

from .adapter import Adapter
from .detector_adapter import DetectorAdapter
from .loss_calls import LossCall, LossCalls
from .objects import boxes_of
from .reader import Reader
from .roi_box_reader import RoIBoxReader, of_class

# What a teacher's heads take of images: the levels of its neck, and :func:`context_of` them.
_Seen = tuple[Sequence[Tensor], Mapping[str, Tensor]]


@ADAPTERS.register_module()
class RoIHeadAdapter(DetectorAdapter):
    """Both heads are read on the student's sampled RoIs, background included.

    The student's logits, labels, weights and RoIs pass by on their way into the
    ``bbox_roi_extractor`` and ``loss_cls`` of each stage; its code is untouched. Samplers
    that classify first (OHEM, PISA) call both for what they choose from: what counts is
    the call that trains, reduced and not under ``no_grad``, and the RoIs last
    extracted before it. The teacher runs backbone, neck, RoI extractor (and shared head,
    semantic head, global context) and box head: no RPN, no NMS.

    A cascade is taught at each of its stages, which count as in its own loss
    (:func:`stage_weights`). Boxes are those that the teacher gives for the RoIs of objects
    and their labels, of a cascade the last stage's, run through all of them; where both have as
    many stages, each stage teaches its own.

    Args:
        student: a two-stage detector, cascaded or not.
        teacher: likewise, with as many classes.
        stage: which stage of a cascaded teacher gives the logits: ``'first'``, a number from
            0, or ``'mean'``, the mean of all stages' logits. None: stage by stage where both
            have as many, and else the first.

    Raises:
        ValueError: a head of another kind (named), no softmax over C + 1, numbers of
            classes that differ, a stage that the teacher has not, or a model without
            normalisation.
    """

    activation = 'softmax'

    def __init__(self, student: nn.Module, teacher: Teacher, stage: str | int | None = None):
        checked_roi_head(student, 'student')
        checked_roi_head(teacher.model, 'teacher')
        heads, teacher_heads = (
            list(box_heads(model).values()) for model in (student, teacher.model)
        )
        for each in teacher_heads:
            teacher.class_map.check_numbers(heads[0].num_classes, each.num_classes)
        stages, alike = range(len(teacher_heads)), len(heads) == len(teacher_heads)
        if stage is None and alike:
            self.teacher_stages = list(stages)
        else:
            stage = 'first' if stage is None else _checked_stage(stage, len(teacher_heads))
            self.teacher_stages = [stage] * len(heads)
        # Each stage of a cascade makes the box better.
        self.box_stages = [[each] for each in stages] if alike else [stages] * len(heads)
        self.reader = RoIReader(student)
        self.box_readers: list[RoIBoxReader] = []
        if RoIBoxReader.reads(heads, teacher_heads):
            self.box_readers = [RoIBoxReader(head) for head in heads]
            self.gives = self.gives | {'offsets'}
        super().__init__(student, teacher, self.reader, *self.box_readers)

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both have RoI heads that classify boxes; kinds that this adapter cannot
        read are refused by name when it is built.
        """
        return all(box_heads(model) and not is_sparse(model) for model in (student, teacher))

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of the box head, of a cascade those of each stage."""
        return {
            f'{name}.num_classes': head.num_classes
            for name, head in box_heads(model).items()
            if isinstance(getattr(head, 'num_classes', None), int)
        }

    @staticmethod
    def classify(
        model: nn.Module,
        features: Sequence[Tensor],
        rois: Tensor,
        stage: str | int = 'first',
        context: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """What the box head of a two-stage detector says of boxes.

        Args:
            model: the detector.
            features: the levels of its neck, each (B, C, H, W).
            rois: (N, 5), image index and x1, y1, x2, y2 in pixels of the input.
            stage: of a cascade: ``'first'``, a number from 0, or ``'mean'``, the mean of all
                stages' logits.
            context: what :func:`context_of` makes of the features, where there is more to
                ask than this; None: made here.

        Returns:
            (N, C + 1) logits; background is C.
        """
        context = context_of(model, features) if context is None else context
        stages = [0 if stage == 'first' else stage]
        if stage == 'mean':
            stages = range(len(box_heads(model)))
        logits = [
            _box_results(model, features, rois, each, context)['cls_score'] for each in stages
        ]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)

    @staticmethod
    def locate(
        model: nn.Module,
        features: Sequence[Tensor],
        rois: Tensor,
        labels: Tensor,
        stages: Sequence[int],
        context: Mapping[str, Tensor],
    ) -> Tensor:
        """Where a two-stage detector sees the objects that RoIs are about.

        Args:
            model: the detector.
            features: the levels of its neck, each (B, C, H, W).
            rois: (n, 5), image index and x1, y1, x2, y2 in pixels of the input.
            labels: (n,), the classes in its own numbers.
            stages: those to ask, each at the boxes that the one before it made; [0] where there
                is one.
            context: what :func:`context_of` makes of the features.

        Returns:
            (n, 4), x1, y1, x2, y2 in pixels, not clipped to the image.
        """
        heads = list(box_heads(model).values())
        for stage in stages:
            said = _box_results(model, features, rois, stage, context)['bbox_pred']
            # In float16 a place is told to a pixel at best.
            offsets = of_class(heads[stage], said, labels).float()
            boxes = heads[stage].bbox_coder.decode(rois[:, 1:], offsets)
            rois = torch.cat([rois[:, :1], boxes], 1)
        return rois[:, 1:]

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Run the teacher's head on the student's RoIs.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``gt_instances``.

        Returns:
            N = all sampled RoIs, stage by stage, and C + 1 columns; background is C.

        Raises:
            ValueError: a stage did not call its ``loss_cls`` once, on the logits that its box
                head made of its RoIs, or these are of other images.
        """
        rois, calls = zip(*self.reader.calls(len(inputs)), strict=True)
        logits = [call.scores for call in calls]
        labels = [call.target for call in calls]
        weights = [
            call.weights(share) for call, share in zip(calls, self.reader.shares, strict=True)
        ]
        seen = self._see(len(inputs)) if any(map(len, rois)) else None
        return LogitBatch(
            student=_joined(logits),
            teacher=_joined(self._teacher_logits(rois, seen)),
            labels=_joined(labels),
            weight=_joined(weights),
            activation=self.activation,
            background=self.reader.num_classes,
            sources=logits if len(calls) > 1 else (),
            find_ground_truth=lambda: _are_ground_truth(_joined(rois), data_samples),
            find_places=lambda: _joined(rois),
            find_box_loss=self._box_loss_finder(rois, labels, seen) if self.box_readers else None,
        )

    def _see(self, num_images: int) -> _Seen:
        """What the teacher's backbone, neck and other heads make of the images, once for all."""
        features = self.features_of(num_images)
        with torch.no_grad(), self.teacher.precision(features[0].device):
            return features, context_of(self.teacher.model, features)

    def _teacher_logits(self, rois: Sequence[Tensor], seen: _Seen | None) -> list[Tensor]:
        """(N, C + 1) for the RoIs of each stage; ``seen`` is None where there are none."""
        if seen is None:
            return [each.new_zeros(0, self.reader.num_classes + 1) for each in rois]
        features, context = seen
        with torch.no_grad(), self.teacher.precision(rois[0].device):
            logits = [
                self.classify(self.teacher.model, features, each, stage, context)
                for each, stage in zip(rois, self.teacher_stages, strict=True)
            ]
            return [self.teacher.class_map.columns(each, self.activation) for each in logits]

    def _box_loss_finder(
        self, rois: Sequence[Tensor], labels: Sequence[Tensor], seen: _Seen | None
    ) -> Callable[[bool], Tensor]:
        """A function of ``bounded`` that computes the loss of all stages, weighted as its own."""
        weights = _own_weights(self.student.roi_head)
        finders = [
            reader.finder(*batch, partial(self._teacher_boxes, seen, stages))
            for reader, stages, *batch in zip(
                self.box_readers, self.box_stages, rois, labels, strict=True
            )
        ]

        def find(bounded: bool) -> Tensor:
            pairs = zip(weights, finders, strict=True)
            return sum(weight * find_stage(bounded) for weight, find_stage in pairs)

        return find

    def _teacher_boxes(
        self, seen: _Seen, stages: Sequence[int], rois: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The boxes of RoIs of objects, (n, 4), and (n,) bool, whether the teacher knows them."""
        features, context = seen
        own = self.teacher.class_map.labels(labels)
        with torch.no_grad(), self.teacher.precision(rois.device):
            boxes = self.locate(
                self.teacher.model, features, rois, own.clamp(min=0), stages, context
            )
        return boxes, own >= 0


class StageCalls(LossCalls):
    """What one stage of an RoI head gave to its ``loss_cls``, and from which RoIs.

    Attributes:
        rois: (N, 5), image index and x1, y1, x2, y2, last extracted; None: none were.
        rois_of_calls: those last extracted before each call.
        made: (N, C + 1), the logits that the box head made last; None: it was not called.
        made_of_calls: those last made before each call.

    Args:
        extractor: the stage's ``bbox_roi_extractor``, which may serve its mask head too.
        bbox_head: the stage's box head.
    """

    def __init__(self, extractor: nn.Module, bbox_head: nn.Module) -> None:
        super().__init__(bbox_head.loss_cls)
        self.extractor, self.bbox_head = extractor, bbox_head

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on extractor and loss."""

        def see(feats: Any, rois: Tensor, *_: Any, **__: Any) -> None:
            self.rois = rois

        def see_logits(output: Any) -> None:
            self.made = output[0] if isinstance(output, list | tuple) else output

        return [
            Adapter.watch(self.extractor, see),
            Adapter.watch_output(self.bbox_head, see_logits),
            *super().attach(),
        ]

    def append(self, call: LossCall) -> None:
        """Keep a call, and the RoIs and logits of this moment."""
        super().append(call)
        self.rois_of_calls.append(self.rois)
        self.made_of_calls.append(self.made)

    def reset(self) -> None:
        """Forget calls, RoIs and logits; called before each forward."""
        super().reset()
        self.rois: Tensor | None = None
        self.rois_of_calls: list[Tensor | None] = []
        self.made: Tensor | None = None
        self.made_of_calls: list[Tensor | None] = []


class RoIReader(Reader):
    """The stages of a two-stage student, as its sampled RoIs pass their losses.

    Args:
        student: the detector.
    """

    def __init__(self, student: nn.Module) -> None:
        self.head = student.roi_head
        heads = list(box_heads(student).values())
        self.num_classes = heads[0].num_classes
        extractors = self.head.bbox_roi_extractor
        extractors = extractors if isinstance(extractors, nn.ModuleList) else [extractors]
        self.stages = [StageCalls(*each) for each in zip(extractors, heads, strict=True)]
        self.shares = stage_weights(self.head)
        self._images_checked = False
        super().__init__(*self.stages)

    def calls(self, num_images: int) -> list[tuple[Tensor, LossCall]]:
        """For each stage its RoIs (N, 5), on the images of the batch, and the call that trains it.

        Args:
            num_images: B.

        Raises:
            ValueError: a stage did not call its ``loss_cls`` once, on the logits that its box
                head made of its RoIs, or these are of other images.
        """
        found = []
        nothing = None  # a cascade stops at the first stage without RoIs
        for stage in self.stages:
            if nothing is None and not stage and stage.rois is not None and not len(stage.rois):
                nothing = stage.rois
            if nothing is not None and not stage:
                scores = nothing.new_zeros(0, self.num_classes + 1).requires_grad_()
                found.append((nothing, LossCall(scores, nothing[:, 0].long(), None)))
            else:
                rois, call = self._training_call(stage)
                found.append((self._on_images(rois, num_images), call))
        return found

    def _training_call(self, stage: StageCalls) -> tuple[Tensor, LossCall]:
        head, loss_cls = type(self.head).__name__, type(stage.modules[0]).__name__
        if len(stage) != 1:
            raise ValueError(
                f'{head} called its {loss_cls} {len(stage)} times, reduced and with gradients, in '
                'one forward; expected one such call for each stage, on the logits of the '
                'sampled RoIs: it cannot be told what to distil'
            )
        (call,), (rois,) = stage, stage.rois_of_calls
        num_rois = 0 if rois is None else len(rois)
        if num_rois != len(call.scores):
            raise ValueError(
                f'{head} classified {len(call.scores)} rows from {num_rois} RoIs; expected one row '
                'for each RoI'
            )
        made = stage.made_of_calls[0]
        if made is not None and made is not call.scores and not _are_equal(made, call.scores):
            raise ValueError(
                f'{head} gave its {loss_cls} other logits than those that its '
                f'{type(stage.bbox_head).__name__} made of the RoIs, or in another order; '
                'RoIHeadAdapter expects them as they are, for it reads those of the teacher as its '
                'box head makes them. An adapter of your own can read both alike '
                '(docs/extending.md)'
            )
        return rois, call

    def _on_images(self, rois: Tensor, num_images: int) -> Tensor:
        """The RoIs on the images themselves; TridentNet has each image once a branch."""
        num_branches = getattr(self.head, 'num_branch', 1)
        if not self._images_checked and len(rois):  # once: the host waits for the device
            last = int(rois[:, 0].max())
            if last >= num_images * num_branches:
                raise ValueError(
                    f'{type(self.head).__name__} has a RoI on image {last} of a batch of '
                    f'{num_images}, counted from 0; expected RoIs on these images, or num_branch '
                    'of the head times as many, branch by branch'
                )
            self._images_checked = True
        if num_branches == 1:
            return rois
        return torch.cat([rois[:, :1] % num_images, rois[:, 1:]], dim=1)


def stage_weights(head: nn.Module) -> list[float]:
    """By what the rows of each stage are weighted; of a head that is no cascade by 1.

    The ``stage_loss_weights`` of a cascade times the number of stages that count at all. A
    term divides by the rows of all stages, of which each has about as many: its loss is then
    the sum over the stages of weight times mean, as the head's own is, and teacher and labels
    pull at each stage in the same proportion as in a head of one stage.
    """
    weights = _own_weights(head)
    return [weight * sum(each > 0 for each in weights) for weight in weights]


def _own_weights(head: nn.Module) -> list[float]:
    """By what an RoI head multiplies the losses of each stage."""
    if not isinstance(head.bbox_head, nn.ModuleList):
        return [1.0]
    return list(head.stage_loss_weights)[: len(head.bbox_head)]


def _box_results(
    model: nn.Module,
    features: Sequence[Tensor],
    rois: Tensor,
    stage: int,
    context: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """What a stage says of RoIs, or the one head of a detector that is no cascade."""
    head = model.roi_head
    if isinstance(head.bbox_head, nn.ModuleList):
        return head._bbox_forward(stage, features, rois, **context)
    return head._bbox_forward(features, rois)


def context_of(model: nn.Module, features: Sequence[Tensor]) -> dict[str, Tensor]:
    """What the box heads of HTC and SCNet add to the features of RoIs; of others, nothing.

    Args:
        model: the detector.
        features: the levels of its neck.
    """
    parts = {name: getattr(model.roi_head, f'{name}_head', None) for name in ('semantic', 'glbctx')}
    return {
        f'{name}_feat': part(features)[1].to(features[0].dtype)
        for name, part in parts.items()
        if part is not None
    }


def box_heads(model: nn.Module) -> dict[str, nn.Module]:
    """The box heads of a two-stage detector by their names; a cascade has several."""
    head = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    if isinstance(head, nn.ModuleList):
        return {f'roi_head.bbox_head[{stage}]': each for stage, each in enumerate(head)}
    return {} if head is None else {'roi_head.bbox_head': head}


def is_sparse(model: nn.Module) -> bool:
    """Whether it is Sparse R-CNN or QueryInst: its RoIs are queries, matched to objects."""
    if not box_heads(model):
        return False
    from mmdet.models.roi_heads import SparseRoIHead  # a detector is met, so that it is loaded

    return isinstance(model.roi_head, SparseRoIHead)


def checked_roi_head(model: nn.Module, who: str) -> Any:
    """The RoI head of ``model``.

    Raises:
        ValueError: it is of a kind that cannot be read.
    """
    from mmdet.models import roi_heads  # a detector is met, so that it is loaded

    head = getattr(model, 'roi_head', None)
    described = f'the {who} is a {type(model).__name__} with {type(head).__name__}'
    if isinstance(head, roi_heads.MultiInstanceRoIHead):
        raise ValueError(
            f'{described}, which gives each RoI two logits and two labels that change places; '
            'RoIHeadAdapter expects one of each. A term of features (PKDLoss, CWDLoss, FitNetLoss) '
            'serves instead'
        )
    if is_sparse(model):
        raise ValueError(
            f'{described}, whose boxes are queries that learn where to look; RoIHeadAdapter '
            "expects sampled RoIs. Pairs by object serve instead: adapter='ObjectAdapter'"
        )
    if not isinstance(head, roi_heads.StandardRoIHead | roi_heads.CascadeRoIHead):
        raise ValueError(
            f'{described}; RoIHeadAdapter reads StandardRoIHead (Faster R-CNN, Mask R-CNN), '
            'CascadeRoIHead (Cascade R-CNN, HTC, SCNet) and their kin'
        )
    for bbox_head in box_heads(model).values():
        loss_cls = bbox_head.loss_cls
        sigmoid = getattr(loss_cls, 'use_sigmoid', False)
        if sigmoid or getattr(bbox_head, 'custom_activation', False):
            kind = 'a sigmoid per class' if sigmoid else 'an activation of its own'
            raise ValueError(
                f'the {who} classifies by {type(loss_cls).__name__} with {kind}; RoIHeadAdapter '
                'expects a softmax over C + 1 classes'
            )
    return head


def _checked_stage(stage: str | int, num_stages: int) -> str | int:
    """Raise unless a teacher of so many stages has this one."""
    numbers = range(num_stages)
    if isinstance(stage, bool | float) or stage not in ('first', 'mean', *numbers):
        raise ValueError(
            f'stage must be a stage of the teacher, which has {num_stages}: '
            f"'first', 'mean' or a whole number below {num_stages}, counted from 0; got {stage!r}"
        )
    return stage


def _are_equal(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and torch.equal(a, b)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _are_ground_truth(rois: Tensor, data_samples: Sequence) -> Tensor:
    """(N,) bool: RoIs that equal a ground-truth box of their image to the bit.

    Args:
        rois: (N, 5), image index and x1, y1, x2, y2.
        data_samples: one per image.
    """
    found = torch.zeros(len(rois), dtype=torch.bool, device=rois.device)
    for index, sample in enumerate(data_samples):
        boxes = boxes_of(sample.gt_instances).to(rois)
        equal = (rois[:, None, 1:] == boxes[None]).all(2).any(1)
        found |= equal & (rois[:, 0] == index)
    return found
