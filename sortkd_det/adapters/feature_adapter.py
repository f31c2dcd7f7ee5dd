"""Any two detectors, for methods that are about features alone."""

from collections.abc import Sequence

from torch import Tensor, nn

from sortkd_det.distill import LogitBatch
from sortkd_det.registry import ADAPTERS

from .detector_adapter import DetectorAdapter


@ADAPTERS.register_module()
class FeatureAdapter(DetectorAdapter):
    """The necks of both, and no head: the teacher runs backbone and neck.

    It is taken where a method has terms of features alone, and serves detectors whose
    heads no other adapter reads (CenterNet, SOLO, …).
    """

    gives = frozenset({'features'})

    @classmethod
    def accepts(cls, student: nn.Module, teacher: nn.Module) -> bool:
        """Whether both are detectors."""
        return all(
            hasattr(model, 'backbone') and hasattr(model, 'extract_feat')
            for model in (student, teacher)
        )

    def batch(self, inputs: Tensor, data_samples: Sequence) -> LogitBatch:
        """Refused: there are no logits.

        Raises:
            ValueError: always.
        """
        raise ValueError('FeatureAdapter reads features alone, and was asked for logits')
