"""Classifiers: both models see the same images."""

from functools import partial
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.classification.networks import Classifier
from sortkd_det.distill import LogitBatch, Teacher, TeacherCache
from sortkd_det.registry import ADAPTERS

from .adapter import Adapter


@ADAPTERS.register_module()
class ClassifierAdapter(Adapter):
    """The teacher sees the student's images, normalised its own way; every view once.

    Args:
        student: a :class:`Classifier`.
        teacher: likewise, with as many classes.

    Raises:
        ValueError: a model of another kind, or numbers of classes that differ.
    """

    activation = 'softmax'

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        super().__init__(student, teacher)
        for who, model in (('student', student), ('teacher', teacher.model)):
            if not isinstance(model, Classifier):
                raise ValueError(
                    f'ClassifierAdapter reads the classifiers of sortkd_det.classification, and '
                    f'the {who} is a {type(model).__name__}'
                )
        teacher.class_map.check_same()
        teacher.class_map.check_numbers(student.num_classes, teacher.model.num_classes)
        self._run_teacher = partial(teacher.start, 'forward', mode='tensor')
        self.reset()

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both are classifiers of this package."""
        return isinstance(student, Classifier) and isinstance(teacher, Classifier)

    @classmethod
    def count_classes(cls, model: nn.Module) -> dict[str, int]:
        """The classes of a classifier of this package."""
        return {'num_classes': model.num_classes} if isinstance(model, Classifier) else {}

    def attach(self) -> list[RemovableHandle]:
        """Register the hook on the student's classification loss."""
        return [self.watch(self.student.loss_cls, lambda *args: self._seen.append(args[:2]))]

    def reset(self) -> None:
        """Forget the last batch."""
        self._seen, self._teacher_logits = [], []

    def keep_teacher(self, path: str | PathLike) -> TeacherCache:
        """Keep the logits of each view: a classifier's depend on the images alone."""
        self._run_teacher = cache = TeacherCache(path, self.teacher)
        return cache

    def prepare(self, inputs: Tensor | list[Tensor], data_samples: Any) -> None:
        """Run the teacher on each view.

        Args:
            inputs: (N, 3, H, W), the student's preprocessed images, or a list of two views.
            data_samples: unused.
        """
        self._teacher_logits = [
            self._run_teacher(self.teacher.convert_inputs(images, self.student))
            for images in _views(inputs)
        ]

    def batch(self, inputs: Tensor | list[Tensor], data_samples: Any) -> LogitBatch:
        """The logits of both, of each view.

        Args:
            inputs: what :meth:`prepare` was given.
            data_samples: unused.

        Returns:
            N rows; the second view, if there is one, in ``second``.

        Raises:
            ValueError: the student did not call its ``loss_cls`` once for each view.
        """
        if len(self._seen) != len(self._teacher_logits):
            raise ValueError(
                f'{type(self.student).__name__} called its loss_cls {len(self._seen)} times for '
                f'{len(self._teacher_logits)} views of the images; ClassifierAdapter expects one '
                'call for each'
            )
        second = None
        first_view = _views(inputs)[0]
        taught = self.teacher.finish(self._teacher_logits)
        seen = zip(reversed(taught), reversed(self._seen), strict=True)
        for teacher_logits, (logits, labels) in seen:
            second = LogitBatch(
                student=logits,
                teacher=teacher_logits,
                labels=labels,
                weight=logits.new_ones(len(logits), dtype=torch.float32),
                activation=self.activation,
                background=None,
                find_places=lambda: _whole_images(first_view),
                second=second,
            )
        return second


def _views(inputs: Tensor | list[Tensor]) -> list[Tensor]:
    """The images of each view."""
    return list(inputs) if isinstance(inputs, list | tuple) else [inputs]


def _whole_images(images: Tensor) -> Tensor:
    """(N, 5) of (N, 3, H, W): index and corners of each."""
    height, width = images.shape[-2:]
    places = torch.zeros(len(images), 5, device=images.device)
    places[:, 0] = torch.arange(len(images))
    places[:, 3:] = places.new_tensor([width, height])
    return places
