"""What the adapters of all detectors share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sortkd_det.distill import Teacher

from .adapter import Adapter


class DetectorAdapter(Adapter):
    """The teacher's backbone and neck run on the student's images, as it preprocesses them.

    Args:
        student: a detector of MMDetection.
        teacher: likewise.

    Raises:
        ValueError: a model whose config does not tell how images are normalised.
    """

    def __init__(self, student: nn.Module, teacher: Teacher) -> None:
        super().__init__(student, teacher)
        teacher.check_preprocessors(student)
        self.reset()

    def reset(self) -> None:
        """Forget the last batch."""
        self._features = None
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
