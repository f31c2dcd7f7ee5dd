"""What all losses between feature maps share: checks, precision, the weight."""

import torch
from torch import Tensor, nn

from sortkd_det.functional import check_positive, check_scalar


class FeatureLoss(nn.Module):
    """A loss between two maps of features; a subclass writes :meth:`map_loss`.

    Args:
        loss_weight: multiplies the result; ≥ 0.

    Raises:
        TypeError, ValueError: ``loss_weight`` no number, negative or not finite.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = check_positive('loss_weight', loss_weight, allow_zero=True)

    def forward(self, student: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, computed in float32 at least, under autocast too.

        Args:
            student: (B, C, H, W) features.
            target: (B, C, H, W) features that the student is to follow.

        Returns:
            Scalar tensor.

        Raises:
            TypeError, ValueError: what is given is no pair of floating maps of one shape; a
                subclass that gives other than one number.
        """
        for name, given in (('student', student), ('target', target)):
            if not isinstance(given, Tensor) or not given.is_floating_point():
                kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
                raise TypeError(f'features of the {name} must be a floating Tensor, got {kind}')
        if student.dim() != 4 or student.shape != target.shape:
            raise ValueError(
                f'features of student and target are {tuple(student.shape)} and '
                f'{tuple(target.shape)}; expected one shape, (B, C, H, W)'
            )
        dtype = torch.promote_types(student.dtype, torch.float32)
        with torch.autocast(student.device.type, enabled=False):
            loss = self.map_loss(student.to(dtype), target.to(dtype))
            return self.loss_weight * check_scalar(loss, f'{self._get_name()}.map_loss')

    def map_loss(self, student: Tensor, target: Tensor) -> Tensor:
        """The loss of a pair of maps, a scalar tensor, before ``loss_weight``."""
        raise NotImplementedError(
            f'{self._get_name()} has no formula; expected it to write map_loss'
        )
