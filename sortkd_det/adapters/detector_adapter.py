"""What the adapters of all detectors share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sortkd_det.distill import FeatureBatch, Teacher

from .adapter import Adapter
from .reader import Reader


class DetectorAdapter(Adapter):
    """The teacher's backbone and neck run on the student's images, as it preprocesses them.

    Args:
        student: a detector of MMDetection.
        teacher: likewise.
        readers: what is to see the student's logits and labels pass by.

    Raises:
        ValueError: a model whose config does not tell how images are normalised.
    """

    gives: frozenset[str] = frozenset({'classes', 'features'})

    def __init__(self, student: nn.Module, teacher: Teacher, *readers: Any) -> None:
        super().__init__(student, teacher)
        self.readers = Reader(*readers)
        teacher.check_preprocessors(student)
        self.reset()

    def attach(self) -> list[RemovableHandle]:
        """Register the readers' hooks on the student."""
        return self.readers.attach()

    def reset(self) -> None:
        """Forget the last batch."""
        self.readers.reset()
        self._features = None
        self._student_features: list[Any] = []  # of each run of the neck
        self._padded_to: tuple[int, ...] = ()

    def prepare(self, inputs: Tensor, data_samples: Sequence) -> None:
        """Run the teacher's backbone and neck.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.
            data_samples: B samples with ``img_shape``.
        """
        with torch.no_grad():
            images = self.teacher.convert_inputs(inputs, self.student, data_samples)
        self._padded_to = tuple(images.shape[-2:])
        self._features = self.teacher.start('extract_feat', images)

    def teacher_features(self) -> tuple[Tensor, ...]:
        """The levels that :meth:`prepare` has made, each (B, C, H, W), ready for a head."""
        return self.teacher.finish(self._features)

    def features_of(self, num_images: int) -> tuple[Tensor, ...]:
        """The same for heads that pool from them: of ``num_images`` images, in float32.

        Raises:
            ValueError: they are of another number of images.
        """
        return self._to_pool(self.teacher_features(), num_images)

    def _to_pool(self, features: tuple[Tensor, ...], num_images: int) -> tuple[Tensor, ...]:
        if len(features[0]) != num_images:
            raise ValueError(
                f'the teacher, a {type(self.teacher.model).__name__}, makes features of '
                f'{len(features[0])} images from {num_images}; {type(self).__name__} expects those '
                'of one branch: give a TridentNet test_branch_idx=1'
            )
        # mmcv's RoIAlign has no bfloat16, on the CPU no float16.
        if self.teacher.dtype is not None or features[0].dtype == torch.bfloat16:
            features = tuple(level.float() for level in features)
        return features

    def attach_features(self) -> list[RemovableHandle]:
        """Register the hook on the student's neck, or on its backbone where there is none."""
        neck = getattr(self.student, 'neck', None)
        module = self.student.backbone if neck is None else neck
        return [self.watch_output(module, lambda output: self._student_features.append(output))]

    def features(self, inputs: Tensor) -> FeatureBatch:
        """The levels of both necks; of the teacher's what lies within the student's images.

        A teacher that pads to a multiple of 64 where the student pads to 32 has larger maps;
        what is beyond is cut off. It is asked for before :meth:`batch`.

        Args:
            inputs: (B, 3, H, W), the student's preprocessed images.

        Raises:
            TypeError, ValueError: what the necks return is no list of maps, or that of the
                student did not run once.
        """
        number = len(self._student_features)
        if number != 1:
            raise ValueError(
                f'the neck of the student, {type(self.student).__name__}, ran {number} times in '
                f'one forward; {type(self).__name__} expects once, and cannot tell what to distil'
            )
        teacher = self.teacher_features()
        if isinstance(teacher, list | tuple):
            teacher = [_within(level, inputs.shape[-2:], self._padded_to) for level in teacher]
        return FeatureBatch(self._student_features[0], teacher)

    def teacher_samples(self, data_samples: Sequence) -> list:
        """The samples as the teacher's own preprocessing would tell of them, for heads that ask
        how images are padded (DETR and its kin); no annotations are among it.

        Args:
            data_samples: those of the student.
        """
        padded = {'batch_input_shape': self._padded_to, 'pad_shape': self._padded_to}
        return [
            sample.new(metainfo={**sample.metainfo, **padded}, data={}) for sample in data_samples
        ]


def _within(level: Tensor, size: Sequence[int], padded_to: Sequence[int]) -> Tensor:
    """The part of a map of images padded to one size that is of another, at its upper left."""
    height, width = (
        -(-places * own // padded)  # rounded up, as strides do
        for places, own, padded in zip(level.shape[-2:], size, padded_to, strict=True)
    )
    return level[..., :height, :width]
