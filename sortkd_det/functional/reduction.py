"""From one loss per row to one number, as MMDetection's losses do it."""

import torch
from torch import Tensor

from .checks import check_row_losses, check_weight


def reduce_rows(
    losses: Tensor, weight: Tensor | None = None, avg_factor: float | Tensor | None = None
) -> Tensor:
    """Weighted sum of ``losses``, divided by the number of rows or ``avg_factor``.

    Args:
        losses: (N,), one loss per row.
        weight: (N,), multiplies each row's loss; None: ones.
        avg_factor: divisor in place of N, as in MMDetection's losses.

    Returns:
        Scalar tensor; for N = 0 a zero that keeps its graph.

    Raises:
        ValueError: losses that are not one number per row; a weight of another shape.
    """
    check_row_losses(losses, losses.shape[0] if losses.dim() else 1, 'a loss of rows')
    check_weight(weight, len(losses))
    if weight is not None:
        losses = losses * weight
    if avg_factor is None:
        return losses.sum() / max(len(losses), 1)
    # MMDetection's guard against an average over nothing.
    return losses.sum() / (avg_factor + torch.finfo(torch.float32).eps)
