"""The swap of SLD (arXiv 2504.20108): the label changes places with the highest class."""

import torch
from torch import Tensor

from .checks import check_labels


def swap_logits(logits: Tensor, labels: Tensor, ignore_index: int | None = None) -> Tensor:
    """Exchange each row's largest logit and that of its label, where they differ.

    Args:
        logits: (N, C), any floating dtype, C ≥ 2. Not changed. A row that holds
            a NaN comes back as it is.
        labels: (N,), int64, each in [0, C) or ``ignore_index``.
        ignore_index: rows with this label come back as they are.

    Returns:
        (N, C) tensor of the dtype and on the device of ``logits``; gradients
        flow back along the exchange. Of several largest logits the one of the
        lowest class index is taken.

    Raises:
        TypeError: logits not floating, labels not int64.
        ValueError: shapes that do not fit, a label out of range.

    Source: "Swapped Logit Distillation via Bi-Level Teacher Alignment"
    (Multimedia Systems 2025), the swap of section 3.
    """
    check_labels(logits, labels, ignore_index)
    label = labels[:, None]
    with torch.no_grad():
        top_logit, top = logits.max(1, keepdim=True)
        if ignore_index is not None:
            label = torch.where(label == ignore_index, top, label)
        top = torch.where(top_logit > logits.gather(1, label), top, label)
    swapped = logits.scatter(1, label, logits.gather(1, top))
    return swapped.scatter(1, top, logits.gather(1, label))
