"""Classifiers: both models see the same images."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.classification.networks import Classifier
from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.registry import ADAPTERS

from .adapter import Adapter


@ADAPTERS.register_module()
class ClassifierAdapter(Adapter):
    """The teacher sees the student's images, normalised its own way; every view once.

    Args:
        student: a :class:`Classifier`.
        teacher: likewise, with as many classes.

    Raises:
        ValueError: the teacher is something else, or numbers of classes differ.
    """

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        super().__init__(student, teacher)
        if not isinstance(teacher.model, Classifier):
            raise ValueError(
                f'the student is a classifier and the teacher a {type(teacher.model).__name__}; '
                'expected a classifier of sortkd_det.classification'
            )
        self.check_num_classes(student.num_classes, teacher.model.num_classes)
        self._statistics = _differing_statistics(student, teacher.model)
        self.reset()

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether ``model`` is one of this package's classifiers."""
        return isinstance(model, Classifier)

    def attach(self) -> list[RemovableHandle]:
        """Register the hook on the student's classification loss."""
        loss_cls = self.student.loss_cls

        def see_logits(module: nn.Module, args: tuple) -> None:
            if module is loss_cls:
                self._seen.append(args[:2])

        return [loss_cls.register_forward_pre_hook(see_logits)]

    def reset(self) -> None:
        """Forget the last batch."""
        self._seen, self._teacher_logits = [], []

    def prepare(self, inputs: Tensor | list[Tensor], data_samples: Any) -> None:
        """Run the teacher on each view.

        Args:
            inputs: (N, 3, H, W), the student's preprocessed images, or a list of two views.
            data_samples: unused.
        """
        views = inputs if isinstance(inputs, list | tuple) else [inputs]
        self._teacher_logits = [
            self.teacher.start('forward', self._for_teacher(images), mode='tensor')
            for images in views
        ]

    def pairs(self, inputs: Tensor | list[Tensor], data_samples: Any) -> LogitBatch:
        """The logits of both, of each view.

        Args:
            inputs: unused; :meth:`prepare` has seen it.
            data_samples: likewise.

        Returns:
            Pairs of N rows; the second view, if there is one, in ``second``.

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
        taught = self.teacher.finish(self._teacher_logits)
        seen = zip(reversed(taught), reversed(self._seen), strict=True)
        for teacher_logits, (logits, labels) in seen:
            weight = logits.new_ones(len(logits), dtype=torch.float32)
            second = LogitBatch(logits, teacher_logits, labels, weight, second=second)
        self.reset()
        return second

    def _for_teacher(self, images: Tensor) -> Tensor:
        """The images, normalised by the teacher's mean and standard deviation."""
        if self._statistics is None:
            return images
        mean, std, own_mean, own_std = (
            statistic.to(images.device)[:, None, None] for statistic in self._statistics
        )
        return (images * std + mean - own_mean) / own_std


def _differing_statistics(student: nn.Module, teacher: nn.Module) -> list[Tensor] | None:
    """Mean and deviation of both, or None where there is nothing to convert."""
    preprocessors = (student.data_preprocessor, teacher.data_preprocessor)
    if not all(hasattr(preprocessor, 'mean') for preprocessor in preprocessors):
        return None
    statistics = [getattr(p, name).cpu() for p in preprocessors for name in ('mean', 'std')]
    same = torch.equal(statistics[0], statistics[2]) and torch.equal(statistics[1], statistics[3])
    return None if same else statistics
